//! SynFlow: pruning at initialisation without data.
//!
//! Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020.
//!
//! SNIP with another score, in rounds. Every parameter is replaced by its magnitude and the network is fed an image of
//! ones; R is the sum of its outputs. s = |θ·∂R/∂θ| adds up to the same in every layer, so that a layer with few weights
//! gives each of them a high score and no layer is cut through if what is left is scored again and again:
//!
//! ```text
//!     after round j of n, N·(k/N)^(j/n) weights are left
//! ```
//!
//! Where we differ: passes run in single precision, with the input and the gradient of the outputs scaled by powers of
//! two so that nothing overflows. Batch norm is as initialised, up to its ε the identity.

use super::one_shot::{OneShot, combine, weights_of};
use super::{AlgorithmError, Card, Require};
use crate::start::{self, Scorer, StartError};
use crate::{Algorithm, Change, Context, LayerView};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "synflow",
    summary: "prune once before training, in rounds and without data",
    paper: "Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS 2020",
    dense: false,
    start: start::full,
};

/// Options of SynFlow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Rounds of scoring and pruning (n). Default 100.
    pub rounds: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self { rounds: 100 }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    Require(CARD.name).that(params.rounds > 0, "rounds", params.rounds, "must be at least 1")?;
    let keep = start::target(context.layers);
    let prune = move |layers: &[LayerView<'_>], scorer: &mut dyn Scorer| prune(layers, scorer, params.rounds, keep);
    Ok(Box::new(OneShot { name: CARD.name, prune }))
}

fn prune(
    layers: &[LayerView<'_>],
    scorer: &mut dyn Scorer,
    rounds: u32,
    keep: usize,
) -> Result<Vec<Change>, StartError> {
    let mut weights = weights_of(layers);
    let mut changes = vec![Change::default(); layers.len()];
    let all = weights.iter().map(Vec::len).sum::<usize>() as f64;
    for round in 1..=rounds {
        let done = f64::from(round) / f64::from(rounds);
        let left = if round == rounds { keep } else { (all * (keep as f64 / all).powf(done)) as usize };
        let mut scores = combine(&weights, &scorer.flow_gradients(&weights)?, |theta, g| (theta * g).abs());
        for ((scores, change), view) in scores.iter_mut().zip(&changes).zip(layers) {
            entries(view, change).for_each(|entry| scores[entry] = GONE);
        }
        changes = start::keep_best(layers, &scores, left.max(keep))?;
        for ((weights, change), view) in weights.iter_mut().zip(&changes).zip(layers) {
            entries(view, change).for_each(|entry| weights[entry] = 0.0);
        }
    }
    Ok(changes)
}

/// Below every score.
const GONE: f32 = -1.0;

/// Where the dropped positions are among the active ones.
fn entries<'a>(view: &'a LayerView<'_>, change: &'a Change) -> impl Iterator<Item = usize> + 'a {
    change.dropped.iter().filter_map(|position| view.active.binary_search(position).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerSpec;
    use crate::testing::{Flow, context, view};

    fn dropped(rounds: u32) -> Vec<Vec<u32>> {
        let layers = [LayerSpec::new("a.weight", vec![1, 2], 1), LayerSpec::new("b.weight", vec![1, 4], 1)];
        let mut synflow = build(Params { rounds }, &context(&layers, 100)).unwrap();
        let views = [view(&[0, 1], &[0.1, -0.1]), view(&[0, 1, 2, 3], &[4.0, -3.0, 1.0, 2.0])];
        let changes = synflow.at_start(&views, &mut Flow).unwrap();
        changes.into_iter().map(|change| change.dropped).collect()
    }

    #[test]
    fn rounds_keep_every_layer_alive_where_one_shot_cuts_the_network_through() {
        // R = Σ|a|·Σ|b|. At first the scores are 1 and 1 in layer a, and 0.8, 0.6, 0.2, 0.4 in layer b: one round keeps
        // both of a, and none of b. Four rounds leave 4, 3, 2 and 2: when two of b are gone, a scores 0.7 and 0.7 against
        // 0.8 and 0.6; when three are, 0.4 and 0.4 against 0.8. The last of each layer stays.
        assert_eq!(dropped(1), [vec![], vec![0, 1, 2, 3]]);
        assert_eq!(dropped(4), [vec![1], vec![1, 2, 3]]);
    }
}
