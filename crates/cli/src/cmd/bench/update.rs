//! `bidst bench update`

use std::sync::LazyLock;
use std::time::Instant;

use bidst_topology::algorithms;
use bidst_train::bench::Bench;
use bidst_train::bench::update::{UpdateCost, follows_the_epoch, update_cost};
use bidst_train::config::Builder;
use bidst_train::{Config, TrainError};
use serde_json::{Value, json};

use super::{Subject, cells, cpu_seconds, extended, head, ms, title};
use crate::text::{count, line, percent, table};

/// Steps of an epoch of CIFAR-10 in batches of 128.
const EPOCH: u32 = 391;

/// Time what the decisions of each algorithm cost
///
/// Every algorithm trains step by step in turn with a static pattern; *extra* is the difference of such a pair. Steps far from
/// a decision are skipped. The algorithm `static` beside itself shows how far the machine's noise goes.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Algorithms, separated by commas; left out: all
    #[arg(long, value_delimiter = ',')]
    algorithm: Vec<String>,
    /// Steps between two decisions; left out: the algorithm's default, with an epoch of 391 steps
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u32).range(1..))]
    interval: Option<u32>,
    /// Images in a step
    #[arg(long, short, default_value_t = 128)]
    batch_size: u32,
    /// Decisions that are timed, of each algorithm
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    decisions: u32,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let listed = || algorithms::list().iter().filter(|entry| !entry.dense).map(|entry| entry.name.to_owned());
    let names: Vec<String> = if args.algorithm.is_empty() { listed().collect() } else { args.algorithm.clone() };
    let configs = names.iter().map(|name| configuration(args, name)).collect::<Result<Vec<_>, _>>()?;
    let still = args.subject.config("static", args.batch_size)?;
    let mut head = head(&still, &Bench::new(still.clone())?);
    head.as_object_mut().map(|head| head.remove("algorithm"));
    let mut costs = Vec::new();
    let clock = if args.subject.threads == 1 && cpu_seconds().is_some() { Clock::Cpu } else { Clock::Wall };
    for config in configs {
        costs.push(update_cost(config, args.decisions as usize, clock.reader())?);
    }
    let rows = || names.iter().zip(&costs);
    if args.subject.json {
        let rows: Vec<Value> = rows().map(|(name, cost)| json_row(name, cost)).collect();
        return Ok(line(extended(head, json!({ "clock": clock.name(), "algorithms": rows })))?);
    }
    line(format!("{}, batch {}: milliseconds of {} time", title(&still), args.batch_size, clock.name()))?;
    let names = [
        "algorithm",
        "every",
        "moved",
        "between",
        "probed",
        "select",
        "apply",
        "rebuild",
        "sum",
        "extra",
        "next",
        "all",
    ];
    let lines: Vec<_> = [cells(names)].into_iter().chain(rows().map(|(name, cost)| text_row(name, cost))).collect();
    line(table(&lines))?;
    Ok(line(LEGEND)?)
}

const LEGEND: &str = "\
every     steps from one decision to the next
moved     weights that a decision replaced
between   extra of a step between decisions; probed: share of those with gradients at zeros
select    scores and selection; apply: patterns, values and momentum
rebuild   the kernels' index streams, in the next step
sum       of these three, all on the wall: the decision itself
extra     of the whole step of a decision, gradients at zeros included; next: of the step after it
all       extra of all steps, on average, of a static step";

/// What times are taken by.
#[derive(Clone, Copy)]
enum Clock {
    /// The processor's time of this process: for one thread, free of what others do.
    Cpu,
    Wall,
}

impl Clock {
    fn name(self) -> &'static str {
        match self {
            Clock::Cpu => "processor",
            Clock::Wall => "wall",
        }
    }

    fn reader(self) -> fn() -> f64 {
        match self {
            Clock::Cpu => || cpu_seconds().unwrap_or(0.0),
            Clock::Wall => || WALL.elapsed().as_secs_f64(),
        }
    }
}

/// When the clock on the wall was first asked.
static WALL: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The settings of one algorithm. Where the interval is an epoch by default, it gets one of a usual length.
fn configuration(args: &Args, algorithm: &str) -> Result<Config, TrainError> {
    let mut config = args.subject.config(algorithm, args.batch_size)?;
    if args.interval.is_none() && !follows_the_epoch(&config) {
        return Ok(config);
    }
    let interval = args.interval.unwrap_or(EPOCH);
    let named = Builder::new().flag("--algorithm", "algorithm.name", algorithm);
    let knows_it = named.flag("--interval", "algorithm.update_interval", i64::from(interval)).finish().is_ok();
    if knows_it {
        config.algorithm.parameters.insert("update_interval".to_owned(), i64::from(interval).into());
    }
    Ok(config)
}

fn text_row(name: &str, cost: &UpdateCost) -> Vec<String> {
    let or_dash = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), ms);
    vec![
        name.to_owned(),
        cost.interval.map_or_else(|| "-".to_owned(), |steps| format!("{steps:.0}")),
        count(cost.moved.round() as usize),
        ms(cost.between_s()),
        percent(cost.probing),
        or_dash(cost.select_s),
        or_dash(cost.apply_s),
        or_dash(cost.rebuild_s),
        or_dash(cost.itself_s()),
        or_dash(cost.decision_s),
        or_dash(cost.after_s),
        percent(cost.per_step_s() / cost.static_s),
    ]
}

fn json_row(name: &str, cost: &UpdateCost) -> Value {
    let ms = |seconds: Option<f64>| seconds.map(|seconds| 1e3 * seconds);
    json!({
        "algorithm": name,
        "interval": cost.interval,
        "decisions": cost.decisions,
        "moved": cost.moved,
        "probing_share": cost.probing,
        "static_step_ms": 1e3 * cost.static_s,
        "plain_extra_ms": ms(cost.plain_s),
        "probe_extra_ms": ms(cost.probe_s),
        "select_ms": ms(cost.select_s),
        "apply_ms": ms(cost.apply_s),
        "rebuild_ms": ms(cost.rebuild_s),
        "itself_ms": ms(cost.itself_s()),
        "decision_extra_ms": ms(cost.decision_s),
        "next_step_extra_ms": ms(cost.after_s),
        "decision_in_steps": cost.of_a_decision_s() / cost.static_s,
        "per_step_extra_ms": 1e3 * cost.per_step_s(),
        "per_step_share": cost.per_step_s() / cost.static_s,
    })
}
