//! `bidst report`

use std::fs;
use std::path::{Path, PathBuf};

use bidst_train::report;

use crate::exit::UsageError;
use crate::text::line;

/// Draw a run, or several, as a page and a picture
///
/// One RUN: report.html and report.png in its folder, as at the end of a training. Several, or the folder of a comparison:
/// accuracy against sparsity, time and FLOPs, with the spread over seeds, and the tables.
#[derive(clap::Args)]
pub struct Args {
    /// Run folders, or folders with run folders in them
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The page; the picture is put beside it as PNG
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The run shown in grey beside a single RUN; else a dense or static one of the same network, data, epochs and seed is
    /// looked for beside it
    #[arg(long, value_name = "RUN")]
    baseline: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for path in &args.runs {
        runs.extend(runs_in(path)?);
    }
    if let Some(baseline) = args.baseline.as_ref().filter(|baseline| !is_run(baseline)) {
        return Err(no_run(baseline).into());
    }
    let written = match (&runs[..], &args.baseline) {
        ([run], baseline) => {
            let out = args.out.clone().unwrap_or_else(|| report::path(run));
            report::write_run(run, baseline.as_deref(), &page(out))?
        }
        (_, Some(_)) => return Err(UsageError("--baseline goes with a single run".to_owned()).into()),
        (_, None) => {
            let beside = match &args.runs[..] {
                [folder] => report::path(folder),
                _ => PathBuf::from("report.html"),
            };
            report::write_runs(&runs, &page(args.out.clone().unwrap_or(beside)))?
        }
    };
    line(format!("{}\n{}", written.html.display(), written.png.display()))?;
    Ok(())
}

/// The page that `--out` means: the picture's name stands for the page beside it.
fn page(out: PathBuf) -> PathBuf {
    if out.extension().is_some_and(|extension| extension == "png") { out.with_extension("html") } else { out }
}

/// The run in `path`, or those in the folders in it, or in those in its `runs`.
fn runs_in(path: &Path) -> Result<Vec<PathBuf>, UsageError> {
    if is_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let inside = if path.join("runs").is_dir() { path.join("runs") } else { path.to_owned() };
    let entries = fs::read_dir(&inside).map_err(|_| no_run(path))?;
    let mut runs: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_run(path)).collect();
    runs.sort();
    if runs.is_empty() { Err(no_run(path)) } else { Ok(runs) }
}

/// Whether anything in the folder says that it is one of a run.
fn is_run(path: &Path) -> bool {
    ["config.toml", "metrics.jsonl", "manifest.json"].iter().any(|name| path.join(name).is_file())
}

fn no_run(path: &Path) -> UsageError {
    UsageError(format!("{}: neither a run folder nor a folder with run folders in it", path.display()))
}
