//! `bidst` without a verb: the demo.

use std::time::Duration;

use bidst_train::bench::{Bench, interleaved, median};
use bidst_train::config::Builder;
use bidst_train::{Config, Session, TrainError};

use super::train::carry_out;
use crate::exit::Interrupted;
use crate::progress::Mode;
use crate::signals;
use crate::text::{bytes, line};

/// Time that the comparison with the dense network may take.
const BUDGET: Duration = Duration::from_secs(4);

/// Flags of the demo.
#[derive(clap::Args)]
pub struct Args {
    /// Threads of the demo; 0 means one per core
    #[arg(long, short = 'j', value_name = "N", default_value_t = 0)]
    threads: u32,
    /// Folder in which the demo makes its run folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    output: String,
    /// How the demo shows progress
    #[arg(long, value_enum, default_value = "auto")]
    progress: Mode,
}

/// Runs the demo.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    signals::listen_for_saves()?;
    let config = configuration(args, &[])?;
    let outcome = carry_out(Session::start(config.clone())?, args.progress)?;
    if args.progress == Mode::Json {
        return Ok(());
    }
    let mut sparse = Bench::new(config)?;
    let mut dense = Bench::new(configuration(args, &[("--algorithm", "algorithm.name", "dense")])?)?;
    let dense_bytes = 4 * (dense.trainer().parameters());
    let run = outcome.run.display();
    let timed = interleaved(&mut sparse, &mut dense, BUDGET, |bench| match signals::asked_to_stop() {
        true => Err(TrainError::Stopped { step: 0 }),
        false => Ok(bench.step()?.total_s),
    });
    if let Some(code) = signals::exit_code() {
        return Err(Interrupted { code, advice: format!("`bidst inspect {run}` shows what was trained") }.into());
    }
    let [sparse_s, dense_s] = timed?.map(median);
    line(format!(
        "a step takes {:.1} ms, {:.1} ms with every weight: {:.1} times faster",
        1e3 * sparse_s,
        1e3 * dense_s,
        dense_s / sparse_s
    ))?;
    line(format!("the model has {}, dense it would have {}", bytes(outcome.model_bytes), bytes(dense_bytes)))?;
    line(format!(
        "\nnext:  bidst inspect {run}\n       bidst train --algorithm rigl --sparsity 0.95\n       bidst algorithms bidst"
    ))?;
    Ok(())
}

fn configuration(args: &Args, flags: &[(&str, &str, &str)]) -> Result<Config, TrainError> {
    let builder = Builder::new().flag("--threads", "run.threads", i64::from(args.threads)).flag(
        "--output",
        "run.output",
        args.output.as_str(),
    );
    Ok(flags.iter().fold(builder, |builder, (flag, key, word)| builder.flag(flag, key, *word)).finish()?)
}
