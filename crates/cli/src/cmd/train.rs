//! `bidst train`

use std::path::PathBuf;
use std::time::Instant;

use bidst_model::zoo;
use bidst_topology::algorithms;
use bidst_train::config::Builder;
use bidst_train::session::Outcome;
use bidst_train::{Config, Session};

use crate::exit::UsageError;
use crate::progress::{Display, Mode};

/// Train a network
///
/// Settings come from the defaults, then CONFIG, then the flags below, then --set; the later win. What holds in the end is
/// written to config.toml in the run folder, and training on that file repeats the run.
#[derive(clap::Args)]
pub struct Args {
    /// A TOML file with settings, such as those in configs/
    #[arg(conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// Continue the interrupted run in this folder, bit for bit as if it had never stopped
    #[arg(long, value_name = "RUN", conflicts_with = "settings")]
    resume: Option<PathBuf>,
    /// Threads; 0 means one per core. The result is the same for any number
    #[arg(long, short = 'j', value_name = "N")]
    threads: Option<usize>,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    progress: Mode,
    #[command(flatten)]
    settings: Settings,
}

/// Flags that stand for keys of the configuration.
#[derive(clap::Args, Default)]
#[command(allow_negative_numbers = true)]
#[group(id = "settings", multiple = true)]
pub struct Settings {
    #[arg(long, help = format!("Network: {}", names(zoo::list(), |entry| entry.name)))]
    pub model: Option<String>,
    /// Factor on its number of channels
    #[arg(long)]
    pub width: Option<f64>,
    #[arg(long, help = format!("Data set: {}", names(bidst_data::list(), |source| source.name)))]
    pub dataset: Option<String>,
    /// Folder of its files
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    #[arg(long, help = format!("How the pattern is learned: {}", names(algorithms::list(), |entry| entry.name)))]
    pub algorithm: Option<String>,
    /// Share of the weights that do not exist, such as 0.9
    #[arg(long)]
    pub sparsity: Option<f64>,
    /// How non-zeros are shared out between layers: uniform or erk
    #[arg(long)]
    pub distribution: Option<String>,
    /// Passes over the training images
    #[arg(long, value_name = "N")]
    pub epochs: Option<u32>,
    /// Images in a step
    #[arg(long, short, value_name = "N")]
    pub batch_size: Option<u32>,
    /// Learning rate
    #[arg(long)]
    pub lr: Option<f64>,
    /// Momentum
    #[arg(long)]
    pub momentum: Option<f64>,
    /// L2 coefficient
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// How activations are stored: f32, or bf16 for half the memory
    #[arg(long, value_name = "FORMAT")]
    pub activations: Option<String>,
    /// Which layers use dense kernels: rule (by density), auto (measured at the start), sparse, dense, or a file such as
    /// RUN/kernels.json
    #[arg(long, value_name = "CHOICE|FILE")]
    pub kernels: Option<String>,
    /// Seed of every random number
    #[arg(long)]
    pub seed: Option<u32>,
    /// Folder in which the run folder is made
    #[arg(long, value_name = "DIR")]
    pub output: Option<String>,
    /// Any key of the configuration, such as --set algorithm.update_interval=50
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

fn names<T>(list: &[T], name: fn(&T) -> &'static str) -> String {
    list.iter().map(name).collect::<Vec<_>>().join(", ")
}

impl Settings {
    /// Puts the flags, and last those of --set, over what `builder` has.
    pub fn apply(&self, builder: Builder) -> Builder {
        let words = [
            ("--model", "model.name", &self.model),
            ("--dataset", "data.name", &self.dataset),
            ("--data-dir", "data.dir", &self.data_dir),
            ("--algorithm", "algorithm.name", &self.algorithm),
            ("--distribution", "sparsity.distribution", &self.distribution),
            ("--activations", "engine.activations", &self.activations),
            ("--output", "run.output", &self.output),
            ("--kernels", "engine.kernels", &self.kernels),
        ];
        let floats = [
            ("--width", "model.width", self.width),
            ("--sparsity", "sparsity.level", self.sparsity),
            ("--lr", "optim.lr", self.lr),
            ("--momentum", "optim.momentum", self.momentum),
            ("--weight-decay", "optim.weight_decay", self.weight_decay),
        ];
        let integers = [
            ("--epochs", "train.epochs", self.epochs),
            ("--batch-size", "train.batch_size", self.batch_size),
            ("--seed", "run.seed", self.seed),
        ];
        let mut builder = builder;
        for (flag, key, word) in words {
            builder = word.iter().fold(builder, |builder, word| builder.flag(flag, key, word.as_str()));
        }
        for (flag, key, number) in floats {
            builder = number.iter().fold(builder, |builder, &number| builder.flag(flag, key, number));
        }
        for (flag, key, number) in integers {
            builder = number.iter().fold(builder, |builder, &number| builder.flag(flag, key, i64::from(number)));
        }
        self.set.iter().fold(builder, |builder, setting| builder.set(setting))
    }
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let session = match &args.resume {
        Some(run) => Session::resume(run, args.threads)?,
        None => Session::start(configuration(args)?)?,
    };
    carry_out(session, args.progress)?;
    Ok(())
}

fn configuration(args: &Args) -> Result<Config, anyhow::Error> {
    let builder = args.config.iter().fold(Builder::new(), |builder, path| builder.file(path));
    let threads = args.threads.map(i64::try_from).transpose();
    let threads = threads.map_err(|_| UsageError("--threads: too large".to_owned()))?;
    let builder = threads.iter().fold(builder, |builder, &threads| builder.flag("--threads", "run.threads", threads));
    Ok(args.settings.apply(builder).finish().map_err(bidst_train::TrainError::from)?)
}

/// Trains to the end and shows it.
///
/// # Errors
/// As [`Session::run`].
pub fn carry_out(session: Session, progress: Mode) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let mut display = Display::start(progress, session.config(), &session.summary());
    let outcome = session.run(&mut display)?;
    display.finish(&outcome, started);
    Ok(outcome)
}
