//! SET: sparse evolutionary training.
//!
//! Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity inspired by network
//! science", Nature Communications 2018.
//!
//! At a decision, per layer: drop the ⌊α·nnz⌋ weights smallest in magnitude, grow as many at uniformly random inactive
//! positions with value 0 and momentum 0.
//!
//! Where we differ from the original, as the frameworks around RigL do: one magnitude order instead of a share of the
//! positive and a share of the negative weights, decisions every `update_interval` steps instead of every epoch, a
//! cosine drop fraction, and an optimiser that goes on instead of starting anew. Counts are exact. A position dropped in
//! a decision does not grow in the same one, unless a `pattern` leaves no other place; it then stays as it was.

use super::{AlgorithmError, Card, Require};
use crate::rng::{Purpose, Streams};
use crate::schedule::{DropSchedule, Schedule};
use crate::{Algorithm, Change, Context, LayerSpec, LayerView, Pattern, rng, select, start};
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "set",
    summary: "drop the smallest weights, grow random ones",
    paper: "Mocanu et al., Scalable training of artificial neural networks with adaptive sparse connectivity inspired \
            by network science, Nature Communications 2018",
    dense: false,
    start: |params, layers| start::patterned(layers, params.pattern),
};

/// Options of SET.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Steps from one decision to the next. Default 100.
    pub update_interval: u64,
    /// Share of a layer's non-zeros replaced by the first decision. Default 0.3.
    pub drop_fraction: f64,
    /// How that share falls: `constant`, `cosine` or `step`. Default `cosine`.
    pub drop_schedule: DropSchedule,
    /// Share of the run after which the mask is frozen. Default 0.75.
    pub stop: f64,
    /// What masks look like: `unstructured`, `fan-in`, N:M such as `2:4`, or blocks such as `4x1`. Default `unstructured`.
    pub pattern: Pattern,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            update_interval: 100,
            drop_fraction: 0.3,
            drop_schedule: DropSchedule::Cosine,
            stop: 0.75,
            pattern: Pattern::Unstructured,
        }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let Params { update_interval, drop_fraction, drop_schedule, stop, .. } = params;
    Ok(Box::new(Set {
        schedule: Require(CARD.name).schedule(update_interval, stop, drop_fraction, drop_schedule, context)?,
        layers: context.layers.to_vec(),
        streams: Streams::new(context.seed),
    }))
}

struct Set {
    schedule: Schedule,
    layers: Vec<LayerSpec>,
    streams: Streams,
}

impl Algorithm for Set {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.schedule.times.next(step)
    }

    fn update(&mut self, step: u64, layers: &[LayerView<'_>]) -> Vec<Change> {
        let decide = |(index, (view, layer)): (usize, (&LayerView<'_>, &LayerSpec))| {
            let (pattern, shape, len) = (layer.pattern, &layer.shape, layer.len());
            let count = self.schedule.fraction.count(step, view.active.len()).min(len - view.active.len());
            let dropped = pattern.worst(shape, view.active, &select::magnitudes(view.weights), count);
            let mut rng = self.streams.stream(Purpose::Grow, index as u64, step);
            let grown = match pattern {
                Pattern::Unstructured => select::random_inactive(&mut rng, len, view.active, count),
                _ => pattern.regrown(shape, view.active, &dropped, &lots(&mut rng, len, &dropped)),
            };
            Change::net(&dropped, &grown)
        };
        layers.iter().zip(&self.layers).enumerate().map(decide).collect()
    }
}

/// A random number for each of `len` positions, above 0 but for those just dropped.
fn lots(rng: &mut impl Rng, len: usize, dropped: &[u32]) -> Vec<f32> {
    let mut lots: Vec<f32> = rng::uniforms(rng, len).into_iter().map(|lot| lot.max(f32::MIN_POSITIVE)).collect();
    dropped.iter().for_each(|&position| lots[position as usize] = 0.0);
    lots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, view};
    use crate::{LayerSpec, Probe};

    #[test]
    fn the_smallest_magnitudes_make_room_for_inactive_positions() {
        let layers = [LayerSpec::new("fc.weight", vec![4, 5], 5)];
        let context = Context {
            layers: &layers,
            total_steps: 1000,
            steps_per_epoch: 100,
            seed: 1,
            weight_decay: 0.0,
            learning_rate: 0.1,
            momentum: 0.9,
            batch_size: 1,
        };
        let params = Params { drop_fraction: 0.4, drop_schedule: DropSchedule::Constant, ..Params::default() };
        let mut set = build(params, &context).unwrap();
        let active = [1, 4, 7, 9, 12];
        let view = LayerView {
            active: &active,
            weights: &[0.5, -0.1, 0.3, -0.9, 0.2],
            gradients: &[0.0; 5],
            momentum: &[0.0; 5],
            probe: Probe::None,
        };
        let change = set.update(100, &[view]).remove(0);
        change.check(20, &active).unwrap();
        assert_eq!(change.dropped, [4, 12]);
        assert_eq!(change.grown.len(), 2);
    }

    #[test]
    fn what_was_just_dropped_returns_only_where_a_pattern_has_no_other_place() {
        for seed in 0..50 {
            let dropped = |pattern: Pattern, active: &[u32], weights: &[f32]| {
                let layers = [LayerSpec { pattern, ..LayerSpec::new("fc.weight", vec![1, 8], active.len()) }];
                let params = Params { drop_fraction: 0.5, drop_schedule: DropSchedule::Constant, ..Params::default() };
                let context = Context { seed, ..context(&layers, 1000) };
                let change = build(params, &context).unwrap().update(100, &[view(active, weights)]).remove(0);
                assert!(pattern.holds(&[1, 8], &change.applied_to(active)));
                change.dropped
            };
            assert_eq!(dropped(Pattern::NM { n: 2, m: 4 }, &[0, 1, 4, 6], &[0.1, 0.9, 0.2, 0.8]), [0, 4]);
            assert_eq!(dropped(Pattern::Block { height: 1, width: 2 }, &[0, 1, 4, 5], &[0.1, 0.2, 0.9, 0.8]), [0, 1]);
            // Two of three go, and there is one other place.
            let three_of_four = Pattern::NM { n: 3, m: 4 };
            assert_eq!(dropped(three_of_four, &[0, 1, 2, 4, 5, 6], &[0.1, 0.2, 0.9, 0.8, 0.7, 0.6]), [1]);
        }
    }
}
