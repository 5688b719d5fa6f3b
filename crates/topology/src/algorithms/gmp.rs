//! Gradual magnitude pruning: dense to sparse along a cubic.
//!
//! Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017.
//!
//! Training starts dense. From `begin` to `stop`, every `update_interval` steps and in each layer, the weights smallest in
//! magnitude go until the layer has what the schedule allows; none come back. After decision j of n that is
//!
//! ```text
//!     k_j = k + (N − k)·(1 − j/n)³         N positions, k what the run's sparsity allows
//! ```
//!
//! The cost is that of the average density, and weights, gradients and momentum are dense at first.
//!
//! Where we differ: a weight that is gone has no value any more, while the original keeps moving it behind the mask, so
//! that it may return. Pruning covers the share of the run that the comparison in RigL's code gives it, steps 20,000 to
//! 75,000 of 97,656, every 1000.

use super::{AlgorithmError, Card, Require};
use crate::schedule::Ramp;
use crate::start;
use crate::{Algorithm, Budget, Change, Context, LayerSpec, LayerView, select};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "gmp",
    summary: "start dense and drop the smallest weights along a cubic",
    paper: "Zhu and Gupta, To prune, or not to prune: exploring the efficacy of pruning for model compression, 2017",
    dense: false,
    start: start::full,
};

/// Options of gradual magnitude pruning. The one without a value takes it from the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Steps from one decision to the next. Default 1000, in short runs 1/100 of all steps, rounded up.
    pub update_interval: Option<u64>,
    /// Share of the run before pruning begins. Default 0.2.
    pub begin: f64,
    /// Share of the run after which the mask is frozen. Default 0.75.
    pub stop: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { update_interval: None, begin: 0.2, stop: 0.75 }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let require = Require(CARD.name);
    let begin = require.share("begin", params.begin, context)?;
    let interval = params.update_interval.unwrap_or(context.total_steps.div_ceil(100).clamp(1, 1000));
    let ramp = require.ramp(begin, ("stop", params.stop), interval, context)?;
    Ok(Box::new(Gmp { ramp, layers: context.layers.to_vec() }))
}

struct Gmp {
    ramp: Ramp,
    layers: Vec<LayerSpec>,
}

impl Gmp {
    fn nnz(&self, step: u64, layer: &LayerSpec) -> usize {
        self.ramp.nnz(step, layer.nnz, layer.target)
    }
}

impl Algorithm for Gmp {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.ramp.next(step)
    }

    fn update(&mut self, step: u64, layers: &[LayerView<'_>]) -> Vec<Change> {
        let prune = |(view, layer): (&LayerView<'_>, &LayerSpec)| {
            let count = view.active.len() - self.nnz(step, layer);
            Change { dropped: select::smallest_weights(view.active, view.weights, count), ..Change::default() }
        };
        layers.iter().zip(&self.layers).map(prune).collect()
    }

    fn budget(&self, step: u64) -> Budget {
        Budget::Scheduled(self.layers.iter().map(|layer| self.nnz(step, layer)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, view};

    #[test]
    fn the_smallest_weights_of_each_layer_go_along_the_cubic() {
        let layers = [LayerSpec { nnz: 10, ..LayerSpec::new("fc.weight", vec![2, 5], 2) }];
        let params = Params { update_interval: Some(10), begin: 0.1, stop: 0.4 };
        let mut gmp = build(params, &context(&layers, 100)).unwrap();
        // Two decisions, at 20 and 30. After the first an eighth of the way is left: 2 + 8/8 = 3 weights.
        assert_eq!([0, 21, 31].map(|step| gmp.next_decision(step)), [Some(20), Some(30), None]);
        let active: Vec<u32> = (0..10).collect();
        let weights = [0.9, -0.1, 0.2, 0.3, -0.8, 0.4, 0.0, 0.7, 0.1, -0.2];
        let change = gmp.update(20, &[view(&active, &weights)]).remove(0);
        assert_eq!((change.applied_to(&active), gmp.budget(20)), (vec![0, 4, 7], Budget::Scheduled(3)));
        let change = gmp.update(30, &[view(&[0, 4, 7], &[0.5, -0.8, 0.7])]).remove(0);
        assert_eq!((change.dropped, gmp.budget(30)), (vec![0], Budget::Scheduled(2)));
    }

    #[test]
    fn an_interval_that_leaves_no_decision_is_refused() {
        let params = Params { update_interval: Some(60), ..Params::default() };
        let error = build(params, &context(&[], 100)).err().unwrap();
        assert!(error.to_string().contains("update_interval = 60"), "{error}");
    }
}
