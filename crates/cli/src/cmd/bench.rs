//! `bidst bench`

use bidst_train::bench::{Bench, median};
use bidst_train::config::Builder;
use bidst_train::metrics::{StepTiming, peak_rss_bytes};
use bidst_train::{Config, TrainError};
use clap::Subcommand;
use serde_json::json;

use super::train::Settings;
use crate::text::{count, line};

/// Measure this machine
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Step(Box<StepArgs>),
}

/// Time whole training steps on random images with 10 classes
#[derive(clap::Args)]
struct StepArgs {
    /// Network
    #[arg(long, default_value = "resnet32")]
    model: String,
    /// Factor on its number of channels
    #[arg(long, default_value_t = 1.0)]
    width: f64,
    /// Share of the weights that do not exist
    #[arg(long, default_value_t = 0.9)]
    sparsity: f64,
    /// How non-zeros are shared out between layers: uniform or erk
    #[arg(long, default_value = "uniform")]
    distribution: String,
    /// Algorithm whose observations and decisions take part; `dense` for the dense network
    #[arg(long, default_value = "static")]
    algorithm: String,
    /// Images in a step
    #[arg(long, short, default_value_t = 128)]
    batch_size: u32,
    /// Threads; 0 means one per core
    #[arg(long, short = 'j', default_value_t = 1)]
    threads: u32,
    /// Steps that are timed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before them
    #[arg(long, default_value_t = 3)]
    warmup: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Any key of the configuration
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let What::Step(args) = &args.what;
    let config = configuration(args)?;
    let mut bench = Bench::new(config.clone())?;
    for _ in 0..args.warmup {
        bench.step()?;
    }
    let mut samples = Vec::new();
    for _ in 0..args.steps {
        let before = cpu_seconds();
        let timing = bench.step()?;
        let cpu = before.zip(cpu_seconds()).map(|(before, after)| after - before);
        samples.push((timing, cpu));
    }
    let milliseconds = |part: fn(&StepTiming) -> f64| 1e3 * median(samples.iter().map(|(timing, _)| part(timing)));
    let fastest = samples.iter().map(|(timing, _)| 1e3 * timing.total_s).fold(f64::INFINITY, f64::min);
    let cpu: Option<Vec<f64>> = samples.iter().map(|(_, cpu)| *cpu).collect();
    let trainer = bench.trainer();
    let median_ms = milliseconds(|timing| timing.total_s);
    let nonzeros: usize = trainer.network().weights().iter().map(|weight| weight.nnz()).sum();
    let result = json!({
        "model": config.model.name,
        "width": config.model.width,
        "sparsity": config.sparsity.level,
        "distribution": config.sparsity.distribution,
        "algorithm": config.algorithm.name,
        "batch_size": args.batch_size,
        "threads": trainer.network().threads(),
        "instruction_set": trainer.instruction_set(),
        "steps": args.steps,
        "median_ms": median_ms,
        "min_ms": fastest,
        "median_cpu_ms": cpu.map(|cpu| 1e3 * median(cpu)),
        "forward_ms": milliseconds(|timing| timing.forward_s),
        "backward_ms": milliseconds(|timing| timing.backward_s),
        "optimizer_ms": milliseconds(|timing| timing.optimizer_s),
        "topology_ms": milliseconds(|timing| timing.topology_s),
        "images_per_s": 1e3 * f64::from(args.batch_size) / median_ms,
        "peak_rss_mb": peak_rss_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20)),
        "nnz": nonzeros,
        "params": trainer.parameters(),
    });
    if args.json {
        return Ok(line(result)?);
    }
    line(format!(
        "{} x{} at sparsity {}: {median_ms:.2} ms a step of {} images (fastest {fastest:.2} ms), {} images/s",
        config.model.name,
        config.model.width,
        config.sparsity.level,
        args.batch_size,
        count((1e3 * f64::from(args.batch_size) / median_ms) as usize),
    ))?;
    line(format!(
        "forward {:.2} ms, backward {:.2} ms, optimiser {:.2} ms; {} of {} weights exist",
        milliseconds(|timing| timing.forward_s),
        milliseconds(|timing| timing.backward_s),
        milliseconds(|timing| timing.optimizer_s),
        count(nonzeros),
        count(trainer.totals().weights),
    ))?;
    Ok(())
}

fn configuration(args: &StepArgs) -> Result<Config, TrainError> {
    let settings = Settings {
        model: Some(args.model.clone()),
        width: Some(args.width),
        algorithm: Some(args.algorithm.clone()),
        sparsity: Some(args.sparsity),
        distribution: Some(args.distribution.clone()),
        batch_size: Some(args.batch_size),
        set: args.set.clone(),
        ..Settings::default()
    };
    let builder = Builder::new().flag("--threads", "run.threads", i64::from(args.threads));
    Ok(settings.apply(builder).finish()?)
}

/// Processor time of this process so far, all threads together.
#[cfg(unix)]
fn cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64)
}

/// Processor time of this process so far: not known here.
#[cfg(not(unix))]
fn cpu_seconds() -> Option<f64> {
    None
}
