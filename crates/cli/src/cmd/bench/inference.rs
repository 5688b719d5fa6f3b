//! `bidst bench inference`

use std::time::Duration;

use bidst_train::bench::{self, Bench, fastest, interleaved, median};
use serde_json::{Value, json};

use super::{Subject, cells, extended, head, ms, title};
use crate::text::{count, line, table};

/// Time evaluation at several batch sizes, beside the same network with every weight
///
/// A batch of one is the latency of an image; large ones tell the throughput. Both networks take turns.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Images in a batch, separated by commas
    #[arg(long, short, value_delimiter = ',', default_values_t = [1, 16, 128], value_parser = clap::value_parser!(u32).range(1..))]
    batch_sizes: Vec<u32>,
    /// Seconds spent on each batch size
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
}

/// One batch size.
struct Row {
    batch_size: u32,
    sparse: Vec<f64>,
    dense: Vec<f64>,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut about = (String::new(), Value::Null);
    for &batch_size in &args.batch_sizes {
        let config = args.subject.config("static", batch_size)?;
        let mut sparse = Bench::new(config.clone())?;
        let mut dense = Bench::new(bench::dense(&config))?;
        let budget = Duration::from_secs_f64(args.seconds);
        let [ours, theirs] = interleaved(&mut sparse, &mut dense, budget, Bench::evaluate)?;
        rows.push(Row { batch_size, sparse: ours, dense: theirs });
        about = (title(&config), head(&config, &sparse));
    }
    let (title, mut head) = about;
    if args.subject.json {
        head.as_object_mut().map(|head| head.remove("batch_size"));
        let rows: Vec<Value> = rows.iter().map(json_row).collect();
        return Ok(line(extended(head, json!({ "batches": rows })))?);
    }
    line(format!("{title}: evaluating a batch, beside the network with every weight"))?;
    let names = ["batch", "ms", "fastest", "images/s", "dense ms", "fastest", "images/s", "x dense"];
    let lines: Vec<_> = [cells(names)].into_iter().chain(rows.iter().map(text_row)).collect();
    line(table(&lines))?;
    Ok(())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if (0.0..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("expected 0 to 3600 seconds".to_owned()) }
}

fn text_row(row: &Row) -> Vec<String> {
    let mut cells = vec![row.batch_size.to_string()];
    for samples in [&row.sparse, &row.dense] {
        let middle = median(samples.iter().copied());
        cells.extend([
            ms(middle),
            ms(fastest(samples.iter().copied())),
            count((f64::from(row.batch_size) / middle) as usize),
        ]);
    }
    cells.push(format!("{:.1}", ratio(row)));
    cells
}

fn ratio(row: &Row) -> f64 {
    median(row.dense.iter().copied()) / median(row.sparse.iter().copied())
}

fn json_row(row: &Row) -> Value {
    let of = |samples: &[f64]| {
        let middle = median(samples.iter().copied());
        json!({
            "median_ms": 1e3 * middle, "min_ms": 1e3 * fastest(samples.iter().copied()),
            "images_per_s": f64::from(row.batch_size) / middle, "samples": samples.len(),
        })
    };
    let own = json!({ "batch_size": row.batch_size, "dense": of(&row.dense), "times_dense": ratio(row) });
    extended(of(&row.sparse), own)
}
