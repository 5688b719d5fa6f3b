//! AC/DC: alternating compressed and decompressed training.
//!
//! Peste et al., "AC/DC: alternating compressed/decompressed training of deep neural networks", NeurIPS 2021.
//!
//! Training starts dense. Compressed phases, whose mask is the largest weights of all layers together and is fixed for the
//! phase, alternate with phases in which every weight is trained, the returning ones from 0. A longer decompressed phase and
//! a compressed one are last. As shares of the run, in the paper's 100 epochs:
//!
//! ```text
//!     0.1 dense | 0.05 sparse, 0.05 dense, … , 0.05 sparse | 0.1 dense | 0.15 sparse
//! ```
//!
//! The cost is that of the average density, about 0.5, and weights, gradients and momentum are dense time and again.
//!
//! Where we differ: momentum of returning weights starts at 0, which is an option of other implementations. The phases in
//! the middle are stretched a little where their length does not divide what there is.

use super::{AlgorithmError, Card, Require};
use crate::mask::complement;
use crate::start;
use crate::{Algorithm, Budget, Change, Context, LayerSpec, LayerView, select};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "acdc",
    summary: "alternate between all weights and the largest ones",
    paper: "Peste et al., AC/DC: alternating compressed/decompressed training of deep neural networks, NeurIPS 2021",
    dense: false,
    start: start::full,
};

/// Options of AC/DC, all shares of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The dense phase at the start. Default 0.1.
    pub first_dense: f64,
    /// Each of the phases in the middle. Default 0.05.
    pub phase: f64,
    /// The last dense phase. Default 0.1.
    pub last_dense: f64,
    /// The compressed phase at the end. Default 0.15.
    pub last_sparse: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { first_dense: 0.1, phase: 0.05, last_dense: 0.1, last_sparse: 0.15 }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    Ok(Box::new(Acdc { turns: turns(&params, context)?, layers: context.layers.to_vec() }))
}

/// The steps at which a phase ends: compressions and decompressions in turn, beginning and ending with a compression.
fn turns(params: &Params, context: &Context<'_>) -> Result<Vec<u64>, AlgorithmError> {
    let require = Require(CARD.name);
    let steps = |option, share| Ok(require.share(option, share, context)?.max(1));
    let first_dense = steps("first_dense", params.first_dense)?;
    let phase = steps("phase", params.phase)?;
    let last_dense = steps("last_dense", params.last_dense)?;
    let last_sparse = steps("last_sparse", params.last_sparse)?;
    let middle = context.total_steps.saturating_sub(first_dense + last_dense + last_sparse);
    require.that(middle > 0, "phase", params.phase, "there is no time left between the first and the last phases")?;
    // An odd number of phases of at least one step each: sparse ones at both ends.
    let pairs = ((middle as f64 / phase as f64 - 1.0) / 2.0).round() as u64;
    let phases = 2 * pairs.min((middle - 1) / 2) + 1;
    let mut turns: Vec<u64> = (0..=phases).map(|phase| first_dense + middle * phase / phases).collect();
    turns.push(first_dense + middle + last_dense);
    Ok(turns)
}

struct Acdc {
    turns: Vec<u64>,
    layers: Vec<LayerSpec>,
}

impl Acdc {
    /// Non-zeros of all layers together after the decision of `step`.
    fn total(&self, step: u64) -> usize {
        let compresses = self.turns.partition_point(|&turn| turn < step) % 2 == 0;
        if compresses { start::target(&self.layers) } else { self.layers.iter().map(LayerSpec::len).sum() }
    }
}

impl Algorithm for Acdc {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.turns.get(self.turns.partition_point(|&turn| turn < step)).copied()
    }

    fn update(&mut self, step: u64, layers: &[LayerView<'_>]) -> Vec<Change> {
        let active: usize = layers.iter().map(|view| view.active.len()).sum();
        let magnitudes: Vec<Vec<f32>> = layers.iter().map(|view| select::magnitudes(view.weights)).collect();
        let smallest = select::smallest_over(&magnitudes, active.saturating_sub(self.total(step)));
        let decide = |((view, layer), entries): ((&LayerView<'_>, &LayerSpec), Vec<u32>)| {
            if self.total(step) > active {
                return Change { grown: complement(layer.len(), view.active), ..Change::default() };
            }
            Change { dropped: select::pick(view.active, &entries), ..Change::default() }
        };
        layers.iter().zip(&self.layers).zip(smallest).map(decide).collect()
    }

    fn budget(&self, step: u64) -> Budget {
        Budget::Scheduled(self.total(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, view};

    #[test]
    fn a_run_of_a_hundred_epochs_has_the_papers_phases() {
        let turns = turns(&Params::default(), &context(&[], 10_000)).unwrap();
        let expected: Vec<u64> = (0..=13).map(|phase| 1000 + 500 * phase).chain([8500]).collect();
        assert_eq!(turns, expected);
    }

    #[test]
    fn a_short_run_has_fewer_phases_and_still_ends_compressed() {
        let few = |steps| turns(&Params::default(), &context(&[], steps));
        assert_eq!(few(15).unwrap(), (1..14).collect::<Vec<u64>>());
        assert_eq!(few(4).unwrap(), [1, 2, 3]);
        assert!(few(3).unwrap_err().to_string().contains("phase"));
    }

    #[test]
    fn the_largest_weights_of_all_layers_stay_and_the_others_come_back() {
        let layers = [("a.weight", 3, 1), ("b.weight", 2, 2)]
            .map(|(name, len, target)| LayerSpec { nnz: len, ..LayerSpec::new(name, vec![1, len], target) });
        let mut acdc = build(Params::default(), &context(&layers, 100)).unwrap();
        let full = [view(&[0, 1, 2], &[0.5, -0.6, 0.1]), view(&[0, 1], &[0.2, 0.3])];
        let changes = acdc.update(10, &full);
        assert_eq!((&changes[0].dropped[..], &changes[1].dropped[..]), (&[2][..], &[0][..]));
        let cut = [view(&[0, 1], &[0.5, -0.6]), view(&[1], &[0.3])];
        let changes = acdc.update(15, &cut);
        assert_eq!((&changes[0].grown[..], &changes[1].grown[..]), (&[2][..], &[0][..]));
        assert_eq!([10, 15, 85].map(|step| acdc.budget(step)), [3, 5, 3].map(Budget::Scheduled));
    }
}
