//! `bidst bench`: one file per thing that is measured.

mod conv;
mod inference;
mod layers;
mod step;
mod update;

use bidst_train::bench::Bench;
use bidst_train::config::Builder;
use bidst_train::{Config, TrainError};
use clap::Subcommand;
use serde_json::{Value, json};

use super::settings::Settings;

/// Measure this machine
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Step(Box<step::Args>),
    Layers(Box<layers::Args>),
    Update(Box<update::Args>),
    Inference(Box<inference::Args>),
    Conv(Box<conv::Args>),
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Step(args) => step::run(args),
        What::Layers(args) => layers::run(args),
        What::Update(args) => update::run(args),
        What::Inference(args) => inference::run(args),
        What::Conv(args) => conv::run(args),
    }
}

/// The network that is timed, and how the result is shown.
#[derive(clap::Args)]
struct Subject {
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
    /// Threads; 0 means one per core
    #[arg(long, short = 'j', default_value_t = 1)]
    threads: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Any key of the configuration
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Subject {
    fn config(&self, algorithm: &str, batch_size: u32) -> Result<Config, TrainError> {
        let words = [
            ("model.name", self.model.clone()),
            ("model.width", self.width.to_string()),
            ("algorithm.name", algorithm.to_owned()),
            ("sparsity.level", self.sparsity.to_string()),
            ("sparsity.distribution", self.distribution.clone()),
            ("train.batch_size", batch_size.to_string()),
        ];
        let settings = Settings::of(&words, &self.set);
        let builder = Builder::new().flag("--threads", "run.threads", i64::from(self.threads));
        Ok(settings.apply(builder).finish()?)
    }
}

/// What was measured, as the JSON objects begin.
fn head(config: &Config, bench: &Bench) -> Value {
    let trainer = bench.trainer();
    json!({
        "model": config.model.name,
        "width": config.model.width,
        "sparsity": config.sparsity.level,
        "distribution": config.sparsity.distribution,
        "algorithm": config.algorithm.name,
        "batch_size": config.train.batch_size,
        "threads": trainer.network().threads(),
        "instruction_set": trainer.instruction_set(),
        "nnz": trainer.totals().nonzeros,
        "params": trainer.parameters(),
    })
}

/// Adds the fields of `more` to the object `head`.
fn extended(mut head: Value, more: Value) -> Value {
    if let (Some(head), Value::Object(more)) = (head.as_object_mut(), more) {
        head.extend(more);
    }
    head
}

/// `resnet32 x2 at sparsity 0.9`
fn title(config: &Config) -> String {
    format!("{} x{} at sparsity {}", config.model.name, config.model.width, config.sparsity.level)
}

/// Milliseconds with two places, for tables.
fn ms(seconds: f64) -> String {
    format!("{:.2}", 1e3 * seconds)
}

/// Billions of operations a second.
fn giga(flops: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { 1e-9 * flops as f64 / seconds } else { 0.0 }
}

/// How many times as long `dense` takes; `None` if one of them takes no time at all.
fn times(dense: f64, sparse: f64) -> Option<f64> {
    (dense > 0.0 && sparse > 0.0).then(|| dense / sparse)
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

fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}
