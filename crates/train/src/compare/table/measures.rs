//! The list of what is compared. Tables, CSV and JSON derive from it.

use super::Sample;

/// One quantity of a finished run.
#[derive(Clone, Copy)]
pub(super) struct Measure {
    /// Its name in CSV and JSON, where the unit is that of the records: shares, FLOPs, bytes, seconds.
    pub key: &'static str,
    /// Its heading in the table of `part`.
    pub heading: &'static str,
    /// The table that shows it.
    pub part: Part,
    /// How the table shows it.
    pub unit: Unit,
    /// Its value, if the run has one.
    pub of: fn(&Sample<'_>) -> Option<f64>,
}

/// The tables, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Accuracy,
    Pattern,
    Cost,
    /// The only one that differs between two trainings of the same grid.
    Timing,
}

/// How a value is shown: times a factor, with so many digits behind the point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Unit {
    pub factor: f64,
    pub digits: usize,
    /// Whether a plus is put before positive values.
    pub signed: bool,
}

const fn unit(factor: f64, digits: usize) -> Unit {
    Unit { factor, digits, signed: false }
}

const PERCENT: Unit = unit(100.0, 2);
const MORE: Unit = Unit { factor: 100.0, digits: 1, signed: true };
const NUMBER: Unit = unit(1.0, 0);
const LOSS: Unit = unit(1.0, 4);
const RATIO: Unit = unit(1.0, 3);
const MILLIONS: Unit = unit(1e-6, 2);
const TERA: Unit = unit(1e-12, 2);
const MINUTES: Unit = unit(1.0 / 60.0, 2);

pub(super) const MEASURES: &[Measure] = &[
    measure(Part::Accuracy, "test_accuracy", "test %, last", PERCENT, |run| Some(run.last().test_accuracy)),
    measure(Part::Accuracy, "best_test_accuracy", "test %, best", PERCENT, |run| Some(run.totals().best_test_accuracy)),
    measure(Part::Accuracy, "train_accuracy", "train %", PERCENT, |run| Some(run.last().train_accuracy)),
    measure(Part::Accuracy, "test_loss", "test loss", LOSS, |run| Some(run.last().test_loss)),
    measure(Part::Accuracy, "train_loss", "train loss", LOSS, |run| Some(run.last().train_loss)),
    measure(Part::Pattern, "density", "density %", PERCENT, |run| Some(run.pattern()?.density)),
    measure(Part::Pattern, "decisions", "decisions", NUMBER, |run| Some(run.totals().decisions as f64)),
    measure(Part::Pattern, "swaps", "swaps", NUMBER, |run| Some(run.totals().swaps as f64)),
    measure(Part::Pattern, "itop", "R_s %", PERCENT, |run| Some(run.pattern()?.itop)),
    measure(Part::Pattern, "inspected", "R_ins %", PERCENT, |run| Some(run.pattern()?.inspected)),
    measure(Part::Pattern, "dead_outputs", "dead out", NUMBER, |run| Some(run.pattern()?.dead_outputs as f64)),
    measure(Part::Pattern, "dead_inputs", "dead in", NUMBER, |run| Some(run.pattern()?.dead_inputs as f64)),
    measure(Part::Cost, "training_flops", "train TFLOPs", TERA, |run| Some(run.totals().flops.training as f64)),
    measure(Part::Cost, "training_flops_of_dense", "of dense", RATIO, |run| {
        ratio(run.totals().flops.training as f64, run.totals().dense_flops as f64)
    }),
    measure(Part::Cost, "mask_flops_overhead", "mask FLOPs %", MORE, |run| {
        over(run.totals().flops.training as f64, run.totals().static_flops as f64)
    }),
    measure(Part::Cost, "mask_bytes_overhead", "mask bytes %", MORE, |run| {
        over(run.totals().peak_parameter_bytes as f64, run.fixed?.last.run.peak_parameter_bytes as f64)
    }),
    measure(Part::Cost, "inference_flops", "MFLOPs/image", MILLIONS, |run| {
        Some(run.last().pattern.inference_flops as f64)
    }),
    measure(Part::Cost, "inference_flops_of_dense", "of dense", RATIO, |run| {
        ratio(run.last().pattern.inference_flops as f64, run.outcome.dense_inference_flops as f64)
    }),
    measure(Part::Cost, "nonzeros", "weights", NUMBER, |run| Some(run.outcome.weights.nonzeros as f64)),
    measure(Part::Cost, "model_bytes", "model MB", MILLIONS, |run| Some(run.outcome.model_bytes as f64)),
    measure(Part::Timing, "timing_train_s", "train min", MINUTES, |run| Some(run.last().timing.run_train_s)),
    measure(Part::Timing, "timing_test_s", "test min", MINUTES, |run| Some(run.last().timing.run_test_s)),
    measure(Part::Timing, "timing_mask_overhead", "mask time %", MORE, |run| {
        over(run.last().timing.run_train_s, run.fixed?.last.timing.run_train_s)
    }),
    measure(Part::Timing, "timing_topology_share", "mask work %", PERCENT, |run| {
        ratio(run.last().timing.run_topology_s, run.last().timing.run_train_s)
    }),
    measure(Part::Timing, "timing_peak_bytes", "peak MB", MILLIONS, |run| {
        Some(run.last().timing.run_peak_bytes as f64)
    }),
];

const fn measure(
    part: Part,
    key: &'static str,
    heading: &'static str,
    unit: Unit,
    of: fn(&Sample<'_>) -> Option<f64>,
) -> Measure {
    Measure { key, heading, part, unit, of }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// By which share `value` is larger than `base`.
fn over(value: f64, base: f64) -> Option<f64> {
    ratio(value - base, base)
}
