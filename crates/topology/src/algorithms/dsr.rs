//! DSR: one threshold for all layers, and weights that move between layers.
//!
//! Mostafa and Wang, "Parameter efficient training of deep convolutional neural networks by dynamic sparse
//! reparameterization", ICML 2019.
//!
//! At a decision:
//!
//! ```text
//!     drop every weight with |θ| < H, in all layers; let their number be n
//!     H ← H/2 if n > 1.1·N_p,   H ← 2H if n < 0.9·N_p
//!     grow n weights at random inactive positions, shared out between layers in proportion to what is left of each
//! ```
//!
//! Decisions become rarer: the interval doubles at 12.5, 40 and 70% of the run.
//!
//! Where we differ: N_p is a share of the non-zeros instead of a number chosen for each network (the released flag's
//! default is 600 weights). The first interval is 100 steps, in short runs a fortieth of the run. Shares are rounded by
//! largest remainder and overflow to other layers, so the total is exact. Each layer keeps its largest weight, because a
//! layer without any would never get one again, and no more is dropped than there are zeros to replace it.

use super::{AlgorithmError, Card, Require};
use crate::distribution::apportion;
use crate::rng::{Purpose, Streams};
use crate::schedule::Times;
use crate::state::{self, State, StateError};
use crate::{Algorithm, Budget, Change, Context, LayerView, select, start};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "dsr",
    summary: "drop below one global threshold, grow random weights in the layers that keep most",
    paper: "Mostafa and Wang, Parameter efficient training of deep convolutional neural networks by dynamic sparse \
            reparameterization, ICML 2019",
    dense: false,
    start: start::allotted,
};

/// By how much the number of dropped weights may miss its target before the threshold moves, as a share of it.
const TOLERANCE: f64 = 0.1;

/// Options of DSR. The one without a value takes it from the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Steps from one decision to the next at first (P). Default 100, in short runs 1/40 of all steps, rounded up.
    pub update_interval: Option<u64>,
    /// Shares of the run at which that interval doubles, ascending. Default 0.125, 0.4 and 0.7.
    pub doublings: Vec<f64>,
    /// First threshold (H). Default 0.001.
    pub threshold: f64,
    /// Share of all non-zeros that a decision should drop (N_p). Default 0.1.
    pub drop_target: f64,
    /// Share of the run after which the mask is frozen. Default 1: never.
    pub stop: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { update_interval: None, doublings: vec![0.125, 0.4, 0.7], threshold: 1e-3, drop_target: 0.1, stop: 1.0 }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let Params { update_interval, doublings, threshold, drop_target, stop } = params;
    let require = Require(CARD.name);
    let interval = update_interval.unwrap_or(context.total_steps.div_ceil(40).clamp(1, 100));
    require.that(interval > 0, "update_interval", interval, "must be at least 1 step")?;
    let ascending = doublings.is_sorted() && doublings.iter().all(|at| (0.0..=1.0).contains(at));
    require.that(ascending, "doublings", format!("{doublings:?}"), "are ascending shares of the run, from 0 to 1")?;
    require.that(threshold > 0.0 && threshold.is_finite(), "threshold", threshold, "must be a number above 0")?;
    require.that(
        drop_target > 0.0 && drop_target <= 1.0,
        "drop_target",
        drop_target,
        "is a share above 0 and up to 1",
    )?;
    Ok(Box::new(Dsr {
        phases: phases(interval, &doublings, require.stop(stop, context)?, context.total_steps),
        threshold,
        drop_target,
        lens: context.layers.iter().map(|layer| layer.len()).collect(),
        streams: Streams::new(context.seed),
    }))
}

/// First step and decision points of each stretch of equal intervals.
fn phases(interval: u64, doublings: &[f64], stop: u64, total_steps: u64) -> Vec<(u64, Times)> {
    let doublings = doublings.iter().map(|at| ((at * total_steps as f64).floor() as u64).min(stop));
    let ends: Vec<u64> = doublings.chain([stop]).collect();
    let starts = [0].into_iter().chain(ends.iter().copied());
    let phase =
        |((i, start), &end): ((usize, u64), &u64)| (start, Times::every(interval.saturating_mul(1 << i.min(63)), end));
    starts.enumerate().zip(&ends).map(phase).collect()
}

struct Dsr {
    phases: Vec<(u64, Times)>,
    threshold: f64,
    drop_target: f64,
    lens: Vec<usize>,
    streams: Streams,
}

impl Dsr {
    /// How many weights each layer drops, of the `inactive` positions that could replace them.
    fn dropped(&self, views: &[LayerView<'_>], inactive: &[usize]) -> Vec<usize> {
        let below = |view: &LayerView<'_>| {
            let below = view.weights.iter().filter(|weight| f64::from(weight.abs()) < self.threshold).count();
            below.min(view.active.len().saturating_sub(1))
        };
        let below: Vec<usize> = views.iter().map(below).collect();
        let shares: Vec<f64> = below.iter().map(|&count| count as f64).collect();
        apportion(&shares, &below, inactive.iter().sum())
    }

    fn adapt(&mut self, dropped: usize, nnz: usize) {
        let target = self.drop_target * nnz as f64;
        match dropped as f64 {
            n if n > (1.0 + TOLERANCE) * target => self.threshold /= 2.0,
            n if n < (1.0 - TOLERANCE) * target => self.threshold *= 2.0,
            _ => {}
        }
    }
}

impl Algorithm for Dsr {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.phases.iter().find_map(|(start, times)| times.next(step.max(*start)))
    }

    fn update(&mut self, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let inactive: Vec<usize> = views.iter().zip(&self.lens).map(|(view, len)| len - view.active.len()).collect();
        let dropped = self.dropped(views, &inactive);
        let left: Vec<f64> = views.iter().zip(&dropped).map(|(view, gone)| (view.active.len() - gone) as f64).collect();
        let grown = apportion(&left, &inactive, dropped.iter().sum());
        let decide = |(layer, view): (usize, &LayerView<'_>)| {
            let mut rng = self.streams.stream(Purpose::Grow, layer as u64, step);
            Change {
                dropped: select::smallest_weights(view.active, view.weights, dropped[layer]),
                grown: select::random_inactive(&mut rng, self.lens[layer], view.active, grown[layer]),
                ..Change::default()
            }
        };
        let changes = views.iter().enumerate().map(decide).collect();
        self.adapt(dropped.iter().sum(), views.iter().map(|view| view.active.len()).sum());
        changes
    }

    fn budget(&self, _step: u64) -> Budget {
        Budget::Total
    }

    fn save(&self) -> State {
        let mut state = State::default();
        state.u64s.insert("threshold".into(), vec![self.threshold.to_bits()]);
        state
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let bits = state::of_length("threshold", state.words("threshold")?, 1)?[0];
        self.threshold = f64::from_bits(bits);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerSpec;
    use crate::testing::{context, view};

    fn built(options: &str) -> Box<dyn Algorithm> {
        let layers = [LayerSpec::new("a.weight", vec![1, 20], 4), LayerSpec::new("b.weight", vec![1, 20], 6)];
        build(options.parse::<toml::Table>().unwrap().try_into().unwrap(), &context(&layers, 80_000)).unwrap()
    }

    #[test]
    fn what_falls_below_the_threshold_is_shared_out_in_proportion_to_what_is_left() {
        let mut dsr = built("threshold = 0.1\ndrop_target = 0.2");
        let (a, b) = ([0, 1, 2, 3], [4, 5, 6, 7, 8, 9]);
        let weights = ([0.05, -0.2, 0.01, -0.09], [0.3, 0.4, -0.5, 0.02, 0.6, 0.1]);
        let threshold = |dsr: &dyn Algorithm| f64::from_bits(dsr.save().u64s["threshold"][0]);
        let mut decide = || dsr.update(100, &[view(&a, &weights.0), view(&b, &weights.1)]);
        // 3 and 1 of 4 and 6 go; 1 and 5 are left, so that 4 new ones are 0.67 and 3.33: 1 and 3.
        let changes = decide();
        assert_eq!([&changes[0].dropped[..], &changes[1].dropped[..]], [&[0, 2, 3][..], &[7][..]]);
        assert_eq!([changes[0].grown.len(), changes[1].grown.len()], [1, 3]);
        // 4 are twice the 2 of the target: H halves, and then only 0.01 and 0.02 go, on target.
        assert_eq!(threshold(dsr.as_ref()), 0.05);
        let mut decide = || dsr.update(200, &[view(&a, &weights.0), view(&b, &weights.1)]);
        assert_eq!(decide().iter().map(|change| change.dropped.len()).sum::<usize>(), 2);
        assert_eq!(threshold(dsr.as_ref()), 0.05);
    }

    #[test]
    fn decisions_become_rarer_as_training_goes_on() {
        let dsr = built("");
        assert_eq!(
            [0, 9_901, 31_801, 55_601].map(|step| dsr.next_decision(step)),
            [100, 10_000, 32_000, 56_000].map(Some)
        );
        assert_eq!([10_001, 32_001, 56_001].map(|step| dsr.next_decision(step)), [10_200, 32_400, 56_800].map(Some));
        assert_eq!(dsr.next_decision(79_201), None);
        assert!(build(Params { doublings: vec![0.5, 0.1], ..Params::default() }, &context(&[], 100)).is_err());
    }

    #[test]
    fn a_layer_keeps_its_largest_weight_and_no_more_goes_than_can_be_replaced() {
        let mut dsr = built("threshold = 9.0");
        let (a, b) = ((0..19).collect::<Vec<u32>>(), (0..20).collect::<Vec<u32>>());
        let (few, all) = ([0.5; 19], [0.7; 20]);
        let changes = dsr.update(100, &[view(&a, &few), view(&b, &all)]);
        assert_eq!(changes.iter().map(|change| change.dropped.len()).sum::<usize>(), 1);
        assert_eq!(changes[0].grown, [19]);
        let changes = dsr.update(100, &[view(&a[..3], &few[..3]), view(&b[..1], &all[..1])]);
        assert_eq!([changes[0].dropped.len(), changes[1].dropped.len()], [2, 0]);
    }
}
