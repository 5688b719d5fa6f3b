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
use crate::mask::{complement, difference};
use crate::schedule::{DropSchedule, Schedule};
use crate::select;
use crate::state::{self, State, StateError};
use crate::{Algorithm, Change, Context, LayerView, Needs, Probe};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card = Card {
    name: "rigl",
    summary: "drop the smallest weights, grow where the dense gradient is largest",
    paper: "Evci et al., Rigging the lottery: making all tickets winners, ICML 2020",
    dense: false,
};

/// Options of RigL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Steps from one decision to the next (ΔT). Default 100.
    pub update_interval: u64,
    /// Share of a layer's non-zeros replaced by the first decision (α). Default 0.3.
    pub drop_fraction: f64,
    /// How that share falls: `constant` or `cosine`. Default `cosine`.
    pub drop_schedule: DropSchedule,
    /// Share of the run after which the mask is frozen. Default 0.75.
    pub stop: f64,
    /// Last steps before a decision whose dense gradients are averaged, at most `update_interval`. Default 1.
    pub average_window: u64,
    /// Whether the optimiser rests at a decision. Default true.
    pub skip_weight_step: bool,
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
        }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let Params { update_interval, drop_fraction, drop_schedule, stop, average_window, skip_weight_step } = params;
    let require = Require(CARD.name);
    let schedule = require.schedule(update_interval, stop, drop_fraction, drop_schedule, context)?;
    let fits = (1..=update_interval).contains(&average_window);
    require.that(fits, "average_window", average_window, "must be from 1 to `update_interval`")?;
    Ok(Box::new(Rigl {
        schedule,
        window: average_window,
        skip_weight_step,
        lens: context.layers.iter().map(|layer| layer.len()).collect(),
        movable: context.layers.iter().map(|layer| (1..layer.len()).contains(&layer.nnz)).collect(),
        sums: vec![Vec::new(); context.layers.len()],
    }))
}

struct Rigl {
    schedule: Schedule,
    window: u64,
    skip_weight_step: bool,
    lens: Vec<usize>,
    movable: Vec<bool>,
    /// Dense gradients summed over the window; empty outside it and whenever the window is one step.
    sums: Vec<Vec<f32>>,
}

impl Algorithm for Rigl {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn needs(&self, step: u64, layer: usize) -> Needs<'_> {
        if self.movable[layer] && self.schedule.times.in_window(step, self.window) {
            Needs::Dense
        } else {
            Needs::Active
        }
    }

    fn observe(&mut self, step: u64, layers: &[LayerView<'_>]) {
        if self.window == 1 || !self.schedule.times.in_window(step, self.window) {
            return;
        }
        for (sum, view) in self.sums.iter_mut().zip(layers) {
            if let Probe::Dense { gradients } = view.probe {
                sum.resize(gradients.len(), 0.0);
                sum.iter_mut().zip(gradients).for_each(|(sum, g)| *sum += g);
            }
        }
    }

    fn replaces_weight_step(&self) -> bool {
        self.skip_weight_step
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.schedule.times.next(step)
    }

    fn update(&mut self, step: u64, layers: &[LayerView<'_>]) -> Vec<Change> {
        let sums: Vec<Vec<f32>> = self.sums.iter_mut().map(std::mem::take).collect();
        let decide = |(layer, view): (usize, &LayerView<'_>)| {
            let gradients = match view.probe {
                _ if self.window > 1 => sums[layer].as_slice(),
                Probe::Dense { gradients } => gradients,
                _ => &[],
            };
            if gradients.len() != self.lens[layer] {
                return Change::default();
            }
            drop_and_grow(view, gradients, self.schedule.fraction.count(step, view.active.len()))
        };
        layers.iter().enumerate().map(decide).collect()
    }

    fn dense_bytes(&self) -> usize {
        let summed = self.lens.iter().zip(&self.movable).filter(|&(_, &movable)| movable && self.window > 1);
        summed.map(|(len, _)| len * size_of::<f32>()).sum()
    }

    fn save(&self) -> State {
        let mut state = State::default();
        for (layer, sum) in self.sums.iter().enumerate() {
            state.f32s.insert(format!("gradient_sum.{layer}"), sum.clone());
        }
        state
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let load = |(layer, &len): (usize, &usize)| {
            let name = format!("gradient_sum.{layer}");
            let sum = state.floats(&name)?;
            if sum.is_empty() { Ok(Vec::new()) } else { Ok(state::of_length(&name, sum, len)?.to_vec()) }
        };
        self.sums = self.lens.iter().enumerate().map(load).collect::<Result<_, StateError>>()?;
        Ok(())
    }
}

/// Drops the `count` smallest weights, then grows the `count` largest gradients among the positions not kept.
fn drop_and_grow(view: &LayerView<'_>, gradients: &[f32], count: usize) -> Change {
    let magnitudes: Vec<f32> = view.weights.iter().map(|w| w.abs()).collect();
    let dropped = select::pick(view.active, &select::smallest(&magnitudes, count));
    let open = complement(gradients.len(), &difference(view.active, &dropped));
    let scores: Vec<f32> = open.iter().map(|&position| gradients[position as usize].abs()).collect();
    let grown = select::pick(&open, &select::largest(&scores, count));
    Change::net(&dropped, &grown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVE: [u32; 4] = [1, 3, 4, 6];

    fn decide(gradients: &[f32], count: usize) -> Change {
        let weights = [0.1, -0.5, 0.2, 0.9];
        let view =
            LayerView { active: &ACTIVE, weights: &weights, gradients: &[0.0; 4], momentum: &[0.0; 4], probe: Probe::None };
        let change = drop_and_grow(&view, gradients, count);
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
