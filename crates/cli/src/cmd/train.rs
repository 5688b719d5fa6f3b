//! `bidst train`

use std::path::PathBuf;
use std::time::Instant;

use bidst_train::config::Builder;
use bidst_train::session::{Circumstances, Outcome};
use bidst_train::trainer::{Event, Observer, Wish};
use bidst_train::{Config, Session, TrainError};

use super::settings::{GROUP, Settings, help_of};
use crate::exit::{self, Interrupted, UsageError};
use crate::progress::{Display, Mode};
use crate::signals;

/// Train a network
///
/// Settings come from the defaults, then CONFIG, then the flags below, then --set; the later win. What holds in the end is
/// written to config.toml in the run folder, and training on that file repeats the run.
///
/// Ctrl-C or SIGTERM finishes the step, saves and stops; a second one stops at once. SIGUSR1 saves and goes on.
#[derive(clap::Args)]
pub struct Args {
    /// A TOML file with settings, such as those in configs/
    #[arg(conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// Continue the interrupted run in this folder, bit for bit as if it had never stopped; with --data-dir if its data have moved
    #[arg(long, value_name = "RUN", conflicts_with = GROUP)]
    resume: Option<PathBuf>,
    #[arg(long, short = 'j', value_name = "N", help = help_of("run.threads"))]
    threads: Option<usize>,
    #[arg(long, value_name = "SIZE", help = help_of("run.max_memory"))]
    max_memory: Option<String>,
    #[arg(long, value_name = "ACTION", help = help_of("train.on_spike"))]
    on_spike: Option<String>,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    progress: Mode,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    signals::listen_for_saves()?;
    let session = match &args.resume {
        Some(run) => Session::resume(run, &circumstances(args)?)?,
        None => Session::start(configuration(args)?)?,
    };
    carry_out(session, args.progress)?;
    Ok(())
}

/// Puts the flags that a resumed run may have too over what `builder` has.
fn with_circumstances(args: &Args, mut builder: Builder) -> anyhow::Result<Builder> {
    if let Some(threads) = args.threads {
        let threads = i64::try_from(threads).map_err(|_| UsageError("--threads: too large".to_owned()))?;
        builder = builder.flag("--threads", "run.threads", threads);
    }
    for (flag, key, word) in
        [("--max-memory", "run.max_memory", &args.max_memory), ("--on-spike", "train.on_spike", &args.on_spike)]
    {
        builder = word.iter().fold(builder, |builder, word| builder.flag(flag, key, word.as_str()));
    }
    Ok(builder)
}

/// What a resumed run may do otherwise than before.
fn circumstances(args: &Args) -> anyhow::Result<Circumstances> {
    let checked = with_circumstances(args, Builder::new())?.finish().map_err(TrainError::from)?;
    let on_spike = args.on_spike.as_ref().map(|_| checked.train.on_spike);
    let data_dir = args.settings.word("data.dir").map(PathBuf::from);
    Ok(Circumstances { threads: args.threads, max_memory: checked.run.max_memory, on_spike, data_dir })
}

fn configuration(args: &Args) -> anyhow::Result<Config> {
    let builder = args.config.iter().fold(Builder::new(), |builder, path| builder.file(path));
    let builder = with_circumstances(args, builder)?;
    Ok(args.settings.apply(builder).finish().map_err(TrainError::from)?)
}

/// Shows a run, and passes on what signals ask of it.
struct Watched<'a>(&'a mut Display);

impl Observer for Watched<'_> {
    fn on(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        self.0.on(event)
    }

    fn wish(&mut self) -> Wish {
        signals::wish()
    }
}

/// Trains to the end and shows it.
///
/// # Errors
/// As [`Session::run`]; [`Interrupted`] if a signal ended it.
pub fn carry_out(session: Session, progress: Mode) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    signals::listen()?;
    let summary = session.summary();
    exit::work_on(&summary.run);
    let mut display = Display::start(progress, session.config(), &summary);
    let outcome = match (session.run(&mut Watched(&mut display)), signals::exit_code()) {
        (Err(TrainError::Stopped { .. }), Some(code)) => {
            let advice = format!("`bidst train --resume {}` goes on", summary.run.display());
            return Err(Interrupted { code, advice }.into());
        }
        (result, _) => result?,
    };
    display.finish(&outcome, started);
    Ok(outcome)
}
