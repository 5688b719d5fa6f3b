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
//! * *Sparse to sparse.* Inactive positions are scored only if they are among the candidates, κ per non-zero, which are
//!   drawn anew after each decision, and only in the last steps before a decision. An ordinary step costs what a static
//!   one costs. (Guided stochastic exploration, Heddes et al. 2024, also samples; it does not compare drop with growth.)
//! * *Average before squaring.* The gradient in the scores is the mean ḡ over the window: the square of a minibatch
//!   gradient is mostly its variance, which says nothing about a weight.
//! * *One comparison.* Per layer the best candidate replaces the worst active position, and so on, while its score is
//!   higher (hysteresis) and up to a cap (the drop fraction). Uncapped this is top-k of ψ, ties in favour of the
//!   incumbent, then of the lower index. A candidate without any evidence (score ≤ 0) never grows.
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

mod candidates;
mod controls;
#[cfg(test)]
mod hypergradient;
mod layer;
mod noise;
mod options;
mod window;

use super::{AlgorithmError, Card, Require};
use crate::rng::{Purpose, Streams};
use crate::schedule::{self, DropFraction, DropSchedule, Times};
use crate::select::{self, Offer, Swaps};
use crate::start;
use crate::state::{self, State, StateError};
use crate::{Algorithm, Budget, Change, Context, LayerView, Needs, Probe};
use serde::{Deserialize, Serialize};
use layer::Layer;
use options::Settled;
use window::Evidence;

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "bidst",
    summary: "swap weights by bi-level scores of active positions and a few candidates",
    paper: "Ji et al., Advancing dynamic sparse training by exploring optimization opportunities, ICML 2024",
    dense: false,
    start: start::allotted,
};

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
    /// Whether the noise of the averaged gradient, h/(batch size · window), is taken off its square before a candidate is
    /// compared, so that no signal counts as no evidence (`curvature` with averaging only). Default true there.
    pub debias: Option<bool>,
    /// Steps before a decision in which candidates are probed. Default min(update interval, 100).
    pub window: Option<u64>,
    /// Which inactive positions are scored: `rotating`, `random` or `all`. Default `rotating`; `all` for `literal`.
    pub candidates: Option<CandidateRule>,
    /// Candidates per non-zero (κ). Default 1.
    pub candidate_ratio: f64,
    /// Share of the batch on which candidates' gradients are computed. Default 1.
    pub probe_share: f32,
    /// Whether layers keep their number of non-zeros (`layer`) or compete (`global`, `curvature` only). Default `layer`.
    pub allocation: Allocation,
    /// Share of its first non-zeros that a layer keeps when layers compete. Default 0.3.
    pub layer_floor: f64,
    /// Flag F, when the topology follows the scores. Default `interval+drift`.
    pub flag: Flag,
    /// Steps from one decision to the next. Default: the steps of an epoch, in short runs at most 1/40 of all steps,
    /// rounded up.
    pub update_interval: Option<u64>,
    /// Share of the top-k that must lie outside the mask for a decision to be taken. Default 0.05.
    pub drift: f64,
    /// Decisions of the flag `budget`. Default 24.
    pub decisions: u64,
    /// Share of the run after which the mask is frozen. Default 0.75.
    pub stop: f64,
    /// Largest share of the non-zeros replaced by the first decision. Default 0.3.
    pub drop_fraction: f64,
    /// How that share falls: `constant`, `cosine` or `step`. Default `cosine`.
    pub drop_schedule: DropSchedule,
    /// Whether a pair is swapped only if the candidate's score is higher; otherwise decisions fill their cap with any
    /// candidate that has evidence. Default true.
    pub hysteresis: bool,
    /// First temperature τ of the Gumbel noise, in standard deviations of the active scores; falls to 0 along a
    /// cosine. Default 0: no noise.
    pub temperature: f64,
    /// Share of a score that survives a decision (or a step, for `literal`). Default 0; 1 for `literal`.
    pub rho_psi: Option<f64>,
    /// Step size of the scores (β). Default 1.
    pub beta: f64,
    /// Whether inactive positions keep a value to come back with (`bilevel` and `literal`; dense). Default false.
    pub stored_weights: bool,
}

/// What positions are compared by; the formulas are in the [module's head](self).
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
    fn is_control(self) -> bool {
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

/// What competes for the non-zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allocation {
    /// The positions of a layer.
    #[default]
    Layer,
    /// The positions of all layers.
    Global,
}

/// When the topology follows the scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flag {
    /// Every update interval.
    #[serde(rename = "interval")]
    Interval,
    /// At the end of any window, if enough of the top-k lies outside the mask.
    #[serde(rename = "drift")]
    Drift,
    /// Every update interval, if enough of the top-k lies outside the mask. The uncapped top-k counts; the cap falls
    /// to 0 and would switch the flag off by itself.
    #[default]
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
            candidates: None,
            candidate_ratio: 1.0,
            probe_share: 1.0,
            allocation: Allocation::Layer,
            layer_floor: 0.3,
            flag: Flag::IntervalAndDrift,
            update_interval: None,
            drift: 0.05,
            decisions: 24,
            stop: 0.75,
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

struct Bidst {
    name: &'static str,
    params: Params,
    rule: Rule,
    candidate_rule: CandidateRule,
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
        let Settled { interval, window, lambda, c, candidates: candidate_rule, rho_psi, stationary, debias } = settled;
        let times = match p.flag {
            Flag::Interval | Flag::IntervalAndDrift => Times::every(interval, end),
            Flag::Drift => Times::every(window, end),
            Flag::Budget => Times::cosine(p.decisions, end),
        };
        let c_inactive = if p.implicit_form == ImplicitForm::A { 0.0 } else { c };
        Ok(Self {
            name,
            rule: Rule { score: p.score, c, c_inactive, lambda, stationary },
            candidate_rule,
            times,
            window,
            fraction,
            rho_psi,
            debias,
            batch_size: context.batch_size,
            streams: Streams::new(context.seed),
            started: false,
            layers: context.layers.iter().map(Layer::new).collect(),
            params,
        })
    }

    /// Candidates per layer of `nnz` non-zeros, before what there is limits them.
    fn wanted(&self, nnz: usize) -> usize {
        (self.params.candidate_ratio * nnz as f64).round() as usize
    }

    /// Draws candidates for the next window; after the last decision, frees everything.
    fn draw(&mut self, step: u64, layer: usize, active: &[u32]) {
        let wanted = self.wanted(active.len());
        let state = &mut self.layers[layer];
        if self.times.next(step + 1).is_some() {
            state.draw(self.candidate_rule, &self.streams, (layer, step), active, wanted);
        } else {
            state.free();
        }
    }

    /// What needs the first mask and weights, in the first step.
    fn start(&mut self, step: u64, views: &[LayerView<'_>]) {
        self.started = true;
        for (layer, view) in views.iter().enumerate() {
            self.draw(step, layer, view.active);
            let state = &mut self.layers[layer];
            if self.params.stored_weights {
                state.store_random(layer, view, &self.streams);
            }
            if self.params.score == Score::Literal {
                // ψ₀ is the first mask itself.
                state.psi = vec![0.0; state.len];
                view.active.iter().for_each(|&position| state.psi[position as usize] = 1.0);
            }
        }
    }

    /// Eq. 11 at every position of one layer.
    fn literal_step(&mut self, layer: usize, view: &LayerView<'_>, gradients: &[f32]) {
        let state = &mut self.layers[layer];
        let (rho, beta) = (self.rho_psi, self.params.beta);
        let mut active = view.active.iter().zip(view.weights).peekable();
        for (position, (psi, &g)) in state.psi.iter_mut().zip(gradients).enumerate() {
            let gradient = Evidence { mean: g.into(), square: f64::from(g) * f64::from(g) };
            let descent = match active.next_if(|(p, _)| **p as usize == position) {
                Some((_, &theta)) => self.rule.keep(theta.into(), gradient, 0.0),
                None => {
                    let theta = state.stored.get(position).copied().unwrap_or(0.0);
                    self.rule.grow(theta.into(), gradient, 0.0)
                }
            };
            *psi = (rho * f64::from(*psi) + beta * descent) as f32;
        }
    }

    /// ψ of one layer, before noise.
    fn scores(&mut self, layer: usize, view: &LayerView<'_>) -> Scores {
        let state = &mut self.layers[layer];
        if self.params.score == Score::Literal {
            let of = |positions| if state.psi.is_empty() { Vec::new() } else { select::pick(&state.psi, positions) };
            return Scores { keep: of(view.active), grow: of(&state.candidates) };
        }
        let window = &state.window;
        let (samples, h, beta) = (window.samples, window.curvature(self.batch_size), self.params.beta);
        let active = view.weights.iter().zip(window.active.evidence(samples));
        let mut keep: Vec<f32> =
            active.map(|(&theta, gradient)| (beta * self.rule.keep(theta.into(), gradient, h)) as f32).collect();
        let noise = if self.debias { h / (self.batch_size as f64 * samples as f64) } else { 0.0 };
        let candidates = state.candidates.iter().zip(window.candidates.evidence(samples));
        let grow = candidates.map(|(&position, gradient)| {
            let gradient = Evidence { square: gradient.square - noise, ..gradient };
            (beta * self.rule.grow(state.stored_at(position), gradient, h)) as f32
        });
        let grow = grow.collect();
        if self.rho_psi > 0.0 {
            state.psi.resize(keep.len(), 0.0);
            keep.iter_mut().zip(&state.psi).for_each(|(score, &psi)| *score += self.rho_psi as f32 * psi);
        }
        Scores { keep, grow }
    }

    /// The scores that enter a decision: with noise or, without, less the candidates that have no evidence.
    fn race(&self, step: u64, layer: usize, view: &LayerView<'_>, scores: &Scores) -> Scores {
        let mut race = scores.clone();
        let tau = self.params.temperature * schedule::cosine(step, self.fraction.end);
        if tau > 0.0 {
            let key = self.streams.key(Purpose::Gumbel, layer as u64, step);
            race.add_noise(tau, key, view.active, &self.layers[layer].candidates);
        } else if !self.params.score.is_control() {
            race.grow.iter_mut().filter(|score| **score <= 0.0).for_each(|score| *score = f32::NAN);
        }
        race
    }

    /// Non-zeros below which competition between layers may not push a layer.
    fn floor(&self, layer: &Layer) -> usize {
        (self.params.layer_floor * layer.nnz as f64).ceil() as usize
    }

    /// The rule: capped swaps of the worst active positions for the best candidates, per layer or between layers.
    fn compete(&self, step: u64, views: &[LayerView<'_>], race: &[Scores]) -> Vec<Change> {
        let worth =
            |grow: f32, keep: f32| if self.params.hysteresis { select::better(grow, keep) } else { !grow.is_nan() };
        let offers = race.iter().zip(&self.layers).map(|(Scores { keep, grow }, layer)| {
            let cap = self.fraction.count(step, keep.len());
            Offer { keep, grow, cap, floor: self.floor(layer) }
        });
        let swaps: Vec<Swaps> = match self.params.allocation {
            Allocation::Layer => offers.map(|o| select::exchange(o.keep, o.grow, o.cap, worth)).collect(),
            Allocation::Global => select::exchange_between(&offers.collect::<Vec<_>>(), worth),
        };
        let changes = swaps.iter().zip(views).zip(&self.layers).map(|((swaps, view), layer)| Change {
            dropped: select::pick(view.active, &swaps.dropped),
            grown: select::pick(&layer.candidates, &swaps.grown),
            ..Change::default()
        });
        changes.collect()
    }

    /// Flag F: whether enough of the top-k lies outside the mask. The capped swaps are a part of that.
    fn accepts(&self, changes: &[Change], race: &[Scores]) -> bool {
        if !matches!(self.params.flag, Flag::Drift | Flag::IntervalAndDrift) {
            return true;
        }
        let nnz: usize = race.iter().map(|layer| layer.keep.len()).sum();
        let enough = |outside: usize| outside as f64 >= self.params.drift * nnz as f64;
        let swaps = changes.iter().map(|change| change.grown.len()).sum();
        enough(swaps) || (!self.params.score.is_control() && enough(self.outside(race)))
    }

    /// How many of the uncapped top-k lie outside the mask.
    fn outside(&self, race: &[Scores]) -> usize {
        match self.params.allocation {
            Allocation::Layer => race.iter().map(|layer| select::intruders(&layer.keep, &layer.grow)).sum(),
            Allocation::Global => {
                let keep: Vec<f32> = race.iter().flat_map(|layer| &layer.keep).copied().collect();
                let grow: Vec<f32> = race.iter().flat_map(|layer| &layer.grow).copied().collect();
                select::intruders(&keep, &grow)
            }
        }
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
                Probe::Dense { gradients } if self.params.score == Score::Literal => {
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
        let entrants = views.iter().zip(&scores).enumerate();
        let race: Vec<Scores> = entrants.map(|(layer, (view, scores))| self.race(step, layer, view, scores)).collect();
        let mut changes =
            if self.params.score.is_control() { self.control(step, views, &race) } else { self.compete(step, views, &race) };
        if !self.accepts(&changes, &race) {
            changes.fill(Change::default());
        }
        for (layer, (view, scores)) in views.iter().zip(scores).enumerate() {
            let state = &mut self.layers[layer];
            state.exchange_values(view, &mut changes[layer]);
            if self.rho_psi > 0.0 && self.params.score != Score::Literal {
                state.remember(view, &changes[layer], scores);
            }
            self.draw(step, layer, &changes[layer].applied_to(view.active));
        }
        changes
    }

    fn budget(&self, _step: u64) -> Budget {
        match self.params.allocation {
            Allocation::Layer => Budget::PerLayer,
            Allocation::Global => Budget::Total,
        }
    }

    fn dense_bytes(&self) -> usize {
        let literal = usize::from(self.params.score == Score::Literal);
        let accumulators = if literal == 1 { 0 } else { 1 + usize::from(!self.params.average) };
        let words = |layer: &Layer| {
            let inactive = layer.len.saturating_sub(layer.nnz);
            let all = self.candidate_rule == CandidateRule::All;
            let candidates = if all { inactive } else { self.wanted(layer.nnz).min(inactive) };
            candidates * (1 + accumulators) + layer.len * (literal + usize::from(self.params.stored_weights))
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
    use crate::LayerSpec;

    fn refusal(options: &str) -> String {
        built(options, 5e-4).err().map_or_else(|| panic!("`{options}` was accepted"), |error| error.to_string())
    }

    fn built(options: &str, weight_decay: f32) -> Result<Bidst, AlgorithmError> {
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
    fn a_candidate_that_saw_only_noise_is_no_evidence_once_the_noise_is_taken_off() {
        // Minibatch gradients ±1 at the active positions: variance 2 over two steps, so the mean of two has 1.
        let grown = |options: &str, gradient: f32| {
            let mut bidst = built(&format!("candidate_ratio = 0.05\nwindow = 2\n{options}"), 5e-4).unwrap();
            let active: Vec<u32> = (0..20).collect();
            let view = |gradients: &'static [f32]| LayerView {
                active: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
                weights: &[0.0; 20],
                gradients,
                momentum: &[0.0; 20],
                probe: Probe::None,
            };
            bidst.draw(0, 0, &active);
            let candidate = [gradient];
            for gradients in [&[1.0; 20], &[-1.0; 20]] {
                let probe = Probe::Candidates { index: &[], gradients: &candidate };
                bidst.layers[0].watch(&LayerView { probe, ..view(gradients) }, false);
            }
            bidst.scores(0, &view(&[0.0; 20])).grow[0]
        };
        assert!(grown("debias = false", 0.9) > 0.0);
        assert!(grown("", 0.9) < 0.0);
        assert!(grown("", 1.1) > 0.0);
    }

    #[test]
    fn options_without_a_value_take_it_from_the_run() {
        let bidst = built("", 5e-4).unwrap();
        assert_eq!((bidst.next_decision(0), bidst.window), (Some(100), 100));
        assert!((bidst.rule.c - 2000.0).abs() < 1e-3);
        assert_eq!(bidst.dense_bytes(), 20 * 8);
        assert_eq!(built("update_interval = 30", 5e-4).unwrap().window, 30);
        assert_eq!(built("score = 'literal'", 5e-4).unwrap().candidate_rule, CandidateRule::All);
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
        assert!((3001..4000).all(|step| bidst.needs(step, 0) == Needs::Active));
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
            ("score = 'best'", "best"),
        ] {
            let message = refusal(options);
            assert!(message.contains(named), "{message}");
        }
        assert!(built("score = 'bilevel'", 0.0).err().unwrap().to_string().contains("lambda"));
        assert!(built("score = 'bilevel'\nimplicit_coef = 0.0", 0.0).is_ok());
    }

    #[test]
    fn noise_fades_to_nothing_at_the_end_of_exploration() {
        let bidst = built("temperature = 0.5", 5e-4).unwrap();
        let active: Vec<u32> = (0..20).collect();
        let keep: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let view = LayerView { active: &active, weights: &keep, gradients: &keep, momentum: &keep, probe: Probe::None };
        let moved = |step| {
            let race = bidst.race(step, 0, &view, &Scores { keep: keep.clone(), grow: Vec::new() });
            race.keep.iter().zip(&keep).map(|(noisy, score)| (noisy - score).abs()).sum::<f32>()
        };
        assert!(moved(100) > 1.0);
        assert!(moved(2999) < 1e-4 && moved(3000) == 0.0);
    }
}
