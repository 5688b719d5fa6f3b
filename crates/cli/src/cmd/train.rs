//! `bidst train`

use std::path::PathBuf;
use std::time::Instant;

use bidst_train::config::Builder;
use bidst_train::session::Outcome;
use bidst_train::{Config, Session};

use super::settings::{GROUP, Settings};
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
    #[arg(long, value_name = "RUN", conflicts_with = GROUP)]
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
