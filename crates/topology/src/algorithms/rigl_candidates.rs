//! Control: RigL's rule among BiDST's candidates.
//!
//! Between RigL and BiDST with candidates lie three differences: gradients averaged over a window, growth among a few
//! candidates instead of everywhere, and one comparison of scores instead of a drop and a growth. To tell them apart, compare
//!
//! ```text
//!     rigl                          the gradient of one step, at all zeros
//!     rigl, average_window = w      averaged, at all zeros
//!     rigl-candidates               averaged, at κ candidates per non-zero
//!     bidst, as below               averaged, at κ candidates per non-zero, drop and growth compared
//! ```
//!
//! with `candidate_ratio = 1.0`, `flag = "interval"` and `stop = 0.75` for `bidst`, whose default looks at no candidates.
//!
//! At a decision, per layer: drop the ⌊α·nnz⌋ weights smallest in magnitude, then grow as many where the averaged gradient
//! is largest in magnitude, among the candidates and what was just dropped. The schedule, the window and the candidates
//! are those of `bidst` with candidates, by the same code: this *is* `bidst` with `score = "gradient"` and `flag = "interval"`. The
//! optimiser does not rest at a decision.

use super::bidst::{self, CandidateRule, Flag, Score};
use super::{AlgorithmError, Card};
use crate::schedule::DropSchedule;
use crate::{Algorithm, Context, start};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "rigl-candidates",
    summary: "control: RigL that looks at BiDST's candidates only",
    paper: "after Evci et al., Rigging the lottery: making all tickets winners, ICML 2020",
    dense: false,
    start: start::allotted,
};

/// Options of RigL among candidates. Those without a value take it from the run, as BiDST does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Steps from one decision to the next. Default: the steps of an epoch, in short runs at most 1/40 of all steps,
    /// rounded up.
    pub update_interval: Option<u64>,
    /// Steps before a decision over which gradients are averaged. Default min(update interval, 100).
    pub window: Option<u64>,
    /// Which inactive positions are looked at: `rotating`, `random` or `all`. Default `rotating`.
    pub candidates: CandidateRule,
    /// Candidates per non-zero (κ). Default 1.
    pub candidate_ratio: f64,
    /// Share of the batch on which candidates' gradients are computed. Default 1.
    pub probe_share: f32,
    /// Share of a layer's non-zeros replaced by the first decision (α). Default 0.3.
    pub drop_fraction: f64,
    /// How that share falls: `constant`, `cosine` or `step`. Default `cosine`.
    pub drop_schedule: DropSchedule,
    /// Share of the run after which the mask is frozen. Default 0.75.
    pub stop: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            update_interval: None,
            window: None,
            candidates: CandidateRule::Rotating,
            candidate_ratio: 1.0,
            probe_share: 1.0,
            drop_fraction: 0.3,
            drop_schedule: DropSchedule::Cosine,
            stop: 0.75,
        }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let bidst = bidst::Params {
        score: Score::Gradient,
        flag: Some(Flag::Interval),
        update_interval: params.update_interval,
        window: params.window,
        candidates: Some(params.candidates),
        candidate_ratio: Some(params.candidate_ratio),
        probe_share: params.probe_share,
        drop_fraction: params.drop_fraction,
        drop_schedule: params.drop_schedule,
        stop: params.stop,
        ..bidst::Params::default()
    };
    bidst::build_as(CARD.name, bidst, context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, view};
    use crate::{LayerSpec, LayerView, Needs, Probe};

    #[test]
    fn the_smallest_weights_make_room_for_the_candidates_with_the_largest_mean_gradient() {
        let layers = [LayerSpec::new("fc.weight", vec![2, 8], 4)];
        let params = Params { window: Some(2), drop_fraction: 0.5, ..Params::default() };
        let mut algorithm = build(params, &context(&layers, 1000)).unwrap();
        assert_eq!((algorithm.name(), algorithm.next_decision(0)), ("rigl-candidates", Some(25)));
        let layer = view(&[1, 4, 9, 12], &[0.1, -0.5, 0.2, 0.9]);
        algorithm.observe(0, &[layer]);
        let Needs::Candidates(index) = algorithm.needs(24, 0) else { panic!("no candidates") };
        let index = index.to_vec();
        assert_eq!(index.len(), 4);
        // Means over the two steps: 0, 1, -2 and 1 at the candidates. α is 0.497 at step 25, so that one of four goes.
        for (step, gradients) in [(24, [5.0, 1.0, -3.0, 2.0]), (25, [-5.0, 1.0, -1.0, 0.0])] {
            let probe = Probe::Candidates { index: &index, gradients: &gradients, share: 1.0 };
            algorithm.observe(step, &[LayerView { probe, ..layer }]);
        }
        let change = algorithm.update(25, &[layer]).remove(0);
        assert_eq!((change.dropped, change.grown), (vec![1], vec![index[2]]));
    }
}
