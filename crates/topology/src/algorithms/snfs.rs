//! SNFS, sparse momentum: growth where a dense momentum is largest, in the layers whose momentum is largest.
//!
//! Dettmers and Zettlemoyer, "Sparse networks from scratch: faster training without losing performance", 2019
//! (arXiv:1907.04840).
//!
//! Momentum exists at every position, zeros included: m ← μ·m + g with the dense gradient g of *every* step. At a decision:
//!
//! ```text
//!     drop the ⌊α·nnz⌋ weights of each layer that are smallest in magnitude
//!     share the sum of what was dropped out in proportion to the layers' mean |m| over their active weights
//!     grow in each layer where |m| is largest, among all positions not kept
//! ```
//!
//! α falls from 0.5 to 0.005 along a cosine over the whole run. A position may be dropped and regrown in one decision; it
//! then keeps its value and momentum.
//!
//! Where we differ: m is a memory of the algorithm beside the optimiser's momentum, which knows weight decay and starts
//! at 0 for a grown weight. Shares are rounded by largest remainder and overflow to other layers, so the total is exact
//! at once instead of by feedback on later decisions. Decisions come every epoch as in the paper, in short runs every
//! fortieth of the run.

use super::{AlgorithmError, Card, Require};
use crate::distribution::apportion;
use crate::mask::difference;
use crate::schedule::{DropSchedule, Schedule};
use crate::state::{self, State, StateError};
use crate::{Algorithm, Budget, Change, Context, LayerView, Needs, Probe, select, start};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "snfs",
    summary: "drop the smallest weights, grow by a dense momentum within and between layers",
    paper: "Dettmers and Zettlemoyer, Sparse networks from scratch: faster training without losing performance, 2019",
    dense: false,
    start: start::allotted,
};

/// Options of SNFS. Those without a value take it from the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Steps from one decision to the next. Default: the steps of an epoch, in short runs at most 1/40 of all steps,
    /// rounded up.
    pub update_interval: Option<u64>,
    /// Share of a layer's non-zeros dropped by the first decision (α). Default 0.5.
    pub drop_fraction: f64,
    /// What that share has fallen to at the end, along a cosine. Default 0.005.
    pub last_drop_fraction: f64,
    /// Share of the dense momentum that survives a step (μ). Default: the optimiser's.
    pub momentum: Option<f64>,
    /// Share of the run after which the mask is frozen. Default 1: never.
    pub stop: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { update_interval: None, drop_fraction: 0.5, last_drop_fraction: 0.005, momentum: None, stop: 1.0 }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let Params { update_interval, drop_fraction, last_drop_fraction, momentum, stop } = params;
    let require = Require(CARD.name);
    let at_least_40_to_a_run = context.total_steps.div_ceil(40).max(1);
    let interval = update_interval.unwrap_or(context.steps_per_epoch.clamp(1, at_least_40_to_a_run));
    let mut schedule = require.schedule(interval, stop, drop_fraction, DropSchedule::Cosine, context)?;
    schedule.fraction.last = require.last_drop_fraction(last_drop_fraction)?;
    let decay = momentum.unwrap_or(f64::from(context.momentum));
    require.that((0.0..1.0).contains(&decay), "momentum", decay, "is a share from 0 to below 1")?;
    Ok(Box::new(Snfs {
        schedule,
        decay: decay as f32,
        lens: context.layers.iter().map(|layer| layer.len()).collect(),
        momentum: vec![Vec::new(); context.layers.len()],
    }))
}

struct Snfs {
    schedule: Schedule,
    /// μ.
    decay: f32,
    lens: Vec<usize>,
    /// m, at every position of each layer; empty before the first step and after the last decision.
    momentum: Vec<Vec<f32>>,
}

impl Algorithm for Snfs {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn needs(&self, step: u64, _layer: usize) -> Needs<'_> {
        if self.schedule.times.next(step).is_some() { Needs::Dense } else { Needs::Active }
    }

    fn observe(&mut self, _step: u64, views: &[LayerView<'_>]) {
        for (momentum, view) in self.momentum.iter_mut().zip(views) {
            if let Probe::Dense { gradients, .. } = view.probe {
                momentum.resize(gradients.len(), 0.0);
                momentum.iter_mut().zip(gradients).for_each(|(m, g)| *m = self.decay * *m + g);
            }
        }
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.schedule.times.next(step)
    }

    fn update(&mut self, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let drop = |view: &LayerView<'_>| {
            let count = self.schedule.fraction.count(step, view.active.len());
            select::smallest_weights(view.active, view.weights, count)
        };
        let dropped: Vec<Vec<u32>> = views.iter().map(drop).collect();
        let left = views.iter().zip(&dropped).map(|(view, dropped)| view.active.len() - dropped.len());
        let open: Vec<usize> = self.lens.iter().zip(left).map(|(len, left)| len - left).collect();
        let shares: Vec<f64> =
            views.iter().zip(&self.momentum).map(|(view, m)| mean_magnitude(m, view.active)).collect();
        let grown = apportion(&shares, &open, dropped.iter().map(Vec::len).sum());
        let change = |(layer, dropped): (usize, &Vec<u32>)| {
            let kept = difference(views[layer].active, dropped);
            Change::net(dropped, &select::largest_outside(&kept, &self.momentum[layer], grown[layer]))
        };
        let changes = dropped.iter().enumerate().map(change).collect();
        if self.schedule.times.next(step + 1).is_none() {
            self.momentum.fill(Vec::new());
        }
        changes
    }

    fn budget(&self, _step: u64) -> Budget {
        Budget::Total
    }

    fn state_bytes(&self) -> usize {
        size_of::<f32>() * self.lens.iter().sum::<usize>()
    }

    fn save(&self) -> State {
        let mut state = State::default();
        for (layer, momentum) in self.momentum.iter().enumerate() {
            state.f32s.insert(format!("momentum.{layer}"), momentum.clone());
        }
        state
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let load = |(layer, &len): (usize, &usize)| {
            let name = format!("momentum.{layer}");
            let momentum = state.floats(&name)?;
            if momentum.is_empty() { Ok(Vec::new()) } else { Ok(state::of_length(&name, momentum, len)?.to_vec()) }
        };
        self.momentum = self.lens.iter().enumerate().map(load).collect::<Result<_, StateError>>()?;
        Ok(())
    }
}

/// Mean of |value| over the active positions; 0 if there are none.
fn mean_magnitude(values: &[f32], active: &[u32]) -> f64 {
    let sum: f64 = active.iter().map(|&position| f64::from(values[position as usize].abs())).sum();
    sum / active.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerSpec;
    use crate::testing::{context, view};

    const FIRST: [[f32; 8]; 2] = [[2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0], [0.0; 8]];
    const SECOND: [[f32; 8]; 2] = [[2.0, 3.0, 3.0, 0.0, 0.0, -5.0, 0.0, 0.1], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 9.0]];

    #[test]
    fn the_layer_with_more_momentum_gets_more_of_what_was_dropped_where_its_momentum_is_largest() {
        let layers = [LayerSpec::new("a.weight", vec![1, 8], 4), LayerSpec::new("b.weight", vec![1, 8], 4)];
        let params = Params { momentum: Some(0.5), ..Params::default() };
        let mut snfs = build(params, &context(&layers, 1000)).unwrap();
        let layer = view(&[0, 1, 2, 3], &[0.9, -0.1, 0.2, 0.8]);
        let seen = |rows: &'static [[f32; 8]; 2]| {
            rows.each_ref().map(|gradients| LayerView { probe: Probe::Dense { gradients, share: 1.0 }, ..layer })
        };
        snfs.observe(0, &seen(&FIRST));
        snfs.observe(1, &seen(&SECOND));
        // m of a: 3, 3, 3, 0 | 0, -5, 1, 0.1, mean over the active 2.25; of b: 1, 1, 1, 0 | 0, 0, 0, 9, mean 0.75.
        // Step 0 has α = 0.5: two of each go (positions 1 and 2), and 4 are shared out 3 to 1.
        let changes = snfs.update(0, &seen(&SECOND));
        // a regrows 1 and 2, which thereby stay, and grows 5; b grows 7.
        assert_eq!((&changes[0].dropped[..], &changes[0].grown[..]), (&[][..], &[5][..]));
        assert_eq!((&changes[1].dropped[..], &changes[1].grown[..]), (&[1, 2][..], &[7][..]));
        assert_eq!(snfs.state_bytes(), 16 * 4);
    }

    #[test]
    fn momentum_is_dense_from_the_first_step_and_forgotten_after_the_last_decision() {
        let layers = [LayerSpec::new("a.weight", vec![1, 4], 2)];
        let mut snfs = build(Params::default(), &context(&layers, 1000)).unwrap();
        assert_eq!((snfs.needs(0, 0), snfs.next_decision(0), snfs.next_decision(976)), (Needs::Dense, Some(25), None));
        assert_eq!(snfs.needs(976, 0), Needs::Active);
        let view = LayerView { probe: Probe::Dense { gradients: &[1.0; 4], share: 1.0 }, ..view(&[0, 1], &[1.0, 1.0]) };
        snfs.observe(0, &[view]);
        assert_eq!(snfs.save().f32s["momentum.0"], [1.0; 4]);
        snfs.update(975, &[view]);
        assert!(snfs.save().f32s["momentum.0"].is_empty());
    }
}
