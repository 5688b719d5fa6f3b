//! GraSP: pruning at initialisation that preserves the flow of gradients.
//!
//! Wang, Zhang and Grosse, "Picking winning tickets before training by preserving gradient flow", ICLR 2020.
//!
//! SNIP with another score. A step of gradient descent lowers the loss by ‖g‖²; taking a weight away changes that, to
//! first order, by −θ·(H·g) with the Hessian H. The weights with the largest −θ·(H·g) slow training down and go, so what
//! stays is the k largest θ·(H·g) of all layers together. Logits are divided by a temperature of 200.
//!
//! Where we differ: H·g is a central difference of gradients along g instead of a second backward pass,
//!
//! ```text
//!     H·g ≈ (g(θ + ε·g) − g(θ − ε·g)) / 2ε,     ε = 0.01·‖θ‖/‖g‖
//! ```
//!
//! which costs two more passes over the sample; H is that of the sparsified layers only; and linear layers keep their
//! ordinary first values in the scoring pass, where the original redraws them.

use super::one_shot::{OneShot, combine, weights_of};
use super::{AlgorithmError, Card, Require};
use crate::start::{self, Sample, Scorer, StartError};
use crate::{Algorithm, Context, LayerView};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "grasp",
    summary: "prune once before training, keeping gradients flowing",
    paper: "Wang, Zhang and Grosse, Picking winning tickets before training by preserving gradient flow, ICLR 2020",
    dense: false,
    start: start::full,
};

/// Length of the step along the gradient, as a share of the length of the weights. Longer ones leave the neighbourhood;
/// shorter ones blow up the few ReLUs that change sides (`scoring.rs` of the train crate has the comparison with H·g).
const STEP: f64 = 0.01;

/// Options of GraSP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Training images of each class whose loss is differentiated. Default 10.
    pub samples_per_class: usize,
    /// What the logits are divided by. Default 200.
    pub temperature: f32,
}

impl Default for Params {
    fn default() -> Self {
        Self { samples_per_class: 10, temperature: 200.0 }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let sample = Require(CARD.name).sample(params.samples_per_class, params.temperature)?;
    let keep = start::target(context.layers);
    let prune = move |layers: &[LayerView<'_>], scorer: &mut dyn Scorer| {
        let weights = weights_of(layers);
        let product = hessian_gradient(&sample, &weights, scorer)?;
        start::keep_best(layers, &combine(&weights, &product, |theta, hg| theta * hg), keep)
    };
    Ok(Box::new(OneShot { name: CARD.name, prune }))
}

/// H·g at `weights`.
fn hessian_gradient(
    sample: &Sample,
    weights: &[Vec<f32>],
    scorer: &mut dyn Scorer,
) -> Result<Vec<Vec<f32>>, StartError> {
    let direction = scorer.loss_gradients(sample, weights)?;
    let step = (STEP * norm(weights) / norm(&direction)) as f32;
    let ahead = scorer.loss_gradients(sample, &combine(weights, &direction, |theta, g| theta + step * g))?;
    let behind = scorer.loss_gradients(sample, &combine(weights, &direction, |theta, g| theta - step * g))?;
    Ok(combine(&ahead, &behind, |ahead, behind| (ahead - behind) / (2.0 * step)))
}

fn norm(layers: &[Vec<f32>]) -> f64 {
    layers.iter().flatten().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerSpec;
    use crate::testing::{Quadratic, context, view};

    #[test]
    fn the_weights_whose_loss_would_shorten_the_gradient_stay() {
        let layers = [LayerSpec::new("a.weight", vec![1, 2], 1), LayerSpec::new("b.weight", vec![1, 2], 1)];
        let mut grasp = build(Params::default(), &context(&layers, 100)).unwrap();
        // ℓ = ½θᵀHθ with H = diag(1, 2, 3, 4) and one entry of −1 between positions 0 and 3: g = (−1, 2, −6, 4), so
        // H·g = (−5, 4, −18, 17) and θ·(H·g) = (0, 4, 36, 17).
        let mut scorer = Quadratic::new(&[1.0, 2.0, 3.0, 4.0], (0, 3, -1.0));
        let views = [view(&[0, 1], &[0.0, 1.0]), view(&[0, 1], &[-2.0, 1.0])];
        let changes = grasp.at_start(&views, &mut scorer).unwrap();
        assert_eq!((&changes[0].dropped[..], &changes[1].dropped[..]), (&[0, 1][..], &[][..]));
    }

    #[test]
    fn the_difference_of_gradients_is_the_product_with_the_hessian() {
        let mut scorer = Quadratic::new(&[1.0, 2.0, 3.0, 4.0], (0, 3, -1.0));
        let sample = Sample { per_class: 10, temperature: 200.0 };
        let product = hessian_gradient(&sample, &[vec![0.0, 1.0], vec![-2.0, 1.0]], &mut scorer).unwrap();
        let expected = [[-5.0, 4.0], [-18.0, 17.0]];
        for (value, expected) in product.iter().flatten().zip(expected.iter().flatten()) {
            assert!((value - expected).abs() < 1e-3, "{value} against {expected}");
        }
    }
}
