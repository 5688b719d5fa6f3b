//! `bidst bench conv`

use std::str::FromStr;

use bidst_train::bench::conv::{LayerBench, LayerShape};
use bidst_train::bench::{fastest, median};
use serde_json::{Value, json};

use super::{cells, giga, ms};
use crate::text::{count, line, table};

/// Time one convolution or linear layer alone, at several sparsities in turn
///
/// Forward, and backward for the gradients of its input and of its non-zeros together, on random data.
#[derive(clap::Args)]
pub struct Args {
    /// Weights and side of the input image: OUTxINxKHxKW@SIDE, with /STRIDE if it is not 1, or OUTxIN for a linear layer
    #[arg(long, value_name = "SHAPE", default_value = "64x64x3x3@16")]
    shape: Shape,
    /// Groups of channels that do not see each other; IN counts the channels of one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    groups: u32,
    /// Shares of the weights that do not exist, separated by commas; 0 is dense
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.8, 0.9, 0.95, 0.98], value_parser = sparsity)]
    sparsity: Vec<f64>,
    /// Images in a batch
    #[arg(long, short, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch_size: u32,
    /// Threads
    #[arg(long, short = 'j', default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Rounds that are timed, each of one pass per sparsity
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A layer as it is written on the command line.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    text: String,
    layer: LayerShape,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Shape, String> {
        let wrong = || "expected OUTxINxKHxKW@SIDE, perhaps with /STRIDE, or OUTxIN".to_owned();
        let number = |text: &str| text.parse().ok().filter(|&number: &usize| number > 0).ok_or_else(wrong);
        let (weights, image) = text.split_once('@').unwrap_or((text, ""));
        let sides = weights.split('x').map(number).collect::<Result<Vec<_>, _>>()?;
        let layer = match (&sides[..], image) {
            (&[outputs, inputs], "") => LayerShape { outputs, inputs, kernel: None, side: 1, stride: 1, groups: 1 },
            (&[outputs, inputs, height, width], image) => {
                let (side, stride) = image.split_once('/').unwrap_or((image, "1"));
                let (side, stride) = (number(side)?, number(stride)?);
                if stride > side {
                    return Err(format!("a stride of {stride} is larger than the side of the image, {side}"));
                }
                LayerShape { outputs, inputs, kernel: Some([height, width]), side, stride, groups: 1 }
            }
            _ => return Err(wrong()),
        };
        Ok(Shape { text: text.to_owned(), layer })
    }
}

/// The layer at one sparsity, with the seconds of each round.
struct Row {
    sparsity: f64,
    bench: LayerBench,
    passes: [Vec<f64>; 2],
}

/// Runs the verb.
///
/// # Errors
/// See the exit codes.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let layer = LayerShape { groups: args.groups as usize, ..args.shape.layer };
    let mut rows = Vec::new();
    for &sparsity in &args.sparsity {
        let bench = LayerBench::new(&layer, sparsity, args.batch_size as usize, args.threads as usize)?;
        rows.push(Row { sparsity, bench, passes: [Vec::new(), Vec::new()] });
    }
    for round in 0..=args.rounds {
        for row in &mut rows {
            let seconds = row.bench.step()?;
            // The first round warms up.
            if round > 0 {
                row.passes.iter_mut().zip(seconds).for_each(|(passes, seconds)| passes.push(seconds));
            }
        }
    }
    if args.json {
        let set = rows.first().map(|row| row.bench.network().instruction_set().name());
        return Ok(line(json!({
            "shape": args.shape.text, "groups": args.groups, "batch_size": args.batch_size, "threads": args.threads,
            "instruction_set": set, "rounds": args.rounds, "rows": rows.iter().map(json_row).collect::<Vec<_>>(),
        }))?);
    }
    line(format!("{} on {} images, {} threads: milliseconds", args.shape.text, args.batch_size, args.threads))?;
    let names = ["sparsity", "nnz", "fwd", "fastest", "GF/s", "bwd", "fastest", "GF/s"];
    let lines: Vec<_> = [cells(names)].into_iter().chain(rows.iter().map(text_row)).collect();
    Ok(line(table(&lines))?)
}

fn sparsity(text: &str) -> Result<f64, String> {
    let sparsity: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..1.0).contains(&sparsity) { Ok(sparsity) } else { Err("expected at least 0 and below 1".to_owned()) }
}

fn text_row(row: &Row) -> Vec<String> {
    let mut cells = vec![row.sparsity.to_string(), count(row.bench.nnz())];
    for (seconds, flops) in row.passes.iter().zip(row.bench.flops()) {
        let (middle, least) = (median(seconds.iter().copied()), fastest(seconds.iter().copied()));
        cells.extend([ms(middle), ms(least), format!("{:.0}", giga(flops, least))]);
    }
    cells
}

fn json_row(row: &Row) -> Value {
    let [forward, backward] = [0, 1].map(|pass| {
        let (middle, least) = (median(row.passes[pass].iter().copied()), fastest(row.passes[pass].iter().copied()));
        json!({ "median_ms": 1e3 * middle, "min_ms": 1e3 * least, "gflops": giga(row.bench.flops()[pass], least) })
    });
    json!({
        "sparsity": row.sparsity, "density": row.bench.density(), "nnz": row.bench.nnz(),
        "forward": forward, "backward": backward,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_as_weights_at_an_image_over_a_stride() {
        let conv = LayerShape { outputs: 64, inputs: 32, kernel: Some([3, 3]), side: 32, stride: 2, groups: 1 };
        assert_eq!("64x32x3x3@32/2".parse::<Shape>().unwrap().layer, conv);
        assert_eq!("64x32x3x3@32".parse::<Shape>().unwrap().layer, LayerShape { stride: 1, ..conv });
        let linear = LayerShape { outputs: 10, inputs: 20, kernel: None, side: 1, stride: 1, groups: 1 };
        assert_eq!("10x20".parse::<Shape>().unwrap().layer, linear);
        for wrong in [
            "",
            "64",
            "64x32x3@8",
            "64x32x3x3",
            "64x32x3x3@0",
            "64x32x3x3@8/",
            "10x20@4",
            "1x2x3x4@5/6/7",
            "8x8x3x3@4/5",
        ] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }
}
