//! `bidst bench step`

use bidst_train::bench::{Bench, fastest, median};
use bidst_train::metrics::{StepTiming, peak_rss_bytes};
use serde_json::json;

use super::{Subject, cpu_seconds, extended, head, title};
use crate::text::{count, line, percent};

/// Time whole training steps on random images with 10 classes
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Algorithm whose observations and decisions take part; `dense` for the dense network
    #[arg(long, default_value = "static")]
    algorithm: String,
    /// Images in a step
    #[arg(long, short, default_value_t = 128)]
    batch_size: u32,
    /// Take batches from the loader (shuffle, crop, flip) as training does, instead of some that are ready
    #[arg(long)]
    loader: bool,
    /// Steps that are timed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before them
    #[arg(long, default_value_t = 3)]
    warmup: u32,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let config = args.subject.config(&args.algorithm, args.batch_size)?;
    let mut bench = if args.loader { Bench::with_loader(config.clone())? } else { Bench::new(config.clone())? };
    for _ in 0..args.warmup {
        bench.step()?;
    }
    let (mut steps, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..args.steps {
        let before = cpu_seconds();
        steps.push(bench.step()?);
        cpu.extend(before.zip(cpu_seconds()).map(|(before, after)| after - before));
    }
    let ms = |part: fn(&StepTiming) -> f64| 1e3 * median(steps.iter().map(part));
    let sum = |part: fn(&StepTiming) -> f64| steps.iter().map(part).sum::<f64>();
    let least_ms = fastest(steps.iter().map(|timing| 1e3 * timing.total_s));
    let (median_ms, waiting) = (ms(|timing| timing.total_s), sum(|t| t.data_s) / sum(|t| t.total_s));
    let result = json!({
        "loader": args.loader,
        "steps": args.steps,
        "median_ms": median_ms,
        "min_ms": least_ms,
        "median_cpu_ms": (!cpu.is_empty()).then(|| 1e3 * median(cpu)),
        "data_ms": ms(|timing| timing.data_s),
        "data_share": waiting,
        "forward_ms": ms(|timing| timing.forward_s),
        "backward_ms": ms(|timing| timing.backward_s),
        "optimizer_ms": ms(|timing| timing.optimizer_s),
        "topology_ms": ms(|timing| timing.topology_s),
        "images_per_s": 1e3 * f64::from(args.batch_size) / median_ms,
        "peak_rss_mb": peak_rss_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20)),
    });
    if args.subject.json {
        return Ok(line(extended(head(&config, &bench), result))?);
    }
    let trainer = bench.trainer();
    let nonzeros: usize = trainer.network().weights().iter().map(|weight| weight.nnz()).sum();
    line(format!(
        "{}: {median_ms:.2} ms a step of {} images (fastest {least_ms:.2} ms), {} images/s",
        title(&config),
        args.batch_size,
        count((1e3 * f64::from(args.batch_size) / median_ms) as usize),
    ))?;
    line(format!(
        "forward {:.2} ms, backward {:.2} ms, optimiser {:.2} ms, mask {:.2} ms; {} of {} weights exist",
        ms(|timing| timing.forward_s),
        ms(|timing| timing.backward_s),
        ms(|timing| timing.optimizer_s),
        ms(|timing| timing.topology_s),
        count(nonzeros),
        count(trainer.totals().weights),
    ))?;
    if args.loader {
        let data_ms = ms(|timing| timing.data_s);
        line(format!("waiting for the loader {data_ms:.3} ms, {} of all the time", percent(waiting)))?;
    }
    Ok(())
}
