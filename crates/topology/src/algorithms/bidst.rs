//! BiDST: the mask and the weights as one bi-level problem.
//!
//! Ji et al., "Advancing dynamic sparse training by exploring optimization opportunities", ICML 2024.
//!
//! Lower level: the weights minimise ℓ(m⊙θ) + λ/2·‖θ‖² for a given mask m; the optimiser with weight decay does this.
//! Upper level: the mask minimises ℓ(m⊙θ*(m)) with exactly k non-zeros, m = top-k(ψ) of real-valued scores ψ.
//! Implicit differentiation of the lower level with the Hessian dropped gives, with g = ∂ℓ/∂(m⊙θ) and c = 1/λ,
//!
//! ```text
//!     dℓ/dm = (θ − c·m⊙g)⊙g      form A, the chain rule
//!     dℓ/dm = (θ − c·g)⊙g        form B, the published closed form        ψ ← ψ − β·dℓ/dm      (Eq. 11)
//! ```
//!
//! The paper's code is not public. What it leaves open, and what we do:
//!
//! * *Let the lower level answer* (`trials`, the default). A score at a zero is a forecast from a gradient that has to be
//!   computed for it. A position in the mask is trained for nothing, and at the next decision its score is a measurement
//!   (of a weight that is still growing, so it counts with twice its size).
//!   So each decision puts random positions on trial, in the place of those with the lowest scores, and layers whose
//!   weights cost as much compete: what proves its worth more often gets more non-zeros. Positions whose output and
//!   input carry much already are tried more often.
//! * *Or forecast, sparsely* (`candidates`). Inactive positions are scored only if they are among the candidates, κ per
//!   non-zero, which are drawn anew after each decision, and only in the last steps before a decision. An ordinary step
//!   costs what a static one costs. (Guided stochastic exploration, Heddes et al. 2024, also samples; it does not compare
//!   drop with growth.)
//! * *Average before squaring.* The gradient in the scores is the mean ḡ over the window: the square of a minibatch
//!   gradient is mostly its variance, which says nothing about a weight.
//! * *One comparison.* Per layer the best candidate replaces the worst active position, and so on, while its score is
//!   higher (hysteresis) and up to a cap (the drop fraction). Uncapped this is top-k of ψ, ties in favour of the
//!   incumbent, then of the lower index. A candidate without any evidence (score ≤ 0) does not grow, unless noise
//!   lifts it.
//! * *The score*, a formula for an active position and one for a candidate, is one of these (see [`Score`]); θ is the
//!   weight at the decision, after that step's weight step:
//!
//! ```text
//!     curvature    ½h·θ² − θ·ḡ,     ½ḡ²/(h + λ)       default: loss change, with the Hessian's diagonal kept;
//!                  g = −λθ in θ·ḡ and ḡ² less its noise, unless `stationary` and `debias` are switched off
//!     bilevel      c·ḡ² − θ·ḡ,      c·ḡ²              Eq. 11 on averaged gradients
//!     fixed_point  2λ·θ²,           ḡ²/λ              its drift where the lower level is solved
//!     literal      ψ summed by Eq. 11 in every step, at every position; dense by nature
//!     gradient, random                                controls: RigL and SET with BiDST's schedule and candidates
//! ```
//!
//! * *Growth* starts at 0 with zero momentum, unless `stored_weights` keeps a dense θ, which form A needs to grow at all.
//!   Stored values are what a position had when it was dropped, at first random of the layer's scale; they do not decay.
//! * *Relaxation* is straight-through; optional Gumbel noise enters at decisions only.
//!
//! Here are the scores and the order of a decision. `scoring` makes ψ of a window, `decide` makes a change of ψ, `trials`
//! fills what it leaves.

mod candidates;
mod controls;
mod decide;
#[cfg(test)]
mod hypergradient;
mod layer;
mod noise;
mod options;
mod preference;
mod scoring;
mod trials;
mod window;

pub use options::{CandidateRule, Competition, Flag, ImplicitForm, Params, Score, TrialRule};

use super::{AlgorithmError, Card, Require};
use crate::rng::Streams;
use crate::schedule::{DropFraction, Times};
use crate::start;
use crate::state::{self, State, StateError};
use crate::{Algorithm, Budget, Change, Context, LayerSpec, LayerView, Needs, Probe};
use layer::Layer;
use options::Settled;
use std::collections::BTreeMap;
use window::Evidence;

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "bidst",
    summary: "swap weights by bi-level scores, measured where positions on trial are trained",
    paper: "Ji et al., Advancing dynamic sparse training by exploring optimization opportunities, ICML 2024",
    dense: false,
    start: start::allotted,
};

/// The scores as formulas of one position. `theta` is the weight (at a candidate the stored one, or 0), `h` the layer's
/// curvature.
#[derive(Clone, Copy, Debug)]
struct Rule {
    score: Score,
    /// c at active positions.
    c: f64,
    /// c at inactive positions: 0 in form A.
    c_inactive: f64,
    lambda: f64,
    /// See [`Params::stationary`].
    stationary: bool,
}

/// dℓ/dm at one position: the direct term θ·g and the implicit term −c·g².
fn hypergradient(theta: f64, gradient: Evidence, c: f64) -> f64 {
    theta * gradient.mean - c * gradient.square
}

impl Rule {
    /// What is lost with an active position.
    fn keep(&self, theta: f64, gradient: Evidence, h: f64) -> f64 {
        match self.score {
            Score::Curvature if self.stationary => (0.5 * h + self.lambda) * theta * theta,
            Score::Curvature => 0.5 * h * theta * theta - theta * gradient.mean,
            Score::Bilevel | Score::Literal => -hypergradient(theta, gradient, self.c),
            Score::FixedPoint => 2.0 * self.lambda * theta * theta,
            Score::Gradient | Score::Random => theta.abs(),
        }
    }

    /// What is gained with a candidate.
    fn grow(&self, theta: f64, gradient: Evidence, h: f64) -> f64 {
        match self.score {
            Score::Curvature => 0.5 * gradient.square / (h + self.lambda),
            Score::Bilevel | Score::Literal => -hypergradient(theta, gradient, self.c_inactive),
            Score::FixedPoint => gradient.square / self.lambda,
            Score::Gradient | Score::Random => gradient.mean.abs(),
        }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range or contradicts another.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    build_as(CARD.name, params, context)
}

/// BiDST, under whatever name.
pub(super) fn build_as(
    name: &'static str,
    params: Params,
    context: &Context<'_>,
) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    Ok(Box::new(Bidst::new(name, params, context)?))
}

/// The layers, grouped by what competes.
fn rivals(allocation: Competition, layers: &[LayerSpec]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, layer) in layers.iter().enumerate() {
        let group = match allocation {
            Competition::Layer => at,
            Competition::EqualCost => layer.uses,
            Competition::Global => 0,
        };
        groups.entry(group).or_default().push(at);
    }
    groups.into_values().collect()
}

struct Bidst {
    name: &'static str,
    params: Params,
    rule: Rule,
    /// See [`Params::trials`].
    trials: bool,
    candidate_rule: CandidateRule,
    candidate_ratio: f64,
    flag: Flag,
    /// Layers that compete with each other.
    rivals: Vec<Vec<usize>>,
    times: Times,
    window: u64,
    fraction: DropFraction,
    rho_psi: f64,
    debias: bool,
    batch_size: usize,
    streams: Streams,
    /// Whether the first candidates have been drawn.
    started: bool,
    layers: Vec<Layer>,
}

/// Scores of one layer, higher is better.
#[derive(Clone, Debug)]
struct Scores {
    /// Of the active positions.
    keep: Vec<f32>,
    /// Of the candidates.
    grow: Vec<f32>,
}

impl Bidst {
    fn new(name: &'static str, params: Params, context: &Context<'_>) -> Result<Self, AlgorithmError> {
        let require = Require(name);
        let p = &params;
        let end = require.stop(p.stop, context)?;
        let fraction = require.drop_fraction(p.drop_fraction, p.drop_schedule, end)?;
        let settled = options::settle(p, context);
        options::ranges(require, p, &settled)?;
        options::agreement(require, p, &settled)?;
        let Settled { interval, window, lambda, c, trials, candidate_ratio, flag, .. } = settled;
        let times = match flag {
            Flag::Interval | Flag::IntervalAndDrift => Times::every(interval, end),
            Flag::Drift => Times::every(window, end),
            Flag::Budget => Times::cosine(p.decisions, end),
        };
        let c_inactive = if p.implicit_form == ImplicitForm::A { 0.0 } else { c };
        Ok(Self {
            name,
            rule: Rule { score: p.score, c, c_inactive, lambda, stationary: settled.stationary },
            trials,
            candidate_rule: settled.candidates,
            candidate_ratio,
            flag,
            rivals: rivals(settled.allocation, context.layers),
            times,
            window,
            fraction,
            rho_psi: settled.rho_psi,
            debias: settled.debias,
            batch_size: context.batch_size,
            streams: Streams::new(context.seed),
            started: false,
            layers: context.layers.iter().map(Layer::new).collect(),
            params,
        })
    }

    /// Whether scores survive a decision.
    fn remembers(&self) -> bool {
        self.rho_psi > 0.0 && self.params.score != Score::Literal
    }
}

impl Algorithm for Bidst {
    fn name(&self) -> &'static str {
        self.name
    }

    fn needs(&self, step: u64, layer: usize) -> Needs<'_> {
        let candidates = self.layers[layer].candidates.as_slice();
        match self.params.score {
            Score::Literal if self.times.next(step).is_some() => Needs::Dense,
            Score::Literal | Score::Random => Needs::Active,
            _ if candidates.is_empty() || !self.times.in_window(step, self.window) => Needs::Active,
            _ if self.candidate_rule == CandidateRule::All => Needs::Dense,
            _ => Needs::Candidates(candidates),
        }
    }

    fn probe_share(&self) -> f32 {
        self.params.probe_share
    }

    fn observe(&mut self, step: u64, views: &[LayerView<'_>]) {
        if self.times.next(step).is_none() {
            return;
        }
        let scoring = self.started && self.times.in_window(step, self.window);
        if !self.started {
            self.start(step, views);
        }
        for (layer, view) in views.iter().enumerate() {
            match view.probe {
                Probe::Dense { gradients, .. } if self.params.score == Score::Literal => {
                    self.literal_step(layer, view, gradients);
                }
                _ if scoring => self.layers[layer].watch(view, !self.params.average),
                _ => {}
            }
        }
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.times.next(step)
    }

    fn update(&mut self, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let scores: Vec<Scores> = views.iter().enumerate().map(|(layer, view)| self.scores(layer, view)).collect();
        let remembered = if self.remembers() { scores.clone() } else { Vec::new() };
        let entrants = views.iter().zip(scores).enumerate();
        let race: Vec<Scores> = entrants.map(|(layer, (view, scores))| self.race(step, layer, view, scores)).collect();
        let mut changes =
            if self.params.score.is_control() { self.control(step, views, &race) } else { self.compete(step, views, &race) };
        if !self.accepts(&changes, &race) {
            changes.fill(Change::default());
        } else if self.trials {
            self.try_others(step, views, &race, &mut changes);
        }
        let mut remembered = remembered.into_iter();
        for (layer, (view, change)) in views.iter().zip(&mut changes).enumerate() {
            let state = &mut self.layers[layer];
            state.exchange_values(view, change);
            state.on_trial = if self.trials { change.grown.clone() } else { Vec::new() };
            if let Some(scores) = remembered.next() {
                state.remember(view, change, &scores);
            }
            self.draw(step, layer, &change.applied_to(view.active));
        }
        changes
    }

    fn budget(&self, _step: u64) -> Budget {
        if self.rivals.iter().all(|rivals| rivals.len() == 1) { Budget::PerLayer } else { Budget::Total }
    }

    fn most_candidates(&self, layer: usize) -> usize {
        let dense = self.candidate_rule == CandidateRule::All || self.params.score == Score::Random;
        if dense { 0 } else { self.candidates_of(&self.layers[layer]) }
    }

    fn state_bytes(&self) -> usize {
        let literal = self.params.score == Score::Literal;
        // Σg, and Σg² if minibatch gradients are squared one by one.
        let sums = if literal { 0 } else { 1 + usize::from(!self.params.average) };
        let tried = if self.trials { self.params.drop_fraction } else { 0.0 };
        let words = |layer: &Layer| {
            self.candidates_of(layer) * (1 + sums)
                + (tried * layer.nnz as f64).ceil() as usize
                + layer.nnz * (sums + usize::from(self.remembers()))
                + layer.len * (usize::from(literal) + usize::from(self.params.stored_weights))
        };
        size_of::<f32>() * self.layers.iter().map(words).sum::<usize>()
    }

    fn save(&self) -> State {
        let mut state = State::default();
        state.u64s.insert("started".into(), vec![self.started.into()]);
        self.layers.iter().enumerate().for_each(|(index, layer)| layer.save(index, &mut state));
        state
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let started = state::of_length("started", state.words("started")?, 1)?[0] != 0;
        let layers = self.layers.iter().enumerate().map(|(index, layer)| layer.loaded(index, state));
        self.layers = layers.collect::<Result<_, _>>()?;
        self.started = started;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On one layer of a hundred positions, in a run of 4000 steps.
    pub(super) fn built(options: &str, weight_decay: f32) -> Result<Bidst, AlgorithmError> {
        let layers = [LayerSpec::new("fc.weight", vec![10, 10], 20)];
        let context = Context {
            layers: &layers,
            total_steps: 4000,
            steps_per_epoch: 391,
            seed: 1,
            weight_decay,
            learning_rate: 0.1,
            momentum: 0.9,
            batch_size: 128,
        };
        Bidst::new(CARD.name, super::super::parse(CARD.name, &options.parse().unwrap())?, &context)
    }

    fn rule(score: Score) -> Rule {
        Rule { score, c: 1.0 / 0.01, c_inactive: 1.0 / 0.01, lambda: 0.01, stationary: false }
    }

    fn steady(mean: f64) -> Evidence {
        Evidence { mean, square: mean * mean }
    }

    #[test]
    fn the_fixed_point_trades_gradient_for_magnitude_at_root_two_lambda() {
        let rule = rule(Score::FixedPoint);
        let (theta, lambda) = (0.7, 0.01);
        let keep = rule.keep(theta, steady(0.0), 0.0);
        let even = std::f64::consts::SQRT_2 * lambda * theta;
        assert!(rule.grow(0.0, steady(1.001 * even), 0.0) > keep);
        assert!(rule.grow(0.0, steady(-0.999 * even), 0.0) < keep);
    }

    #[test]
    fn curvature_scores_are_changes_of_a_quadratic_loss() {
        let (h, theta, g, lambda) = (3.0, 0.4, -0.2, 0.01);
        let loss = |delta: f64| g * delta + 0.5 * h * delta * delta;
        let rule = rule(Score::Curvature);
        assert!((rule.keep(theta, steady(g), h) - loss(-theta)).abs() < 1e-12);
        let best = -g / (h + lambda);
        assert!((rule.grow(0.0, steady(g), h) + loss(best) + 0.5 * lambda * best * best).abs() < 1e-12);
    }

    #[test]
    fn a_stationary_weight_is_scored_as_if_weight_decay_balanced_its_gradient() {
        let (h, theta, lambda) = (3.0, 0.4, 0.01);
        let measured = rule(Score::Curvature).keep(theta, steady(-lambda * theta), h);
        let solved = Rule { stationary: true, ..rule(Score::Curvature) };
        assert!((solved.keep(theta, steady(77.0), h) - measured).abs() < 1e-12);
    }

    #[test]
    fn the_scoring_window_alone_asks_for_candidates() {
        let mut bidst = built("window = 10", 5e-4).unwrap();
        let active: Vec<u32> = (0..20).collect();
        let zeros = [0.0; 20];
        let view =
            LayerView { active: &active, weights: &zeros, gradients: &zeros, momentum: &zeros, probe: Probe::None };
        bidst.observe(0, &[view]);
        assert!((1..=90).all(|step| bidst.needs(step, 0) == Needs::Active));
        assert!((91..=100).all(|step| matches!(bidst.needs(step, 0), Needs::Candidates(c) if c.len() == 20)));
        assert_eq!(bidst.needs(101, 0), Needs::Active);
        assert!((3601..4000).all(|step| bidst.needs(step, 0) == Needs::Active));
    }
}
