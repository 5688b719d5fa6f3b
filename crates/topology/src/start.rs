//! With how many non-zeros and in which pattern an algorithm starts, and what it may ask of the network before the first step.

use crate::distribution::apportion;
use crate::{Change, LayerSpec, LayerView, Pattern, select};
use std::error::Error;

/// What the run's sparsity allows: sparse from the first step.
pub fn allotted<P>(_params: &P, layers: &mut [LayerSpec]) {
    layers.iter_mut().for_each(|layer| layer.nnz = layer.target);
}

/// What the run's sparsity allows, in a pattern.
pub fn patterned(layers: &mut [LayerSpec], pattern: Pattern) {
    layers.iter_mut().for_each(|layer| (layer.nnz, layer.pattern) = (layer.target, pattern));
}

/// Every position: dense at the start.
pub fn full<P>(_params: &P, layers: &mut [LayerSpec]) {
    layers.iter_mut().for_each(|layer| layer.nnz = layer.len());
}

/// `total` non-zeros in proportion to what each layer is allowed, and never fewer than that: uniform stays uniform and
/// Erdős–Rényi stays Erdős–Rényi at the higher density.
pub fn scaled(layers: &mut [LayerSpec], total: usize) {
    if total <= target(layers) {
        return allotted(&(), layers);
    }
    let allowed: Vec<f64> = layers.iter().map(|layer| layer.target as f64).collect();
    let lens: Vec<usize> = layers.iter().map(LayerSpec::len).collect();
    let counts = apportion(&allowed, &lens, total);
    layers.iter_mut().zip(counts).for_each(|(layer, nnz)| layer.nnz = nnz);
}

/// Non-zeros that the run's sparsity allows all layers together.
pub fn target(layers: &[LayerSpec]) -> usize {
    layers.iter().map(|layer| layer.target).sum()
}

/// A class-balanced set of training images, without augmentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Images of each class; fewer where the training set has fewer.
    pub per_class: usize,
    /// What the logits are divided by before the softmax.
    pub temperature: f32,
}

/// What pruning at initialisation may ask of the network. Weights and gradients are given per layer, aligned with the
/// active positions of the views that [`Algorithm::at_start`](crate::Algorithm::at_start) got; whatever the algorithm
/// does not own (dense layers, biases, batch norm) is as initialised.
pub trait Scorer {
    /// Gradients of the mean loss over a sample, at `weights`; batch norm uses the statistics of the batch. The sample is
    /// the same in every call.
    ///
    /// # Errors
    /// [`StartError::Scorer`] if the network cannot be run.
    fn loss_gradients(&mut self, sample: &Sample, weights: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, StartError>;

    /// Gradients of the network's flow R at `weights`, up to a positive factor common to all layers and different in each
    /// call: R is the sum of outputs for an input of ones, with every parameter replaced by its magnitude and batch norm
    /// as initialised, the identity (Tanaka et al. 2020).
    ///
    /// # Errors
    /// [`StartError::Scorer`] if the network cannot be run.
    fn flow_gradients(&mut self, weights: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, StartError>;
}

/// Why the first mask could not be chosen.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The network could not be run.
    #[error("the network could not be scored: {0}")]
    Scorer(Box<dyn Error + Send + Sync>),
    /// A score is infinite or no number.
    #[error("the score of position {position} in layer {layer} is {score}; check the data and the first weights")]
    Score {
        /// The layer, by number.
        layer: usize,
        /// The position.
        position: u32,
        /// Its score.
        score: f32,
    },
}

/// Drops all but the `keep` best positions of all layers together, ties in favour of the lower layer, then of the lower
/// position. `scores` are aligned with the active positions.
///
/// # Errors
/// If a score is not finite.
pub fn keep_best(layers: &[LayerView<'_>], scores: &[Vec<f32>], keep: usize) -> Result<Vec<Change>, StartError> {
    for (layer, (view, scores)) in layers.iter().zip(scores).enumerate() {
        if let Some(entry) = scores.iter().position(|score| !score.is_finite()) {
            return Err(StartError::Score { layer, position: view.active[entry], score: scores[entry] });
        }
    }
    let active: usize = layers.iter().map(|view| view.active.len()).sum();
    let dropped = select::smallest_over(scores, active.saturating_sub(keep));
    let change = |(view, entries): (&LayerView<'_>, Vec<u32>)| Change {
        dropped: select::pick(view.active, &entries),
        ..Change::default()
    };
    Ok(layers.iter().zip(dropped).map(change).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Probe;

    fn layers(counts: &[(usize, usize)]) -> Vec<LayerSpec> {
        counts.iter().map(|&(len, target)| LayerSpec::new("fc.weight", vec![1, len], target)).collect()
    }

    #[test]
    fn a_higher_density_keeps_the_proportions_until_a_layer_is_full() {
        for (total, nnz) in [(66, [12, 36, 18]), (110, [23, 67, 20]), (usize::MAX, [100, 100, 20]), (7, [10, 30, 15])] {
            let mut layers = layers(&[(100, 10), (100, 30), (20, 15)]);
            scaled(&mut layers, total);
            assert_eq!(layers.iter().map(|layer| layer.nnz).collect::<Vec<_>>(), nnz);
        }
    }

    #[test]
    fn a_start_no_denser_than_the_target_keeps_the_one_weight_of_a_tiny_layer() {
        let mut layers = layers(&[(48, 48), (1, 1), (57, 54)]);
        scaled(&mut layers, 53);
        assert_eq!(layers.iter().map(|layer| layer.nnz).collect::<Vec<_>>(), [48, 1, 54]);
    }

    #[test]
    fn the_best_positions_of_all_layers_stay_and_a_score_that_is_no_number_is_an_error() {
        let view = |active| LayerView { active, weights: &[], gradients: &[], momentum: &[], probe: Probe::None };
        let layers = [view(&[0, 1, 2]), view(&[0, 5])];
        let scores = [vec![0.5, 0.1, 0.5], vec![0.4, 0.5]];
        let changes = keep_best(&layers, &scores, 2).unwrap();
        assert_eq!([&changes[0].dropped, &changes[1].dropped], [&vec![1], &vec![0, 5]]);
        let error = keep_best(&layers, &[vec![0.0; 3], vec![0.0, f32::NAN]], 2).unwrap_err();
        assert!(matches!(error, StartError::Score { layer: 1, position: 5, .. }));
    }
}
