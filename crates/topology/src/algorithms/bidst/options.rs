//! Which options make sense, alone and together.

use super::{Allocation, CandidateRule, Flag, ImplicitForm, Params, Require, Score};
use crate::Context;
use crate::algorithms::AlgorithmError;

/// Options whose defaults come from the run, as they were settled.
pub(super) struct Settled {
    pub(super) interval: u64,
    pub(super) window: u64,
    pub(super) lambda: f64,
    pub(super) c: f64,
    pub(super) candidates: CandidateRule,
    pub(super) rho_psi: f64,
    pub(super) stationary: bool,
    pub(super) debias: bool,
}

/// Options without a value take it from the run.
pub(super) fn settle(p: &Params, context: &Context<'_>) -> Settled {
    let (literal, curvature) = (p.score == Score::Literal, p.score == Score::Curvature);
    // Rounded up, so that a decision comes just after an epoch's evaluation rather than just before it.
    let at_least_40_to_a_run = context.total_steps.div_ceil(40).max(1);
    let interval = p.update_interval.unwrap_or(context.steps_per_epoch.clamp(1, at_least_40_to_a_run));
    let lambda = p.lambda.unwrap_or(f64::from(context.weight_decay));
    Settled {
        interval,
        window: p.window.unwrap_or(interval.min(100)),
        lambda,
        c: p.implicit_coef.unwrap_or(1.0 / lambda),
        candidates: p.candidates.unwrap_or(if literal { CandidateRule::All } else { CandidateRule::Rotating }),
        rho_psi: p.rho_psi.unwrap_or(if literal { 1.0 } else { 0.0 }),
        stationary: p.stationary.unwrap_or(curvature),
        debias: p.debias.unwrap_or(curvature && p.average),
    }
}

/// Checks each option's range.
pub(super) fn ranges(require: Require, p: &Params, s: &Settled) -> Result<(), AlgorithmError> {
    let share = |value: f64| (0.0..=1.0).contains(&value);
    let natural = |value: f64| value.is_finite() && value >= 0.0;
    let regular = matches!(p.flag, Flag::Interval | Flag::IntervalAndDrift);
    require.that(s.interval > 0, "update_interval", s.interval, "must be at least 1 step")?;
    require.that(s.window > 0, "window", s.window, "must be at least 1 step")?;
    require.that(!regular || s.window <= s.interval, "window", s.window, "must not exceed `update_interval`")?;
    require.that(natural(s.lambda), "lambda", s.lambda, "must be a number from 0 up")?;
    require.that(p.implicit_coef.is_none_or(natural), "implicit_coef", s.c, "must be a number from 0 up")?;
    require.that(natural(p.candidate_ratio), "candidate_ratio", p.candidate_ratio, "must be a number from 0 up")?;
    let probes = p.probe_share > 0.0 && p.probe_share <= 1.0;
    require.that(probes, "probe_share", p.probe_share, "is a share of the batch, above 0 and up to 1")?;
    require.that(share(p.layer_floor), "layer_floor", p.layer_floor, "is a share of a layer's non-zeros, from 0 to 1")?;
    require.that(share(p.drift), "drift", p.drift, "is a share of the top-k, from 0 to 1")?;
    require.that(p.decisions > 0, "decisions", p.decisions, "must be at least 1; the algorithm `static` takes none")?;
    require.that(natural(p.temperature), "temperature", p.temperature, "must be a number from 0 up")?;
    require.that(share(s.rho_psi), "rho_psi", s.rho_psi, "is a share of a score, from 0 to 1")?;
    require.that(natural(p.beta) && p.beta > 0.0, "beta", p.beta, "must be a number above 0")
}

/// Refuses options that would be ignored or make no sense beside others.
pub(super) fn agreement(require: Require, p: &Params, s: &Settled) -> Result<(), AlgorithmError> {
    let implicit = matches!(p.score, Score::Bilevel | Score::Literal);
    let control = p.score.is_control();
    let no_lambda = "is the weight decay by default and must be above 0 for this score; set it, or `implicit_coef`";
    require.that(!implicit || s.c.is_finite(), "lambda", s.lambda, no_lambda)?;
    let no_lambda = "is the weight decay by default and must be above 0 for score = \"fixed_point\"; set it";
    require.that(p.score != Score::FixedPoint || s.lambda > 0.0, "lambda", s.lambda, no_lambda)?;
    let only = "belongs to score = \"bilevel\" and \"literal\"";
    require.that(implicit || p.implicit_coef.is_none(), "implicit_coef", s.c, only)?;
    require.that(implicit || p.implicit_form == ImplicitForm::B, "implicit_form", "\"A\"", only)?;
    require.that(implicit || !p.stored_weights, "stored_weights", true, only)?;
    let solved = "belongs to score = \"curvature\"; `fixed_point` implies it";
    require.that(!s.stationary || p.score == Score::Curvature, "stationary", true, solved)?;
    let noisy = "takes the noise off averaged gradients: it belongs to score = \"curvature\" with `average`";
    require.that(!s.debias || (p.score == Score::Curvature && p.average), "debias", true, noisy)?;
    let dense = "score = \"literal\" is dense by nature: leave this option out or set it to \"all\"";
    let all = s.candidates == CandidateRule::All;
    require.that(p.score != Score::Literal || all, "candidates", format!("{:?}", s.candidates), dense)?;
    let units = "only score = \"curvature\" with hysteresis has units in which layers can be compared";
    let comparable = p.score == Score::Curvature && p.hysteresis;
    require.that(p.allocation == Allocation::Layer || comparable, "allocation", "\"global\"", units)?;
    let plain = "the controls \"gradient\" and \"random\" know neither noise nor score memory";
    require.that(!control || p.temperature == 0.0, "temperature", p.temperature, plain)?;
    require.that(!control || s.rho_psi == 0.0, "rho_psi", s.rho_psi, plain)
}
