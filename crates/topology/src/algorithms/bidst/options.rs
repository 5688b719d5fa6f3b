//! The options, their defaults, and which of them make sense, alone and together.

use crate::Context;
use crate::algorithms::{AlgorithmError, Require};
use crate::schedule::DropSchedule;
use serde::{Deserialize, Serialize};

/// Options of BiDST. Those without a value take it from the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// What positions are compared by. Default `curvature`.
    pub score: Score,
    /// Implicit term at inactive positions: `A` (none) or `B`. Only `bilevel` and `literal` know A. Default `B`.
    pub implicit_form: ImplicitForm,
    /// Coefficient c of the implicit term of `bilevel` and `literal`; 0 switches it off. Default 1/`lambda`.
    pub implicit_coef: Option<f64>,
    /// λ of the lower level, as the scores see it. Default: the weight decay.
    pub lambda: Option<f64>,
    /// Whether gradients are averaged over the window before they are squared. Default true.
    pub average: bool,
    /// Whether active weights are taken to be where the lower level leaves them, g = −λθ, instead of by their measured
    /// gradients, whose noise drowns the direct term θ·g (`curvature` only). Default true there.
    pub stationary: Option<bool>,
    /// Whether the noise of the averaged gradient, h/(probed images · window), is taken off its square before a
    /// candidate is compared, so that no signal counts as no evidence (`curvature` with averaging only). Default true there.
    pub debias: Option<bool>,
    /// Steps before a decision in which candidates are probed and the curvature is measured. Default min(update interval,
    /// 100); without candidates min(update interval, 10).
    pub window: Option<u64>,
    /// Whether random positions get the swaps that candidates leave, to be judged at the next decision like any weight.
    /// Default: true for `curvature` with `stationary`, unless `candidates`, `candidate_ratio`, `window` or a `flag` of drift
    /// is given.
    pub trials: Option<bool>,
    /// Which positions are tried: `preferential` or `uniform`. Default `preferential`.
    pub trial_rule: TrialRule,
    /// How many times its size a weight on trial counts with at the next decision, for it is still growing. Default 2.
    pub trial_growth: f64,
    /// Which inactive positions are scored: `rotating`, `random` or `all`. Default `rotating`; `all` for `literal`.
    pub candidates: Option<CandidateRule>,
    /// Candidates per non-zero (κ). Default 1; 0 with `trials`.
    pub candidate_ratio: Option<f64>,
    /// Share of the batch on which candidates' gradients are computed, which the engine rounds up to blocks of 16 images or,
    /// where planes are narrow, of more. Default 1.
    pub probe_share: f32,
    /// What competes for non-zeros: the positions of a layer (`layer`), of layers in which a weight takes as many
    /// multiply-adds (`equal-cost`), or of all (`global`); the last two with `curvature` only. Default `layer`; `equal-cost`
    /// with `trials`.
    pub allocation: Option<Competition>,
    /// Share of its first non-zeros that a layer keeps when layers compete. Default 0.3.
    pub layer_floor: f64,
    /// Flag F, when the topology follows the scores. Default `interval+drift`; `interval` with `trials`.
    pub flag: Option<Flag>,
    /// Steps from one decision to the next. Default: 50 with `trials`, else the steps of an epoch; in short runs at most
    /// 1/40 of all steps, rounded up.
    pub update_interval: Option<u64>,
    /// Share of the top-k that must lie outside the mask for a decision to be taken. Default 0.05.
    pub drift: f64,
    /// Decisions of the flag `budget`. Default 24.
    pub decisions: u64,
    /// Share of the run after which the mask is frozen. Default 0.9.
    pub stop: f64,
    /// Largest share of the non-zeros replaced by the first decision. Default 0.3.
    pub drop_fraction: f64,
    /// How that share falls: `constant`, `cosine` or `step`. Default `cosine`.
    pub drop_schedule: DropSchedule,
    /// Whether a pair is swapped only if the candidate's score is higher; otherwise decisions fill their cap with any
    /// candidate that has evidence. Default true.
    pub hysteresis: bool,
    /// First temperature τ of the Gumbel noise, in standard deviations of the active scores; falls to 0 along a
    /// cosine. It may lift a candidate without evidence. Default 0: no noise.
    pub temperature: f64,
    /// Share of a score that survives a decision (or a step, for `literal`). Default 0; 1 for `literal`.
    pub rho_psi: Option<f64>,
    /// Step size of the scores (β). Default 1.
    pub beta: f64,
    /// Whether inactive positions keep a value to come back with (`bilevel` and `literal`; dense). Default false.
    pub stored_weights: bool,
}

/// What positions are compared by; the formulas are in the [module's head](super).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Change of the loss to second order, curvature per layer from the Fisher diagonal.
    #[default]
    Curvature,
    /// Eq. 11 on gradients averaged over the window.
    Bilevel,
    /// Its drift at a lower-level optimum.
    FixedPoint,
    /// Eq. 11 on minibatch gradients, in every step and at every position.
    Literal,
    /// Control: drop by magnitude, grow by |ḡ| without comparison. With all candidates and a window of 1 it is RigL.
    Gradient,
    /// Control: drop by magnitude, grow random candidates. With all candidates it is SET.
    Random,
}

impl Score {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Gradient | Self::Random)
    }
}

/// The implicit term at inactive positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImplicitForm {
    /// The chain rule: none.
    A,
    /// The published closed form: −c·g².
    #[default]
    B,
}

/// Which inactive positions are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateRule {
    /// The next ones of a fixed random order, so that every position has its turn.
    Rotating,
    /// Uniformly random ones.
    Random,
    /// All of them: a dense gradient.
    All,
}

/// Which inactive positions are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialRule {
    /// Random ones, by what their outputs and inputs carry: with a chance in proportion to the product of the two sums of
    /// weight magnitudes.
    Preferential,
    /// Uniformly random ones.
    Uniform,
}

/// What competes for the non-zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Competition {
    /// The positions of a layer.
    Layer,
    /// The positions of all layers in which a weight takes as many multiply-adds, so that their sum stays what it was.
    EqualCost,
    /// The positions of all layers.
    Global,
}

impl Competition {
    fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::EqualCost => "equal-cost",
            Self::Global => "global",
        }
    }
}

/// When the topology follows the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flag {
    /// Every update interval.
    #[serde(rename = "interval")]
    Interval,
    /// At the end of any window, if enough of the top-k lies outside the mask.
    #[serde(rename = "drift")]
    Drift,
    /// Every update interval, if enough of the top-k lies outside the mask. The uncapped top-k counts; the cap falls
    /// to 0 and would switch the flag off by itself.
    #[serde(rename = "interval+drift")]
    IntervalAndDrift,
    /// A fixed number of decisions, more densely early.
    #[serde(rename = "budget")]
    Budget,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            score: Score::Curvature,
            implicit_form: ImplicitForm::B,
            implicit_coef: None,
            lambda: None,
            average: true,
            stationary: None,
            debias: None,
            window: None,
            trials: None,
            trial_rule: TrialRule::Preferential,
            trial_growth: 2.0,
            candidates: None,
            candidate_ratio: None,
            probe_share: 1.0,
            allocation: None,
            layer_floor: 0.3,
            flag: None,
            update_interval: None,
            drift: 0.05,
            decisions: 24,
            stop: 0.9,
            drop_fraction: 0.3,
            drop_schedule: DropSchedule::Cosine,
            hysteresis: true,
            temperature: 0.0,
            rho_psi: None,
            beta: 1.0,
            stored_weights: false,
        }
    }
}

/// Options whose defaults come from the run, as they were settled.
pub(super) struct Settled {
    pub(super) interval: u64,
    pub(super) window: u64,
    pub(super) lambda: f64,
    pub(super) c: f64,
    pub(super) trials: bool,
    pub(super) candidates: CandidateRule,
    pub(super) candidate_ratio: f64,
    pub(super) allocation: Competition,
    pub(super) flag: Flag,
    pub(super) rho_psi: f64,
    pub(super) stationary: bool,
    pub(super) debias: bool,
}

impl Settled {
    fn unprobed(&self) -> bool {
        unprobed(self.candidates, self.candidate_ratio)
    }
}

/// Whether no gradient is asked for at zeros.
fn unprobed(candidates: CandidateRule, ratio: f64) -> bool {
    candidates != CandidateRule::All && ratio == 0.0
}

/// Options without a value take it from the run.
pub(super) fn settle(p: &Params, context: &Context<'_>) -> Settled {
    let (literal, curvature) = (p.score == Score::Literal, p.score == Score::Curvature);
    let drifting = matches!(p.flag, Some(Flag::Drift | Flag::IntervalAndDrift));
    let probing = p.candidates.is_some() || p.candidate_ratio.is_some() || p.window.is_some() || drifting;
    let stationary = p.stationary.unwrap_or(curvature);
    let trials = p.trials.unwrap_or(curvature && stationary && !probing);
    // Rounded up, so that a decision comes just after an epoch's evaluation rather than just before it.
    let at_least_40_to_a_run = context.total_steps.div_ceil(40).max(1);
    let usual = if trials { 50 } else { context.steps_per_epoch };
    let interval = p.update_interval.unwrap_or(usual.clamp(1, at_least_40_to_a_run));
    let lambda = p.lambda.unwrap_or(f64::from(context.weight_decay));
    let candidate_ratio = p.candidate_ratio.unwrap_or(if trials { 0.0 } else { 1.0 });
    let candidates = p.candidates.unwrap_or(if literal { CandidateRule::All } else { CandidateRule::Rotating });
    let unprobed = unprobed(candidates, candidate_ratio);
    let competes = trials && curvature && p.hysteresis;
    Settled {
        interval,
        // The curvature of a layer is a mean over its weights, for which few steps do.
        window: p.window.unwrap_or(interval.min(if unprobed { 10 } else { 100 })),
        lambda,
        c: p.implicit_coef.unwrap_or(1.0 / lambda),
        trials,
        candidate_ratio,
        allocation: p.allocation.unwrap_or(if competes { Competition::EqualCost } else { Competition::Layer }),
        flag: p.flag.unwrap_or(if trials { Flag::Interval } else { Flag::IntervalAndDrift }),
        candidates,
        rho_psi: p.rho_psi.unwrap_or(if literal { 1.0 } else { 0.0 }),
        stationary,
        debias: p.debias.unwrap_or(curvature && p.average),
    }
}

/// Checks each option's range.
pub(super) fn ranges(require: Require, p: &Params, s: &Settled) -> Result<(), AlgorithmError> {
    let share = |value: f64| (0.0..=1.0).contains(&value);
    let natural = |value: f64| value.is_finite() && value >= 0.0;
    let regular = matches!(s.flag, Flag::Interval | Flag::IntervalAndDrift);
    require.that(s.interval > 0, "update_interval", s.interval, "must be at least 1 step")?;
    require.that(s.window > 0, "window", s.window, "must be at least 1 step")?;
    require.that(!regular || s.window <= s.interval, "window", s.window, "must not exceed `update_interval`")?;
    require.that(natural(s.lambda), "lambda", s.lambda, "must be a number from 0 up")?;
    require.that(p.implicit_coef.is_none_or(natural), "implicit_coef", s.c, "must be a number from 0 up")?;
    require.that(natural(s.candidate_ratio), "candidate_ratio", s.candidate_ratio, "must be a number from 0 up")?;
    let probes = p.probe_share > 0.0 && p.probe_share <= 1.0;
    require.that(probes, "probe_share", p.probe_share, "is a share of the batch, above 0 and up to 1")?;
    let grows = natural(p.trial_growth) && p.trial_growth > 0.0;
    require.that(grows, "trial_growth", p.trial_growth, "must be a number above 0")?;
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
    require.that(s.allocation == Competition::Layer || comparable, "allocation", format!("{:?}", s.allocation.name()), units)?;
    let watched = "needs candidates, whose scores it looks at: set `candidate_ratio`";
    let watches = matches!(s.flag, Flag::Drift | Flag::IntervalAndDrift);
    require.that(!(s.trials && watches && s.unprobed()), "flag", "\"drift\"", watched)?;
    let on_trial = "judges weights by what training made of them: it belongs to score = \"curvature\", \"stationary\" at that, \
                    and \"fixed_point\"";
    let by_weight = s.stationary || p.score == Score::FixedPoint;
    require.that(!s.trials || by_weight, "trials", true, on_trial)?;
    let plain = "the controls \"gradient\" and \"random\" know neither noise nor score memory";
    require.that(!control || p.temperature == 0.0, "temperature", p.temperature, plain)?;
    require.that(!control || s.rho_psi == 0.0, "rho_psi", s.rho_psi, plain)
}

#[cfg(test)]
mod tests {
    use super::super::tests::built;
    use super::*;
    use crate::Algorithm;

    fn refusal(options: &str) -> String {
        built(options, 5e-4).err().map_or_else(|| panic!("`{options}` was accepted"), |error| error.to_string())
    }

    #[test]
    fn options_without_a_value_take_it_from_the_run() {
        let bidst = built("", 5e-4).unwrap();
        assert_eq!((bidst.next_decision(0), bidst.window, bidst.trials), (Some(50), 10, true));
        assert!((bidst.rule.c - 2000.0).abs() < 1e-3);
        assert_eq!(bidst.state_bytes(), 20 * 4 + 6 * 4);
        let bidst = built("candidate_ratio = 1.0", 5e-4).unwrap();
        assert_eq!((bidst.next_decision(0), bidst.window, bidst.trials), (Some(100), 100, false));
        assert_eq!(bidst.state_bytes(), 20 * 12);
        assert_eq!(built("candidates = 'random'\nupdate_interval = 30", 5e-4).unwrap().window, 30);
        assert_eq!(built("score = 'literal'", 5e-4).unwrap().candidate_rule, CandidateRule::All);
    }

    #[test]
    fn contradictory_options_are_refused_by_name() {
        for (options, named) in [
            ("implicit_coef = 1.0", "implicit_coef"),
            ("implicit_form = 'A'", "implicit_form"),
            ("stored_weights = true", "stored_weights"),
            ("score = 'bilevel'\nstationary = true", "stationary"),
            ("average = false\ndebias = true", "debias"),
            ("score = 'literal'\ncandidates = 'random'", "candidates"),
            ("score = 'bilevel'\nallocation = 'global'", "allocation"),
            ("score = 'random'\ntemperature = 0.1", "temperature"),
            ("window = 101", "window"),
            ("candidate_ratio = -1.0", "candidate_ratio"),
            ("probe_share = 0.0", "probe_share"),
            ("beta = nan", "beta"),
            ("trial_growth = 0.0", "trial_growth"),
            ("trials = true\nscore = 'bilevel'", "trials"),
            ("trials = true\nstationary = false", "trials"),
            ("trials = true\nflag = 'drift'", "flag"),
            ("score = 'fixed_point'\nallocation = 'equal-cost'", "equal-cost"),
            ("score = 'best'", "best"),
        ] {
            let message = refusal(options);
            assert!(message.contains(named), "{message}");
        }
        assert!(built("score = 'bilevel'", 0.0).err().unwrap().to_string().contains("lambda"));
        assert!(built("score = 'bilevel'\nimplicit_coef = 0.0", 0.0).is_ok());
    }
}
