//! Deep R: weights that change sign make room for random ones.
//!
//! Bellec et al., "Deep rewiring: training very sparse deep networks", ICLR 2018.
//!
//! Every position has a fixed sign. A weight that training pushes through zero, against its sign, becomes dormant, and a
//! dormant position chosen at random takes its place at once, so that the number of connections stays exact. A decision
//! falls on *every* step:
//!
//! ```text
//!     θ ← θ − η·g − η·α + η·√(2T)·ν     (of the magnitude θ, the weight being sign·θ);     dormant if θ < 0
//! ```
//!
//! Where we differ:
//!
//! * The optimiser moves the weights, with its weight decay in place of the L1 term α and the noise of its minibatches
//!   in place of ν: an algorithm of ours returns changes of the mask and never touches a kept weight. The released
//!   defaults, α = 10⁻⁵ and T = 10⁻⁵, are of the size of an ordinary weight decay, and below minibatch noise.
//! * The sign of a weight of the first mask is the one it was initialised with; that of any other is a random bit of its
//!   position. A position keeps its bit, but not the sign of its first weight, once it has been dormant.
//! * A new weight starts at 0 instead of 10⁻¹², with momentum 0; a position that has just become dormant is not drawn.
//!
//! What it costs: every step looks at the signs of all weights, which is little, and every layer in which one has changed
//! gets new indices, which is more. `update_interval` above 1 looks less often.

use super::{AlgorithmError, Card, Require};
use crate::mask::{difference, union};
use crate::rng::{self, Purpose, Streams};
use crate::schedule::Times;
use crate::state::{self, State, StateError};
use crate::{Algorithm, Budget, Change, Context, LayerView, select, start};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "deep-r",
    summary: "in every step, replace the weights that changed sign by random ones",
    paper: "Bellec et al., Deep rewiring: training very sparse deep networks, ICLR 2018",
    dense: false,
    start: start::allotted,
};

/// What shares a number of non-zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allocation {
    /// The positions of a layer.
    Layer,
    /// The positions of all layers.
    Global,
}

/// Options of Deep R.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Steps from one decision to the next. Default 1.
    pub update_interval: u64,
    /// Where a dormant weight is replaced: in its layer (`layer`), or anywhere in the network, every inactive position
    /// being equally likely (`global`). Default `layer`.
    pub allocation: Allocation,
    /// Share of the run after which the mask is frozen. Default 1: never.
    pub stop: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { update_interval: 1, allocation: Allocation::Layer, stop: 1.0 }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let Params { update_interval, allocation, stop } = params;
    let require = Require(CARD.name);
    require.that(update_interval > 0, "update_interval", update_interval, "must be at least 1 step")?;
    Ok(Box::new(DeepR {
        times: Times::every(update_interval, require.stop(stop, context)?),
        allocation,
        lens: context.layers.iter().map(|layer| layer.len()).collect(),
        nnz: context.layers.iter().map(|layer| layer.nnz).sum(),
        streams: Streams::new(context.seed),
        started: false,
        negative: vec![Vec::new(); context.layers.len()],
    }))
}

struct DeepR {
    times: Times,
    allocation: Allocation,
    lens: Vec<usize>,
    /// Non-zeros of all layers together.
    nnz: usize,
    streams: Streams,
    /// Whether the first weights have been seen.
    started: bool,
    /// Per layer, the active positions whose sign is negative, sorted.
    negative: Vec<Vec<u32>>,
}

impl DeepR {
    /// Active positions whose weight has left the side of its sign.
    fn dormant(&self, layer: usize, view: &LayerView<'_>) -> Vec<u32> {
        let mut negative = self.negative[layer].iter().peekable();
        let crossed = view.active.iter().zip(view.weights).filter(|&(position, &weight)| {
            let side = if negative.next_if_eq(&position).is_some() { -1.0 } else { 1.0 };
            side * weight < 0.0
        });
        crossed.map(|(&position, _)| position).collect()
    }

    /// Inactive positions of each layer.
    fn inactive(&self, views: &[LayerView<'_>]) -> Vec<usize> {
        views.iter().zip(&self.lens).map(|(view, len)| len - view.active.len()).collect()
    }

    /// Lets the last ones stay if there are more than can be replaced.
    fn fit(&self, dropped: &mut [Vec<u32>], views: &[LayerView<'_>]) {
        let inactive = self.inactive(views);
        let mut anywhere: usize = inactive.iter().sum();
        for (dropped, here) in dropped.iter_mut().zip(inactive) {
            dropped.truncate(if self.allocation == Allocation::Layer { here } else { anywhere });
            anywhere -= dropped.len().min(anywhere);
        }
    }

    /// New positions in place of `count` dormant ones of each layer.
    fn awaken(&self, step: u64, views: &[LayerView<'_>], count: &[usize]) -> Vec<Vec<u32>> {
        let layers = views.iter().zip(&self.lens).enumerate();
        match self.allocation {
            Allocation::Layer => layers
                .map(|(layer, (view, &len))| {
                    let mut rng = self.streams.stream(Purpose::Grow, layer as u64, step);
                    select::random_inactive(&mut rng, len, view.active, count[layer])
                })
                .collect(),
            Allocation::Global => {
                let inactive = self.inactive(views);
                let mut rng = self.streams.stream(Purpose::Grow, 0, step);
                let ranks = rng::choose(&mut rng, inactive.iter().sum(), count.iter().sum());
                let ranks = select::split(&ranks, &inactive);
                views.iter().zip(ranks).map(|(view, ranks)| select::inactive_at(view.active, &ranks)).collect()
            }
        }
    }

    /// Those of `positions`, outside the first mask, whose sign is negative.
    fn negative_among(&self, layer: usize, positions: &[u32]) -> Vec<u32> {
        let key = self.streams.key(Purpose::Sign, layer as u64, 0);
        positions.iter().copied().filter(|&position| rng::at(key, position.into()) & 1 == 1).collect()
    }
}

impl Algorithm for DeepR {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn observe(&mut self, _step: u64, views: &[LayerView<'_>]) {
        if !std::mem::replace(&mut self.started, true) {
            let negative = |view: &LayerView<'_>| {
                let signed = view.active.iter().zip(view.weights);
                signed.filter(|&(_, &weight)| weight < 0.0).map(|(&position, _)| position).collect()
            };
            self.negative = views.iter().map(negative).collect();
        }
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.times.next(step)
    }

    fn update(&mut self, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let dormant = views.iter().enumerate().map(|(layer, view)| self.dormant(layer, view));
        let mut dropped: Vec<Vec<u32>> = dormant.collect();
        self.fit(&mut dropped, views);
        let count: Vec<usize> = dropped.iter().map(Vec::len).collect();
        let grown = self.awaken(step, views, &count);
        let mut changes = Vec::with_capacity(views.len());
        for (layer, (dropped, grown)) in dropped.into_iter().zip(grown).enumerate() {
            if !dropped.is_empty() || !grown.is_empty() {
                let born = self.negative_among(layer, &grown);
                self.negative[layer] = union(&difference(&self.negative[layer], &dropped), &born);
            }
            changes.push(Change { dropped, grown, ..Change::default() });
        }
        changes
    }

    fn budget(&self, _step: u64) -> Budget {
        match self.allocation {
            Allocation::Layer => Budget::PerLayer,
            Allocation::Global => Budget::Total,
        }
    }

    fn state_bytes(&self) -> usize {
        size_of::<u32>() * self.nnz
    }

    fn save(&self) -> State {
        let mut state = State::default();
        state.u64s.insert("started".into(), vec![self.started.into()]);
        for (layer, negative) in self.negative.iter().enumerate() {
            state.u32s.insert(format!("negative.{layer}"), negative.clone());
        }
        state
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let started = state::of_length("started", state.words("started")?, 1)?[0] != 0;
        let load = |(layer, &len): (usize, &usize)| {
            Ok(state.positions(&format!("negative.{layer}"), len)?.to_vec())
        };
        self.negative = self.lens.iter().enumerate().map(load).collect::<Result<_, StateError>>()?;
        self.started = started;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerSpec;
    use crate::testing::{context, view};

    fn built(options: &str, layers: &[LayerSpec]) -> Box<dyn Algorithm> {
        build(options.parse::<toml::Table>().unwrap().try_into().unwrap(), &context(layers, 1000)).unwrap()
    }

    #[test]
    fn a_weight_that_crosses_zero_is_replaced_and_one_that_shrinks_is_not() {
        let mut deep_r = built("", &[LayerSpec::new("fc.weight", vec![2, 5], 4)]);
        let active = [1, 3, 6, 8];
        deep_r.observe(0, &[view(&active, &[0.2, -0.3, 0.1, -0.1])]);
        assert_eq!(deep_r.next_decision(0), Some(1));
        let change = deep_r.update(1, &[view(&active, &[0.01, 0.05, 0.0, -0.2])]).remove(0);
        change.check(10, &active).unwrap();
        assert_eq!((change.dropped, change.grown.len(), change.grown_values.len()), (vec![3], 1, 0));
    }

    #[test]
    fn a_new_weight_lives_on_one_side_of_zero_only() {
        let mut deep_r = built("", &[LayerSpec::new("fc.weight", vec![2, 5], 1)]);
        deep_r.observe(0, &[view(&[4], &[0.1])]);
        let grown = deep_r.update(1, &[view(&[4], &[-0.1])]).remove(0).grown;
        let stays = |weight: f32| {
            let mut copy = built("", &[LayerSpec::new("fc.weight", vec![2, 5], 1)]);
            copy.load(&deep_r.save()).unwrap();
            copy.update(2, &[view(&grown, &[weight])])[0].is_empty()
        };
        assert!(stays(0.0));
        assert_ne!(stays(0.1), stays(-0.1));
    }

    #[test]
    fn the_global_variant_moves_weights_to_where_there_is_room() {
        let layers = [LayerSpec::new("a.weight", vec![1, 3], 3), LayerSpec::new("b.weight", vec![1, 90], 1)];
        let mut deep_r = built("allocation = 'global'", &layers);
        let (a, b) = ([0, 1, 2], [5]);
        deep_r.observe(0, &[view(&a, &[0.1; 3]), view(&b, &[0.1])]);
        let changes = deep_r.update(1, &[view(&a, &[0.1, -0.1, 0.1]), view(&b, &[0.1])]);
        assert_eq!((&changes[0].dropped[..], changes[0].grown.len()), (&[1][..], 0));
        assert_eq!((changes[1].dropped.len(), changes[1].grown.len()), (0, 1));
        assert_eq!(deep_r.budget(1), Budget::Total);
    }
}
