//! `bidst compare`

mod board;

use std::path::{Path, PathBuf};

use bidst_train::TrainError;
use bidst_train::compare::{Comparison, Jobs, State, Tables};
use bidst_train::config::Builder;

use crate::exit::{Interrupted, RunsFailed, UsageError};
use crate::progress::Mode;
use crate::signals;
use crate::text::line;
use board::Board;

/// Train a grid of runs and compare them
///
/// CONFIG is a configuration with a section `grid` of lists: algorithms, sparsities, seeds, or any other key. Every
/// combination is a run in DIR/runs. Interrupted or killed, the same command goes on where it was: finished runs are not trained again,
/// the others continue from their last checkpoint, and the numbers are the same. The results are in DIR/table.md, .csv
/// and .json, and as pictures in DIR/report.html and .png.
#[derive(clap::Args)]
pub struct Args {
    /// A TOML file with a section `grid`, such as configs/study-grid.toml, or the folder of a comparison that was begun
    #[arg(value_name = "CONFIG|DIR")]
    target: PathBuf,
    /// Folder of the runs and tables
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Train nothing; write tables and report of the finished runs, and show the tables
    #[arg(long)]
    table: bool,
    /// Runs at a time; 0 means one per core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    jobs: u32,
    /// Threads of each run, if not as in the configuration; 0 means one per core [default: 1]
    #[arg(long, short = 'j', value_name = "N")]
    threads: Option<u32>,
    /// Folder of the data set's files
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Any key of the base configuration, such as --set train.epochs=2
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    progress: Mode,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let comparison = comparison(args)?;
    if args.table && !comparison.path().is_dir() {
        let folder = comparison.path().display();
        return Err(
            UsageError(format!("--table: there is no folder {folder}; without --table its runs are trained")).into()
        );
    }
    let unsaid = if args.table { Vec::new() } else { train(args, &comparison)? };
    let tables = comparison.write_tables()?;
    let report = comparison.write_report()?;
    if args.table || args.progress != Mode::Json {
        line(tables.markdown())?;
        line(format!("table.md, table.csv and table.json are in {}", comparison.path().display()))?;
        report.iter().try_for_each(|report| line(format!("report in {}", report.html.display())))?;
    }
    if let Some(code) = signals::exit_code() {
        let advice = format!("`bidst compare {}` goes on", comparison.path().display());
        return Err(Interrupted { code, advice }.into());
    }
    match unsaid.into_iter().next() {
        Some(error) => Err(error.into()),
        None => failures(&tables),
    }
}

fn comparison(args: &Args) -> anyhow::Result<Comparison> {
    let (config, folder) = match (&args.out, args.target.is_dir()) {
        (None, true) => (args.target.join("compare.toml"), args.target.as_path()),
        (Some(out), false) => (args.target.clone(), Path::new(out)),
        (None, false) => return Err(UsageError("--out DIR: say where the runs and tables are to be".to_owned()).into()),
        (Some(_), true) => {
            let target = args.target.display();
            return Err(UsageError(format!("--out goes with a configuration file, but {target} is a folder")).into());
        }
    };
    // Runs side by side have a thread each, unless somebody says otherwise.
    let builder = Builder::new().flag("--threads", "run.threads", 1).file(&config);
    let builder =
        args.threads.iter().fold(builder, |builder, &n| builder.flag("--threads", "run.threads", i64::from(n)));
    let builder =
        args.data_dir.iter().fold(builder, |builder, dir| builder.flag("--data-dir", "data.dir", dir.as_str()));
    let builder = args.set.iter().fold(builder, |builder, setting| builder.set(setting));
    Ok(Comparison::new(folder, builder)?)
}

fn train(args: &Args, comparison: &Comparison) -> anyhow::Result<Vec<TrainError>> {
    let jobs = match args.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs as usize,
    };
    // A save on request would come to nothing here: each epoch is saved. The signal must not end the work either.
    signals::listen_for_saves()?;
    signals::listen()?;
    let board = Board::new(args.progress, comparison, jobs);
    Ok(comparison.train(&Jobs { jobs, stop: &signals::asked_to_stop }, &board)?)
}

/// An error if a run failed. It says so if all that failed diverged.
fn failures(tables: &Tables) -> anyhow::Result<()> {
    let failed = tables.failures().count();
    let diverged = tables.failures().filter(|(_, standing)| standing.state == State::Diverged).count();
    if failed == 0 { Ok(()) } else { Err(RunsFailed { failed, diverged }.into()) }
}
