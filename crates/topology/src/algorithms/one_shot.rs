//! Pruning at initialisation: the first mask is chosen by score, and kept.

use crate::start::{Scorer, StartError};
use crate::{Algorithm, Change, LayerView};

/// Prunes once, before the first step, and never decides anything after that.
pub(super) struct OneShot<P> {
    pub(super) name: &'static str,
    /// From the first weights to the changes that leave what the sparsity allows.
    pub(super) prune: P,
}

impl<P> Algorithm for OneShot<P>
where
    P: Fn(&[LayerView<'_>], &mut dyn Scorer) -> Result<Vec<Change>, StartError> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn prunes_at_start(&self) -> bool {
        true
    }

    fn at_start(&mut self, layers: &[LayerView<'_>], scorer: &mut dyn Scorer) -> Result<Vec<Change>, StartError> {
        (self.prune)(layers, scorer)
    }

    fn next_decision(&self, _step: u64) -> Option<u64> {
        None
    }

    fn update(&mut self, _step: u64, layers: &[LayerView<'_>]) -> Vec<Change> {
        vec![Change::default(); layers.len()]
    }
}

/// Copies of the first weights.
pub(super) fn weights_of(layers: &[LayerView<'_>]) -> Vec<Vec<f32>> {
    layers.iter().map(|view| view.weights.to_vec()).collect()
}

/// `f` of each pair of entries.
pub(super) fn combine(a: &[Vec<f32>], b: &[Vec<f32>], f: impl Fn(f32, f32) -> f32) -> Vec<Vec<f32>> {
    let layer = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect();
    a.iter().zip(b).map(layer).collect()
}
