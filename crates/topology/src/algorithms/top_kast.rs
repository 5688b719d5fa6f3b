//! Top-KAST: the forward pass uses the largest weights, the backward pass also moves the next largest.
//!
//! Jayakumar et al., "Top-KAST: top-K always sparse training", NeurIPS 2020.
//!
//! Every position has a value θ. Per layer, A are the k largest in magnitude, B ⊃ A the next ones too. The forward pass and
//! the gradients of activations use A; gradients are computed and applied on all of B; whatever is outside B rests. A and
//! B follow the magnitudes every `update_interval` steps. Weight decay on B∖A is 1/D times that on A, with D the density
//! of A, so that a newcomer has to be worth it:
//!
//! ```text
//!     v ← μ·v + g + (λ/D)·θ,     θ ← θ − η·v        on B∖A, by the algorithm; A is the optimiser's
//! ```
//!
//! θ is dense: four bytes per position, which is the price of remembering. Activations, gradients and momentum are not.
//! The first masks are the largest first weights.
//!
//! Where we differ: momentum is that of B∖A while a position is there, moves over with one that leaves A, and starts at 0
//! for one that enters A; it is plain momentum even where the optimiser's is Nesterov's. A step that `train.on_spike = "skip"`
//! leaves out moves B∖A all the same.

use super::{AlgorithmError, Card, Require};
use crate::mask::{complement, difference};
use crate::schedule::Times;
use crate::start::{self, Scorer, StartError};
use crate::state::{self, State, StateError};
use crate::{Algorithm, Change, Context, LayerSpec, LayerView, Needs, Probe, select};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "top-kast",
    summary: "use the largest weights, train the next largest too",
    paper: "Jayakumar et al., Top-KAST: top-K always sparse training, NeurIPS 2020",
    dense: false,
    start: start::full,
};

/// Options of Top-KAST.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Positions of B∖A per non-zero. Default 1: twice as many weights are trained as are used, 80% backward sparsity at 90%.
    pub reserve_ratio: f64,
    /// Steps from one choice of A and B to the next. Default 100.
    pub update_interval: u64,
    /// Share of the run after which the mask is frozen and B = A. Default 1: never.
    pub stop: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { reserve_ratio: 1.0, update_interval: 100, stop: 1.0 }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let Params { reserve_ratio, update_interval, stop } = params;
    let require = Require(CARD.name);
    let natural = reserve_ratio.is_finite() && reserve_ratio >= 0.0;
    require.that(natural, "reserve_ratio", reserve_ratio, "must be a number from 0 up")?;
    require.that(update_interval > 0, "update_interval", update_interval, "must be at least 1 step")?;
    Ok(Box::new(TopKast {
        times: Times::every(update_interval, require.stop(stop, context)?),
        decay: context.weight_decay,
        momentum: context.momentum,
        learning_rate: context.learning_rate,
        layers: context.layers.iter().map(|spec| Layer::new(spec, reserve_ratio)).collect(),
    }))
}

struct TopKast {
    times: Times,
    decay: f32,
    momentum: f32,
    /// Of the current step.
    learning_rate: f32,
    layers: Vec<Layer>,
}

#[derive(Clone, Debug, PartialEq)]
struct Layer {
    len: usize,
    target: usize,
    /// Positions that B∖A may have.
    room: usize,
    /// One value per position, of active ones that of when they were last inactive; empty once the mask is frozen.
    theta: Vec<f32>,
    /// B∖A.
    reserve: Vec<u32>,
    /// Aligned with `reserve`.
    velocity: Vec<f32>,
}

impl Layer {
    fn new(spec: &LayerSpec, ratio: f64) -> Self {
        let (len, target) = (spec.len(), spec.target);
        let room = ((ratio * target as f64).round() as usize).min(len - target);
        Self { len, target, room, theta: Vec::new(), reserve: Vec::new(), velocity: Vec::new() }
    }

    /// One step of the optimiser on B∖A. A gradient that is no number moves nothing.
    fn step(&mut self, gradients: &[f32], decay: f32, momentum: f32, learning_rate: f32) {
        let decay = decay * self.len as f32 / self.target as f32;
        for ((&position, velocity), gradient) in self.reserve.iter().zip(&mut self.velocity).zip(gradients) {
            let theta = &mut self.theta[position as usize];
            let next = momentum * *velocity + gradient + decay * *theta;
            if next.is_finite() {
                *velocity = next;
                *theta -= learning_rate * next;
            }
        }
    }

    /// The new A: the `target` largest weights.
    fn choose(&mut self, view: &LayerView<'_>) -> Change {
        for (&position, &weight) in view.active.iter().zip(view.weights) {
            self.theta[position as usize] = weight;
        }
        let largest = select::largest(&select::magnitudes(&self.theta), self.target);
        let grown = difference(&largest, view.active);
        Change {
            dropped: difference(view.active, &largest),
            grown_values: select::pick(&self.theta, &grown),
            grown,
            ..Change::default()
        }
    }

    /// The new B∖A. Momentum stays with those that were there, or that leave A.
    fn refill(&mut self, view: &LayerView<'_>, change: &Change) {
        let outside = complement(self.len, &change.applied_to(view.active));
        let magnitudes = select::magnitudes(&select::pick(&self.theta, &outside));
        let reserve = select::pick(&outside, &select::largest(&magnitudes, self.room));
        let velocity = |position: &u32| match self.reserve.binary_search(position) {
            Ok(entry) => self.velocity[entry],
            Err(_) => view.active.binary_search(position).map_or(0.0, |entry| view.momentum[entry]),
        };
        (self.velocity, self.reserve) = (reserve.iter().map(velocity).collect(), reserve);
    }

    fn free(&mut self) {
        (self.theta, self.reserve, self.velocity) = Default::default();
    }
}

impl TopKast {
    /// Chooses A and B for the steps after `step`; after the last choice, frees everything.
    fn choose(&mut self, next: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let goes_on = self.times.next(next).is_some();
        let choose = |(layer, view): (&mut Layer, &LayerView<'_>)| {
            let change = layer.choose(view);
            if goes_on {
                layer.refill(view, &change)
            } else {
                layer.free()
            }
            change
        };
        self.layers.iter_mut().zip(views).map(choose).collect()
    }
}

impl Algorithm for TopKast {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn prunes_at_start(&self) -> bool {
        true
    }

    fn at_start(&mut self, views: &[LayerView<'_>], _scorer: &mut dyn Scorer) -> Result<Vec<Change>, StartError> {
        self.layers.iter_mut().zip(views).for_each(|(layer, view)| layer.theta = view.weights.to_vec());
        Ok(self.choose(0, views))
    }

    fn begin(&mut self, _step: u64, learning_rate: f32) {
        self.learning_rate = learning_rate;
    }

    fn needs(&self, _step: u64, layer: usize) -> Needs<'_> {
        let reserve = &self.layers[layer].reserve;
        if reserve.is_empty() { Needs::Active } else { Needs::Candidates(reserve) }
    }

    fn observe(&mut self, _step: u64, views: &[LayerView<'_>]) {
        for (layer, view) in self.layers.iter_mut().zip(views) {
            if let Probe::Candidates { gradients, .. } = view.probe {
                layer.step(gradients, self.decay, self.momentum, self.learning_rate);
            }
        }
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.times.next(step)
    }

    fn update(&mut self, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        self.choose(step + 1, views)
    }

    fn state_bytes(&self) -> usize {
        let words = |layer: &Layer| layer.theta.len() + layer.reserve.len() + layer.velocity.len();
        size_of::<f32>() * self.layers.iter().map(words).sum::<usize>()
    }

    fn save(&self) -> State {
        let mut state = State::default();
        for (index, layer) in self.layers.iter().enumerate() {
            state.f32s.insert(format!("theta.{index}"), layer.theta.clone());
            state.u32s.insert(format!("reserve.{index}"), layer.reserve.clone());
            state.f32s.insert(format!("velocity.{index}"), layer.velocity.clone());
        }
        state
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let layers = self.layers.iter().enumerate().map(|(index, layer)| layer.loaded(index, state));
        self.layers = layers.collect::<Result<_, _>>()?;
        Ok(())
    }
}

impl Layer {
    fn loaded(&self, index: usize, state: &State) -> Result<Self, StateError> {
        let name = |what: &str| format!("{what}.{index}");
        let theta = state.floats(&name("theta"))?;
        let len = if theta.is_empty() { 0 } else { self.len };
        let theta = state::of_length(&name("theta"), theta, len)?.to_vec();
        let reserve = state.positions(&name("reserve"), len)?;
        let velocity = state::of_length(&name("velocity"), state.floats(&name("velocity"))?, reserve.len())?.to_vec();
        Ok(Self { theta, reserve: reserve.to_vec(), velocity, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flow, context, view};

    #[test]
    fn the_next_largest_are_trained_behind_the_mask_and_come_in_with_their_value() {
        let layers = [LayerSpec { nnz: 6, ..LayerSpec::new("fc.weight", vec![1, 6], 2) }];
        let params = Params { update_interval: 1, ..Params::default() };
        let context = Context { weight_decay: 0.01, momentum: 0.5, ..context(&layers, 100) };
        let mut top_kast = build(params, &context).unwrap();
        let first = view(&[0, 1, 2, 3, 4, 5], &[0.9, -0.1, 0.3, -0.8, 0.4, 0.2]);
        let change = top_kast.at_start(&[first], &mut Flow).unwrap().remove(0);
        assert_eq!(change.dropped, [1, 2, 4, 5]);
        assert_eq!(top_kast.needs(0, 0), Needs::Candidates(&[2, 4]));
        assert_eq!(top_kast.state_bytes(), 4 * (6 + 2 + 2));

        // At a density of a third, decay is 0.03: v = −5 + 0.03·0.4 at position 4, so θ = 0.4 + 0.1·4.988 = 0.8988.
        top_kast.begin(0, 0.1);
        let active = view(&[0, 3], &[0.9, -0.8]);
        let probe = Probe::Candidates { index: &[2, 4], gradients: &[0.0, -5.0], share: 1.0 };
        top_kast.observe(0, &[LayerView { probe, ..active }]);
        let change = top_kast.update(1, &[LayerView { momentum: &[0.7, 0.6], ..active }]).remove(0);
        assert_eq!((&change.dropped[..], &change.grown[..]), (&[3][..], &[4][..]));
        assert!((change.grown_values[0] - 0.8988).abs() < 1e-6, "{:?}", change.grown_values);
        // What left A is the first in reserve, with its value and momentum.
        assert_eq!(top_kast.needs(2, 0), Needs::Candidates(&[2, 3]));
        let state = top_kast.save();
        assert_eq!((state.f32s["theta.0"][3], state.f32s["velocity.0"][1]), (-0.8, 0.6));
    }
}
