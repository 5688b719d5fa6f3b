//! MEST: SET in memory-economic form, with elastic mutation and, as an option, a soft memory bound.
//!
//! Yuan et al., "MEST: accurate and fast memory-economic sparse training framework on the edge", NeurIPS 2021.
//!
//! A weight matters by |θ| + λ·|∂ℓ/∂θ|, and growth is random, so neither weights nor gradients are ever dense. With k
//! non-zeros allowed in a layer, a decision
//!
//! ```text
//!     em      drops to (1 − α_t)·k and grows to k              elastic mutation
//!     em&s    drops to k and grows to (1 + s_t)·k              and soft memory bound
//! ```
//!
//! The shares α_t and s_t hold for three quarters of the exploration phase, are halved for the rest, and end with it: the
//! last decision of `em&s` only drops. The published profiles have α = 0.2 and s = 0.5 and 1 at 90 and 95% sparsity, a decision
//! every 5 of 160 epochs, the half from epoch 90 and the end at 120; at 98% (S²-SAM's) α = 0.1, and s = 2.5, then 1, from
//! epoch 100 to 130. Read the accuracy of `em&s` against its density: it trains above k for most of the run.
//!
//! A grown weight starts at 0 with momentum 0, also if its position was dropped in the same decision. Where we differ: counts
//! are exact where the released code cuts at percentiles, the first mask is random instead of the largest first weights,
//! and the momentum of a grown weight is 0 instead of what is left of an older one. λ is 0 by default, as in the released
//! code; the gradients are those of the step just taken.

use super::{AlgorithmError, Card, Require};
use crate::mask::difference;
use crate::rng::{Purpose, Streams};
use crate::schedule::{DropSchedule, Schedule};
use crate::{Algorithm, Budget, Change, Context, LayerSpec, LayerView, Pattern, rng, select, start};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "mest",
    summary: "drop the least important weights, grow random ones; with `em&s` above the budget for a while",
    paper: "Yuan et al., MEST: accurate and fast memory-economic sparse training framework on the edge, NeurIPS 2021",
    dense: false,
    start: |params, layers| {
        start::patterned(layers, params.pattern);
        layers.iter_mut().for_each(|layer| layer.nnz = beyond(layer, params.first_bound()));
    },
};

/// Options of MEST. Those without a value take it from the run or the mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// `em` (elastic mutation) or `em&s` (and soft memory bound). Default `em`.
    pub mode: Mode,
    /// Steps from one decision to the next. Default 1/32 of all steps, rounded up.
    pub update_interval: Option<u64>,
    /// Share of a layer's non-zeros replaced by the first decision (α, `em` only). Default 0.2.
    pub drop_fraction: Option<f64>,
    /// Share of its non-zeros that a layer has beyond its budget at first (s, `em&s` only). Default 0.5.
    pub soft_bound: Option<f64>,
    /// How these shares fall: `constant`, `cosine` or `step`, to the half at three quarters of the exploration. Default
    /// `step`.
    pub drop_schedule: DropSchedule,
    /// Weight of the gradient beside the magnitude (λ). Default 0.
    pub gradient_weight: f64,
    /// What masks look like: `unstructured`, `fan-in`, N:M such as `2:4`, or blocks such as `4x1` (`em` only). Default
    /// `unstructured`.
    pub pattern: Pattern,
    /// Share of the run after which the mask is frozen. Default 0.75.
    pub stop: f64,
}

/// What a decision does to the number of non-zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Elastic mutation: it stays.
    #[default]
    #[serde(rename = "em")]
    Mutation,
    /// Elastic mutation and soft memory bound: it falls to the budget.
    #[serde(rename = "em&s")]
    SoftBound,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            mode: Mode::Mutation,
            update_interval: None,
            drop_fraction: None,
            soft_bound: None,
            drop_schedule: DropSchedule::Step,
            gradient_weight: 0.0,
            pattern: Pattern::Unstructured,
            stop: 0.75,
        }
    }
}

impl Params {
    /// s at the start: 0 without a soft bound.
    fn first_bound(&self) -> f64 {
        if self.mode == Mode::SoftBound { self.soft_bound.unwrap_or(0.5) } else { 0.0 }
    }
}

/// ⌊(1 + s)·k⌋ of a layer, at most all of it.
fn beyond(layer: &LayerSpec, s: f64) -> usize {
    layer.target.saturating_add((s * layer.target as f64) as usize).min(layer.len())
}

/// Builds it.
///
/// # Errors
/// If an option is out of range or belongs to the other mode, or a run with a soft bound has no decision to end it.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let Params { mode, update_interval, drop_fraction, soft_bound, drop_schedule, gradient_weight, pattern, stop } =
        params;
    let require = Require(CARD.name);
    let (soft, interval) =
        (mode == Mode::SoftBound, update_interval.unwrap_or(context.total_steps.div_ceil(32).max(1)));
    let of_em = "belongs to mode = \"em\"; mode = \"em&s\" drops to the budget";
    require.that(!soft || drop_fraction.is_none(), "drop_fraction", drop_fraction.unwrap_or(0.0), of_em)?;
    let mut schedule = require.schedule(interval, stop, drop_fraction.unwrap_or(0.2), drop_schedule, context)?;
    if let Some(bound) = soft_bound {
        require.that(soft, "soft_bound", bound, "belongs to mode = \"em&s\"")?;
        require.that(bound >= 0.0 && bound.is_finite(), "soft_bound", bound, "must be a number from 0 up")?;
    }
    if soft {
        let fixed = "fixes the number of non-zeros, which mode = \"em&s\" moves";
        require.that(pattern == Pattern::Unstructured, "pattern", pattern, fixed)?;
        schedule.fraction.initial = params.first_bound();
        let endless = "leaves no decision before `stop`, so the run would stay above its budget";
        require.that(schedule.times.next(0).is_some(), "update_interval", interval, endless)?;
    }
    let natural = gradient_weight >= 0.0 && gradient_weight.is_finite();
    require.that(natural, "gradient_weight", gradient_weight, "must be a number from 0 up")?;
    let (layers, streams) = (context.layers.to_vec(), Streams::new(context.seed));
    Ok(Box::new(Mest { mode, schedule, gradient_weight: gradient_weight as f32, layers, streams }))
}

struct Mest {
    mode: Mode,
    schedule: Schedule,
    gradient_weight: f32,
    layers: Vec<LayerSpec>,
    streams: Streams,
}

impl Mest {
    /// To how many non-zeros the decision of `step` cuts a layer, and how many it then has.
    fn counts(&self, step: u64, layer: &LayerSpec) -> (usize, usize) {
        match self.mode {
            Mode::Mutation => {
                let inactive = layer.len() - layer.target;
                (layer.target - self.schedule.fraction.count(step, layer.target).min(inactive), layer.target)
            }
            Mode::SoftBound if self.schedule.times.next(step + 1).is_none() => (layer.target, layer.target),
            Mode::SoftBound => (layer.target, beyond(layer, self.schedule.fraction.at(step))),
        }
    }

    fn importance(&self, view: &LayerView<'_>) -> Vec<f32> {
        let weighed = view.weights.iter().zip(view.gradients);
        weighed.map(|(weight, gradient)| weight.abs() + self.gradient_weight * gradient.abs()).collect()
    }
}

impl Algorithm for Mest {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.schedule.times.next(step)
    }

    fn update(&mut self, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let decide = |(index, (view, layer)): (usize, (&LayerView<'_>, &LayerSpec))| {
            let (keep, total) = self.counts(step, layer);
            let count = view.active.len().saturating_sub(keep);
            let (pattern, shape) = (layer.pattern, &layer.shape);
            let dropped = pattern.worst(shape, view.active, &self.importance(view), count);
            let kept = difference(view.active, &dropped);
            let mut rng = self.streams.stream(Purpose::Grow, index as u64, step);
            let grown = match pattern {
                Pattern::Unstructured => select::random_inactive(&mut rng, layer.len(), &kept, total - kept.len()),
                _ => pattern.regrown(shape, view.active, &dropped, &rng::uniforms(&mut rng, layer.len())),
            };
            let change = Change::net(&dropped, &grown);
            Change { reset: difference(&dropped, &change.dropped), ..change }
        };
        views.iter().zip(&self.layers).enumerate().map(decide).collect()
    }

    fn budget(&self, step: u64) -> Budget {
        match self.mode {
            Mode::Mutation => Budget::PerLayer,
            Mode::SoftBound => Budget::Scheduled(self.layers.iter().map(|layer| self.counts(step, layer).1).sum()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, view};

    fn built(options: &str, nnz: usize) -> Box<dyn Algorithm> {
        let layers = [LayerSpec { nnz, ..LayerSpec::new("fc.weight", vec![4, 5], 10) }];
        build(options.parse::<toml::Table>().unwrap().try_into().unwrap(), &context(&layers, 1600)).unwrap()
    }

    const ACTIVE: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    const WEIGHTS: [f32; 10] = [0.5, -0.1, 0.3, -0.9, 0.2, 0.7, 0.4, 0.6, -0.8, 1.0];

    #[test]
    fn a_fifth_is_replaced_then_a_tenth_and_what_returns_starts_at_zero() {
        let mut mest = built("", 10);
        assert_eq!((mest.next_decision(0), mest.next_decision(1151)), (Some(50), None));
        let mut replaced = |step, goes: &[u32]| {
            let change = mest.update(step, &[view(&ACTIVE, &WEIGHTS)]).remove(0);
            change.check(20, &ACTIVE).unwrap();
            let mut gone = [change.dropped.clone(), change.reset].concat();
            gone.sort_unstable();
            assert_eq!((&gone[..], change.grown.len()), (goes, change.dropped.len()));
        };
        replaced(50, &[1, 4]);
        replaced(850, &[1, 4]);
        replaced(900, &[1]);
    }

    #[test]
    fn the_soft_bound_lets_a_layer_hold_half_more_then_a_quarter_then_nothing() {
        let mut layers = [LayerSpec::new("fc.weight", vec![4, 5], 10)];
        (CARD.start)(&Params { mode: Mode::SoftBound, ..Params::default() }, &mut layers);
        assert_eq!((layers[0].nnz, layers[0].target), (15, 10));
        let mut mest = built("mode = 'em&s'", 15);
        let mut active: Vec<u32> = (0..15).collect();
        for (step, nnz) in [(50, 15), (850, 15), (900, 12), (1150, 10)] {
            let weights: Vec<f32> = active.iter().map(|&position| position as f32).collect();
            let kept = active[active.len() - 10..].to_vec();
            let change = mest.update(step, &[view(&active, &weights)]).remove(0);
            change.check(20, &active).unwrap();
            active = change.applied_to(&active);
            assert_eq!((active.len(), mest.budget(step)), (nnz, Budget::Scheduled(nnz)));
            assert!(kept.iter().all(|position| active.contains(position) && !change.reset.contains(position)));
        }
    }

    #[test]
    fn a_large_gradient_saves_a_small_weight_if_it_is_asked() {
        let goes = |options: &str| {
            let change = built(options, 10).update(
                50,
                &[LayerView {
                    gradients: &[0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                    ..view(&ACTIVE, &WEIGHTS)
                }],
            );
            [&change[0].dropped[..], &change[0].reset[..]].concat().contains(&1)
        };
        assert!(goes("") && !goes("gradient_weight = 0.2"));
    }

    #[test]
    fn options_of_the_other_mode_and_a_run_without_decisions_are_refused() {
        let layers = [LayerSpec::new("fc.weight", vec![4, 5], 10)];
        let refused = |params: Params| build(params, &context(&layers, 40)).err().unwrap().to_string();
        let soft = Params { mode: Mode::SoftBound, ..Params::default() };
        assert!(refused(Params { drop_fraction: Some(0.1), ..soft.clone() }).contains("drop_fraction"));
        assert!(refused(Params { soft_bound: Some(0.1), ..Params::default() }).contains("soft_bound"));
        assert!(refused(Params { pattern: Pattern::FanIn, ..soft.clone() }).contains("pattern"));
        assert!(refused(Params { update_interval: Some(40), ..soft }).contains("update_interval"));
    }
}
