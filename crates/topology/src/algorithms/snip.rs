//! SNIP: pruning at initialisation by connection sensitivity.
//!
//! Lee et al., "SNIP: single-shot network pruning based on connection sensitivity", ICLR 2019.
//!
//! A weight matters as much as the loss changes when it goes, to first order: s = |θ·g| with the gradient g at the first,
//! dense weights. The k best of all layers together stay; from then on this is static training.
//!
//! Where we differ: the sample is class-balanced, ten images of each class as in later comparisons instead of one
//! minibatch, and weights keep their ordinary first values instead of a variance-scaled redraw.

use super::one_shot::{OneShot, combine, weights_of};
use super::{AlgorithmError, Card, Require};
use crate::start::{self, Scorer};
use crate::{Algorithm, Context, LayerView};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "snip",
    summary: "prune once before training, by weight times gradient",
    paper: "Lee et al., SNIP: single-shot network pruning based on connection sensitivity, ICLR 2019",
    dense: false,
    start: start::full,
};

/// Options of SNIP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Training images of each class whose loss is differentiated. Default 10.
    pub samples_per_class: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { samples_per_class: 10 }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let sample = Require(CARD.name).sample(params.samples_per_class, 1.0)?;
    let keep = start::target(context.layers);
    let prune = move |layers: &[LayerView<'_>], scorer: &mut dyn Scorer| {
        let weights = weights_of(layers);
        let gradients = scorer.loss_gradients(&sample, &weights)?;
        start::keep_best(layers, &combine(&weights, &gradients, |theta, g| (theta * g).abs()), keep)
    };
    Ok(Box::new(OneShot { name: CARD.name, prune }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixed, context, view};
    use crate::{Change, LayerSpec};

    #[test]
    fn the_weights_whose_loss_to_the_first_order_is_largest_stay_in_any_layer() {
        let layers = [LayerSpec::new("a.weight", vec![1, 3], 1), LayerSpec::new("b.weight", vec![1, 2], 1)];
        let mut snip = build(Params::default(), &context(&layers, 100)).unwrap();
        assert!(snip.prunes_at_start());
        // Scores 0.5, 0.6, 0.2 and 0.3, 0.4: both places go to the first layer.
        let views = [view(&[0, 1, 2], &[0.5, -0.2, 2.0]), view(&[0, 1], &[3.0, 4.0])];
        let mut scorer = Fixed { gradients: vec![vec![1.0, 3.0, -0.1], vec![0.1, 0.1]] };
        let changes = snip.at_start(&views, &mut scorer).unwrap();
        let dropped: Vec<&[u32]> = changes.iter().map(|change| &change.dropped[..]).collect();
        assert_eq!(dropped, [&[2][..], &[0, 1]]);
        assert!(snip.next_decision(0).is_none() && snip.update(5, &views).iter().all(Change::is_empty));
    }
}
