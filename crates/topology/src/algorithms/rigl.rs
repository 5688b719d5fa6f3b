//! RigL: SET with another growth score.
//!
//! Evci et al., "Rigging the lottery: making all tickets winners", ICML 2020.
//!
//! At a decision, per layer: drop the ⌊α·nnz⌋ weights smallest in magnitude, then grow as many where the dense gradient
//! of the current minibatch is largest in magnitude, among all positions not kept; value 0, momentum 0.
//!
//! A position may be dropped and regrown in one decision. It then keeps its value and momentum and is not part of the
//! change. As in the released optimiser, the weight step is skipped at a decision; `skip_weight_step = false` takes both.
//!
//! Where we differ: ties are broken by index instead of by noise of 10⁻⁵. `average_window` above 1 averages the dense
//! gradient over that many steps before its magnitude is taken; RigL with the window of BiDST is the control that any
//! claim about BiDST's scores has to beat.

use super::{AlgorithmError, Card, Require};
use crate::gradients::DenseGradients;
use crate::schedule::{DropSchedule, Schedule};
use crate::state::{State, StateError};
use crate::{Algorithm, Change, Context, LayerSpec, LayerView, Needs, Pattern, select, start};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "rigl",
    summary: "drop the smallest weights, grow where the dense gradient is largest",
    paper: "Evci et al., Rigging the lottery: making all tickets winners, ICML 2020",
    dense: false,
    start: |params, layers| start::patterned(layers, params.pattern),
};

/// Options of RigL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Steps from one decision to the next (ΔT). Default 100.
    pub update_interval: u64,
    /// Share of a layer's non-zeros replaced by the first decision (α). Default 0.3.
    pub drop_fraction: f64,
    /// How that share falls: `constant`, `cosine` or `step`. Default `cosine`.
    pub drop_schedule: DropSchedule,
    /// Share of the run after which the mask is frozen. Default 0.75.
    pub stop: f64,
    /// Last steps before a decision whose dense gradients are averaged, at most `update_interval`. Default 1.
    pub average_window: u64,
    /// Whether the optimiser rests at a decision. Default true.
    pub skip_weight_step: bool,
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
            average_window: 1,
            skip_weight_step: true,
            pattern: Pattern::Unstructured,
        }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    Ok(Box::new(Rigl::new(CARD.name, params, context)?))
}

/// RigL, under whatever name.
pub(super) struct Rigl {
    name: &'static str,
    pub(super) schedule: Schedule,
    skip_weight_step: bool,
    layers: Vec<LayerSpec>,
    pub(super) gradients: DenseGradients,
}

impl Rigl {
    pub(super) fn new(name: &'static str, params: Params, context: &Context<'_>) -> Result<Self, AlgorithmError> {
        let Params { update_interval, drop_fraction, drop_schedule, stop, average_window, skip_weight_step, .. } =
            params;
        let require = Require(name);
        let schedule = require.schedule(update_interval, stop, drop_fraction, drop_schedule, context)?;
        let fits = (1..=update_interval).contains(&average_window);
        require.that(fits, "average_window", average_window, "must be from 1 to `update_interval`")?;
        let gradients = DenseGradients::new(context.layers, average_window);
        Ok(Self { name, schedule, skip_weight_step, layers: context.layers.to_vec(), gradients })
    }
}

impl Algorithm for Rigl {
    fn name(&self) -> &'static str {
        self.name
    }

    fn needs(&self, step: u64, layer: usize) -> Needs<'_> {
        self.gradients.needs(&self.schedule.times, step, layer)
    }

    fn observe(&mut self, step: u64, layers: &[LayerView<'_>]) {
        self.gradients.observe(&self.schedule.times, step, layers);
    }

    fn replaces_weight_step(&self) -> bool {
        self.skip_weight_step
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.schedule.times.next(step)
    }

    fn update(&mut self, step: u64, layers: &[LayerView<'_>]) -> Vec<Change> {
        let decide = |((view, layer), gradients): ((&LayerView<'_>, &LayerSpec), Cow<'_, [f32]>)| {
            if gradients.is_empty() {
                return Change::default();
            }
            drop_and_grow(layer, view, &gradients, self.schedule.fraction.count(step, view.active.len()))
        };
        layers.iter().zip(&self.layers).zip(self.gradients.take(layers)).map(decide).collect()
    }

    fn state_bytes(&self) -> usize {
        self.gradients.bytes()
    }

    fn save(&self) -> State {
        self.gradients.save()
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        self.gradients.load(state)
    }
}

/// Drops the `count` smallest weights, then grows the `count` largest gradients among the positions not kept.
fn drop_and_grow(layer: &LayerSpec, view: &LayerView<'_>, gradients: &[f32], count: usize) -> Change {
    let (pattern, shape) = (layer.pattern, &layer.shape);
    let dropped = pattern.worst(shape, view.active, &select::magnitudes(view.weights), count);
    Change::net(&dropped, &pattern.regrown(shape, view.active, &dropped, gradients))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Probe;

    const ACTIVE: [u32; 4] = [1, 3, 4, 6];

    fn decide(gradients: &[f32], count: usize) -> Change {
        let weights = [0.1, -0.5, 0.2, 0.9];
        let view = LayerView {
            active: &ACTIVE,
            weights: &weights,
            gradients: &[0.0; 4],
            momentum: &[0.0; 4],
            probe: Probe::None,
        };
        let change = drop_and_grow(&LayerSpec::new("fc.weight", vec![2, 4], 4), &view, gradients, count);
        change.check(gradients.len(), &ACTIVE).unwrap();
        change
    }

    #[test]
    fn the_largest_gradients_replace_the_smallest_weights() {
        let change = decide(&[0.1, 0.0, -0.9, 5.0, 0.0, 0.3, 5.0, 0.2], 2);
        assert_eq!((change.dropped, change.grown), (vec![1, 4], vec![2, 5]));
    }

    #[test]
    fn a_position_dropped_and_regrown_is_not_part_of_the_change() {
        let change = decide(&[0.1, 0.8, -0.9, 5.0, 0.0, 0.3, 5.0, 0.2], 2);
        assert_eq!((change.dropped, change.grown, change.reset), (vec![4], vec![2], vec![]));
    }

    #[test]
    fn gradients_that_are_not_numbers_are_grown_last() {
        let change = decide(&[f32::NAN, 0.0, 0.1, 0.0, 0.0, f32::NAN, 0.0, 0.2], 2);
        assert_eq!(change.grown, [2, 7]);
    }
}
