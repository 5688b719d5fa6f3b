//! RigL-ITOP: RigL tuned to explore.
//!
//! Liu et al., "Do we actually need dense over-parameterization? In-time over-parameterization in sparse training", ICML
//! 2021.
//!
//! What counts, says the paper, is how many positions have been tried by the end of training, if each was tried for
//! long enough: R_s = |∪ₜ Mₜ| / N, the ITOP rate, which every run records. So the rule is RigL's, with long intervals, a
//! large drop fraction and no early end:
//!
//! ```text
//!     α_t = a + ½(α − a)(1 + cos(π·t/T)),     α = 0.5, a = 0.005, T the whole run, ΔT = 4000
//! ```
//!
//! Decisions come after the weight step. Where we differ: 4000 steps are a twenty-fourth of the paper's CIFAR runs (250
//! epochs of 391 steps); in a shorter run the interval is that share of the run, so that there are always decisions to take.
//! SET-ITOP is `set` with `update_interval = 1500`, `drop_fraction = 0.5` and `stop = 1.0`.

use super::rigl::{self, Rigl};
use super::{AlgorithmError, Card, Require};
use crate::schedule::DropSchedule;
use crate::start;
use crate::{Algorithm, Context};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "rigl-itop",
    summary: "RigL with long intervals and exploration to the end",
    paper: "Liu et al., Do we actually need dense over-parameterization? In-time over-parameterization in sparse \
            training, ICML 2021",
    dense: false,
    start: start::allotted,
};

/// Options of RigL-ITOP. The one without a value takes it from the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Steps from one decision to the next. Default 4000, in short runs 1/24 of all steps, rounded up.
    pub update_interval: Option<u64>,
    /// Share of a layer's non-zeros replaced by the first decision. Default 0.5.
    pub drop_fraction: f64,
    /// What that share has fallen to at the end, along a cosine. Default 0.005.
    pub last_drop_fraction: f64,
    /// Share of the run after which the mask is frozen. Default 1: never.
    pub stop: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { update_interval: None, drop_fraction: 0.5, last_drop_fraction: 0.005, stop: 1.0 }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let Params { update_interval, drop_fraction, last_drop_fraction, stop } = params;
    let rigl = rigl::Params {
        update_interval: update_interval.unwrap_or(context.total_steps.div_ceil(24).clamp(1, 4000)),
        drop_fraction,
        drop_schedule: DropSchedule::Cosine,
        stop,
        average_window: 1,
        skip_weight_step: false,
        ..rigl::Params::default()
    };
    let mut itop = Rigl::new(CARD.name, rigl, context)?;
    itop.schedule.fraction.last = Require(CARD.name).last_drop_fraction(last_drop_fraction)?;
    Ok(Box::new(itop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, LayerSpec, LayerView, Probe};

    fn built(total_steps: u64) -> Box<dyn Algorithm> {
        let layers = [LayerSpec::new("fc.weight", vec![2, 4], 4)];
        let context = Context {
            layers: &layers,
            total_steps,
            steps_per_epoch: 391,
            seed: 1,
            weight_decay: 5e-4,
            learning_rate: 0.1,
            momentum: 0.9,
            batch_size: 128,
        };
        build(Params::default(), &context).unwrap()
    }

    fn decide(itop: &mut dyn Algorithm, step: u64) -> Change {
        let active = [1, 3, 4, 6];
        let gradients = [0.1, 0.0, -0.9, 5.0, 0.0, 0.3, 5.0, 0.2];
        let view = LayerView {
            active: &active,
            weights: &[0.1, -0.5, 0.2, 0.9],
            gradients: &[0.0, 5.0, 0.0, 5.0],
            momentum: &[0.0; 4],
            probe: Probe::Dense { gradients: &gradients, share: 1.0 },
        };
        itop.update(step, &[view]).remove(0)
    }

    #[test]
    fn half_of_the_weights_are_replaced_at_first_and_none_of_four_at_the_end() {
        let mut itop = built(97_750);
        assert_eq!((itop.next_decision(0), itop.next_decision(92_001)), (Some(4000), Some(96_000)));
        // α is 0.498 at step 4000: one of four weights goes, 0.1 at position 1. Step 0 would replace two.
        let change = decide(itop.as_mut(), 4000);
        assert_eq!((change.dropped, change.grown), (vec![1], vec![2]));
        let change = decide(itop.as_mut(), 0);
        assert_eq!((change.dropped, change.grown), (vec![1, 4], vec![2, 5]));
        assert!(decide(itop.as_mut(), 96_000).is_empty());
    }

    #[test]
    fn a_short_run_still_has_decisions_to_take_and_goes_on_to_its_end() {
        let itop = built(940);
        assert_eq!((itop.next_decision(0), itop.next_decision(921)), (Some(40), None));
        assert_eq!(itop.next_decision(881), Some(920));
        assert!(!itop.replaces_weight_step());
    }
}
