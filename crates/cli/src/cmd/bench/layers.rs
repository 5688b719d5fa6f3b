//! `bidst bench layers`

use bidst_train::bench::layers::{Layer, Row, Spent, breakdown};
use bidst_train::bench::{self, Bench};
use serde_json::{Value, json};

use super::{Subject, cells, extended, giga, head, ms, times, title};
use crate::text::{line, percent, table};

/// Time each layer of a network, and all other work of a step, beside the same network with every weight
///
/// Both networks take their steps in turn, with batches from the loader. Batch norm, ReLU and residuals are fused into the
/// convolutions around them; their rows are what is left over. Times are the fastest of all steps, shares are of their sum.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Images in a step
    #[arg(long, short, default_value_t = 128)]
    batch_size: u32,
    /// Steps of each network that are timed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before them
    #[arg(long, default_value_t = 2)]
    warmup: u32,
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let config = args.subject.config("static", args.batch_size)?;
    let mut sparse = Bench::with_loader(config.clone())?;
    let mut dense = Bench::with_loader(bench::dense(&config))?;
    let rows = breakdown(&mut sparse, &mut dense, args.warmup, args.steps)?;
    let sum = |of: fn(&Row) -> &Spent| rows.iter().map(|row| of(row).total_s()).sum::<f64>();
    let (total_s, dense_s) = (sum(|row| &row.sparse), sum(|row| &row.dense));
    if args.subject.json {
        let rows: Vec<Value> = rows.iter().map(|row| json_row(row, total_s)).collect();
        let result = json!({
            "steps": args.steps, "total_ms": 1e3 * total_s, "dense_total_ms": 1e3 * dense_s, "rows": rows,
        });
        return Ok(line(extended(head(&config, &sparse), result))?);
    }
    line(format!("{}, batch {}, {} threads", title(&config), args.batch_size, sparse.trainer().network().threads()))?;
    let names = ["layer", "shape", "nnz %", "fwd ms", "bwd ms", "ms", "share", "GF/s", "x dense"];
    let total = ["all", "", "", "", "", &ms(total_s), "100.0%", "", &factor(times(dense_s, total_s))];
    let lines = [cells(names)].into_iter().chain(rows.iter().map(|row| text_row(row, total_s))).chain([cells(total)]);
    line(table(&lines.collect::<Vec<_>>()))?;
    line("GF/s of non-zeros and times faster than with every weight: forward/backward.")?;
    Ok(())
}

fn text_row(row: &Row, total_s: f64) -> Vec<String> {
    let Spent { forward_s, backward_s, other_s } = row.sparse;
    let time = |seconds: f64| if other_s > 0.0 { String::new() } else { ms(seconds) };
    let [mut shape, mut density, mut speed, mut gain] = [const { String::new() }; 4];
    if let Some(layer) = &row.layer {
        shape = dimensions(layer);
        density = format!("{:.1}", 100.0 * layer.density());
        let [forward, backward] = rates(layer, &row.sparse);
        speed = format!("{forward:.0}/{backward:.0}");
        gain = gains(row).map(factor).join("/");
    }
    let share = percent(row.sparse.total_s() / total_s);
    let (forward, backward, all) = (time(forward_s), time(backward_s), ms(row.sparse.total_s()));
    vec![row.name.clone(), shape, density, forward, backward, all, share, speed, gain]
}

fn json_row(row: &Row, total_s: f64) -> Value {
    let spent = |spent: &Spent| {
        json!({
            "forward_ms": 1e3 * spent.forward_s, "backward_ms": 1e3 * spent.backward_s, "ms": 1e3 * spent.total_s(),
        })
    };
    let mut value = extended(json!({ "name": row.name, "share": row.sparse.total_s() / total_s }), spent(&row.sparse));
    if let Some(layer) = &row.layer {
        let ([forward, backward], [forward_gain, backward_gain]) = (rates(layer, &row.sparse), gains(row));
        value = extended(
            value,
            json!({
                "shape": layer.shape, "nnz": layer.nnz, "density": layer.density(),
                "forward_gflops": forward, "backward_gflops": backward,
                "forward_times_dense": forward_gain, "backward_times_dense": backward_gain,
            }),
        );
    }
    extended(value, json!({ "dense": spent(&row.dense) }))
}

/// Billions of operations on non-zeros a second, forward and backward.
fn rates(layer: &Layer, spent: &Spent) -> [f64; 2] {
    [giga(layer.forward_flops, spent.forward_s), giga(layer.backward_flops, spent.backward_s)]
}

/// Times faster than with every weight, forward and backward.
fn gains(row: &Row) -> [Option<f64>; 2] {
    [times(row.dense.forward_s, row.sparse.forward_s), times(row.dense.backward_s, row.sparse.backward_s)]
}

fn factor(times: Option<f64>) -> String {
    times.map_or_else(|| "-".to_owned(), |times| format!("{times:.1}"))
}

/// `64x32x3x3`
fn dimensions(layer: &Layer) -> String {
    layer.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
