//! Results in f64, the error that f32 may add to them, and the comparison.

use super::{Batch, Numbers};
use bidst_kernels::reference::{BatchNormShape, batch_norm_statistics};
use bidst_kernels::{InstructionSet, Storage};
use std::fmt::Debug;

/// Random cases of every kernel on every instruction set.
const CASES: usize = 2_000;

/// The same with `BIDST_LONG=1`.
const LONG_CASES: usize = 100_000;

/// Half the distance from 1 to the next f32: what one rounding may change.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// A tensor computed in f64 from f32 inputs, each element a sum of terms.
#[derive(Clone)]
pub struct Exact {
    pub values: Vec<f64>,
    /// Σ|terms| of each element.
    pub magnitudes: Vec<f64>,
    /// Number of terms on the way to any element, those of its operands included; 0 if f32 holds it exactly.
    pub terms: usize,
}

impl Exact {
    /// Inputs as they are.
    pub fn new(values: &[f32]) -> Exact {
        let values: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        let magnitudes = values.iter().map(|value| value.abs()).collect();
        Exact { values, magnitudes, terms: 0 }
    }

    /// `function` of the values, and of the magnitudes for the bound.
    pub fn map(&self, terms: usize, function: impl Fn(&[f64]) -> Vec<f64>) -> Exact {
        Exact { values: function(&self.values), magnitudes: function(&self.magnitudes), terms }
    }

    pub fn plus(self, other: &[f32]) -> Exact {
        let sum = |left: &[f64], right: &[f64]| bidst_kernels::reference::add_forward(left, right);
        let other = Exact::new(other);
        Exact {
            values: sum(&self.values, &other.values),
            magnitudes: sum(&self.magnitudes, &other.magnitudes),
            terms: self.terms + 1,
        }
    }

    /// The elements at `positions`.
    pub fn at(&self, positions: &[u32]) -> Exact {
        self.map(self.terms, |all| positions.iter().map(|&position| all[position as usize]).collect())
    }

    /// Σx and Σx² per channel, interleaved.
    pub fn moments(&self, batch: Batch) -> Exact {
        let population = batch.population();
        let pixels = batch.plane.height * batch.plane.width;
        let shape = BatchNormShape { count: batch.images, channels: batch.plane.channels, pixels };
        self.map(2 * self.terms + population + 1, |x| {
            let statistics = batch_norm_statistics(&shape, x);
            let moments = statistics.mean.into_iter().zip(statistics.variance);
            moments.flat_map(|(mean, variance)| [mean, variance + mean * mean].map(|m| m * population as f64)).collect()
        })
    }

    /// How far f32 may stray from element `at`: 2·k·ε·Σ|terms|.
    pub fn bound(&self, at: usize) -> f64 {
        2.0 * self.terms as f64 * ROUNDING * self.magnitudes[at]
    }
}

/// Keeps the largest error of one kernel on each instruction set, as a share of its bound.
pub struct Agreement {
    kernel: &'static str,
    case: usize,
    skipped: usize,
    worst: Vec<(InstructionSet, f64)>,
}

impl Agreement {
    /// Leaves a case out because rounding decides on which side of a kink one of its values lies.
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// Compares what `set` computed with the exact result.
    pub fn check(&mut self, set: InstructionSet, what: &str, about: &dyn Debug, got: &[f32], exact: &Exact) {
        self.check_stored(set, what, about, got, exact, (Storage::F32, 1));
    }

    /// [`Agreement::check`] for what was rounded by being stored so many times.
    pub fn check_stored(
        &mut self,
        set: InstructionSet,
        what: &str,
        about: &dyn Debug,
        got: &[f32],
        exact: &Exact,
        (storage, times): (Storage, usize),
    ) {
        let rounding = if storage == Storage::Bf16 { times as f64 / 256.0 } else { 0.0 };
        let Agreement { kernel, case, .. } = *self;
        let place = || format!("{kernel} on {}, case {case}, {about:?}: {what}", set.name());
        assert_eq!(got.len(), exact.values.len(), "{}: length", place());
        let mut worst = 0f64;
        for (at, (&got, &value)) in got.iter().zip(&exact.values).enumerate() {
            let bound = (1.0 + rounding) * exact.bound(at) + rounding * exact.magnitudes[at];
            let error = (f64::from(got) - value).abs();
            assert!(error <= bound, "{}[{at}] is {got}, must be {value} within {bound:e}", place());
            worst = worst.max(error / bound.max(f64::MIN_POSITIVE));
        }
        match self.worst.iter_mut().find(|(known, _)| *known == set) {
            Some((_, largest)) => *largest = largest.max(worst),
            None => self.worst.push((set, worst)),
        }
    }
}

/// Draws the cases of `kernel`; `compare` runs one of them on every instruction set.
pub fn agree(kernel: &'static str, mut compare: impl FnMut(&mut Numbers, &mut Agreement)) {
    let cases = if std::env::var("BIDST_LONG").is_ok_and(|long| long == "1") { LONG_CASES } else { CASES };
    let mut agreement = Agreement { kernel, case: 0, skipped: 0, worst: Vec::new() };
    for case in 0..cases {
        agreement.case = case;
        compare(&mut Numbers::new(kernel, case), &mut agreement);
    }
    let Agreement { skipped, worst, .. } = agreement;
    for (set, worst) in worst {
        let name = set.name();
        println!("{kernel:>14} {name:>7}: {} cases, largest error {worst:.3} of its bound", cases - skipped);
    }
    assert!(skipped * 50 <= cases, "{kernel}: {skipped} of {cases} cases lie on a kink");
}
