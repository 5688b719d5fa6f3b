//! What it costs to move the pattern: the decision itself, the gradients it needs, and the step after it.

use bidst_topology::{Context, Needs, algorithms};

use super::{Bench, median};
use crate::config::{Algorithm, Config, any_run};
use crate::error::TrainError;
use crate::metrics::DecisionRecord;

/// Steps of a run of 160 epochs of CIFAR-10 in batches of 128.
const STEPS_OF_A_RUN: u64 = 160 * 391;
/// Steps that are taken before a decision; those before them are skipped.
const BEFORE: u64 = 3;
/// Steps that are taken after a decision.
const AFTER: u64 = 2;

/// Cost of one algorithm. Times are medians of seconds; *extra* is beyond a step of a static pattern next to it.
#[derive(Clone, Debug)]
pub struct UpdateCost {
    /// Steps from one decision to the next, on average; `None` without decisions.
    pub interval: Option<f64>,
    /// Decisions that were measured.
    pub decisions: usize,
    /// Weights that a decision replaced or reset, on average.
    pub moved: f64,
    /// Share of the steps between two decisions that deliver gradients at zeros.
    pub probing: f64,
    /// A step of the static pattern.
    pub static_s: f64,
    /// Extra of an ordinary step without such gradients; `None` if none was seen, here and below.
    pub plain_s: Option<f64>,
    /// Extra of an ordinary step with such gradients.
    pub probe_s: Option<f64>,
    /// Scores and selection, in a decision.
    pub select_s: Option<f64>,
    /// Checking and applying the change: patterns, values and momentum.
    pub apply_s: Option<f64>,
    /// Rebuilding the kernels' index streams, in the step after it.
    pub rebuild_s: Option<f64>,
    /// Extra of the whole step with the decision, gradients at zeros and selection included.
    pub decision_s: Option<f64>,
    /// Extra of the first step after it, the rebuilding included.
    pub after_s: Option<f64>,
}

impl UpdateCost {
    /// Seconds that a decision itself takes: scores, selection, the change, and new index streams.
    pub fn itself_s(&self) -> Option<f64> {
        Some(self.select_s? + self.apply_s? + self.rebuild_s.unwrap_or(0.0))
    }

    /// Extra seconds of a decision and the step after it.
    pub fn of_a_decision_s(&self) -> f64 {
        self.decision_s.unwrap_or(0.0) + self.after_s.unwrap_or(0.0)
    }

    /// Extra seconds of a step between two decisions, with and without gradients at zeros.
    pub fn between_s(&self) -> f64 {
        self.probe_s.unwrap_or(0.0) * self.probing + self.plain_s.unwrap_or(0.0) * (1.0 - self.probing)
    }

    /// Extra seconds of a step, averaged over all steps.
    pub fn per_step_s(&self) -> f64 {
        match self.interval {
            None => self.between_s(),
            Some(interval) => (self.between_s() * (interval - 1.0) + self.of_a_decision_s()) / interval,
        }
    }
}

/// Trains with the algorithm of `config` and, step by step in turn, with a static pattern, through `decisions` decisions.
/// The steps are real, but most of those between two decisions are skipped. `clock` tells the seconds that have passed: on
/// the wall or, steadier where others use the machine too, of the processor.
///
/// # Errors
/// As [`Bench::new`] and [`Bench::step`].
pub fn update_cost(mut config: Config, decisions: usize, clock: fn() -> f64) -> Result<UpdateCost, TrainError> {
    let mut still = config.clone();
    still.algorithm = Algorithm { name: "static".to_owned(), parameters: toml::Table::new() };
    config.train.epochs = STEPS_OF_A_RUN.div_ceil(super::BATCHES as u64);
    let mut run = Run {
        moving: Bench::new(config)?,
        still: Bench::new(still)?,
        clock,
        behind_decision: false,
        counted: 0,
        samples: Samples::default(),
    };
    // The first decision warms up, and tells where the count of steps begins.
    if !run.pass_decision()? {
        run.pass_ordinary_steps()?;
    }
    run.samples = Samples::default();
    while run.samples.decision.len() < decisions && run.pass_decision()? {}
    if run.samples.decision.is_empty() {
        run.pass_ordinary_steps()?;
    }
    Ok(run.samples.cost())
}

/// Whether the first decision comes at another step if an epoch has other than the usual number of steps.
pub fn follows_the_epoch(config: &Config) -> bool {
    let first_decision = |steps_per_epoch| {
        let run = Context { steps_per_epoch, total_steps: STEPS_OF_A_RUN, ..any_run(config) };
        let Algorithm { name, parameters } = &config.algorithm;
        algorithms::build(name, parameters, &run).ok()?.next_decision(0)
    };
    first_decision(391) != first_decision(100)
}

/// The algorithm at work beside a static pattern, and what has been seen of it.
struct Run {
    moving: Bench,
    still: Bench,
    clock: fn() -> f64,
    /// Whether the last step decided.
    behind_decision: bool,
    /// The steps before this one have been counted.
    counted: u64,
    samples: Samples,
}

/// Extras of steps by their kind, in seconds.
#[derive(Default)]
struct Samples {
    still: Vec<f64>,
    plain: Vec<f64>,
    probe: Vec<f64>,
    decision: Vec<f64>,
    select: Vec<f64>,
    apply: Vec<f64>,
    rebuild: Vec<f64>,
    after: Vec<f64>,
    /// Weights moved by all decisions.
    moved: u64,
    /// Steps, skipped ones included.
    steps: u64,
    /// Those of them that delivered gradients at zeros, decisions aside.
    probing: u64,
}

impl Run {
    /// Goes on to just behind the next decision; false if none is to come.
    fn pass_decision(&mut self) -> Result<bool, TrainError> {
        let trainer = &mut self.moving.trainer;
        let Some(next) = trainer.algorithm.next_decision(trainer.step) else { return Ok(false) };
        self.count_to(next);
        let trainer = &mut self.moving.trainer;
        trainer.step = trainer.step.max(next.saturating_sub(BEFORE));
        while self.moving.trainer.step <= next {
            self.pair()?;
        }
        for _ in 0..AFTER {
            let trainer = &self.moving.trainer;
            if trainer.algorithm.decides_at(trainer.step) {
                break;
            }
            self.pair()?;
        }
        Ok(true)
    }

    fn pass_ordinary_steps(&mut self) -> Result<(), TrainError> {
        self.count_to(self.counted + BEFORE + AFTER);
        (0..BEFORE + AFTER).try_for_each(|_| self.pair())
    }

    /// Counts the steps up to `last`, and which of those before it probe, as far as the algorithm knows now.
    fn count_to(&mut self, last: u64) {
        self.samples.probing += (self.counted..last).filter(|&step| self.probes_at(step)).count() as u64;
        self.samples.steps += last + 1 - self.counted;
        self.counted = last + 1;
    }

    /// Whether the algorithm asks for gradients at zeros.
    fn probes_at(&self, step: u64) -> bool {
        let trainer = &self.moving.trainer;
        (0..trainer.layers.len()).any(|layer| trainer.algorithm.needs(step, layer) != Needs::Active)
    }

    /// A step of each pattern.
    fn pair(&mut self) -> Result<(), TrainError> {
        let step = self.moving.trainer.step;
        let (probing, deciding) = (self.probes_at(step), self.moving.trainer.algorithm.decides_at(step));
        let started = (self.clock)();
        self.still.step()?;
        let between = (self.clock)();
        let (_, decided) = self.moving.train()?;
        let (still, samples) = (between - started, &mut self.samples);
        let extra = (self.clock)() - between - still;
        samples.still.push(still);
        match (deciding, self.behind_decision, probing) {
            (true, _, _) => {
                let spent = self.moving.trainer.mask_time;
                samples.decision.push(extra);
                samples.select.push(spent.select.as_secs_f64());
                samples.apply.push(spent.apply.as_secs_f64());
                let moved = |layer: &DecisionRecord| layer.dropped.max(layer.grown) + layer.reset;
                samples.moved += decided.layers.iter().map(moved).sum::<u64>();
            }
            (false, true, _) => {
                samples.after.push(extra);
                samples.rebuild.push(self.moving.trainer.network().timings().rebuild.as_secs_f64());
            }
            (false, false, true) => samples.probe.push(extra),
            (false, false, false) => samples.plain.push(extra),
        }
        self.behind_decision = deciding;
        Ok(())
    }
}

impl Samples {
    fn cost(self) -> UpdateCost {
        let decisions = self.decision.len();
        let ordinary = self.steps - decisions as u64;
        let seen = |samples: Vec<f64>| (!samples.is_empty()).then(|| median(samples));
        UpdateCost {
            interval: (decisions > 0).then(|| self.steps as f64 / decisions as f64),
            decisions,
            moved: self.moved as f64 / decisions.max(1) as f64,
            probing: if ordinary == 0 { 0.0 } else { self.probing as f64 / ordinary as f64 },
            static_s: median(self.still),
            plain_s: seen(self.plain),
            probe_s: seen(self.probe),
            select_s: seen(self.select),
            apply_s: seen(self.apply),
            rebuild_s: seen(self.rebuild),
            decision_s: seen(self.decision),
            after_s: seen(self.after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;

    fn cost(algorithm: &str, option: &str) -> UpdateCost {
        let mut config = config(algorithm);
        config.algorithm.parameters = option.parse().unwrap();
        update_cost(config, 2, || 0.0).unwrap()
    }

    #[test]
    fn an_algorithm_that_decides_every_tenth_step_has_an_interval_of_ten() {
        let cost = cost("set", "update_interval = 10");
        assert_eq!((cost.interval, cost.decisions, cost.probing), (Some(10.0), 2, 0.0));
        assert!(cost.moved > 0.0 && cost.select_s > Some(0.0) && cost.apply_s > Some(0.0) && cost.after_s.is_some());
        assert!(cost.plain_s.is_some() && cost.probe_s.is_none());
    }

    #[test]
    fn intervals_of_an_epoch_are_told_from_those_of_so_many_steps() {
        let follows = |algorithm: &str, options: &str| {
            let mut config = config(algorithm);
            config.algorithm.parameters = options.parse().unwrap();
            follows_the_epoch(&config)
        };
        assert!(follows("snfs", "") && follows("bidst", "candidates = 'all'"));
        assert!(!follows("rigl", "") && !follows("bidst", "") && !follows("snfs", "update_interval = 7"));
        assert!(!follows("static", ""));
    }

    #[test]
    fn steps_of_an_observation_window_are_told_from_the_others() {
        let cost = cost("bidst", "candidate_ratio = 1.0\nupdate_interval = 20\nwindow = 5");
        assert_eq!(cost.interval, Some(20.0));
        assert!((cost.probing - 4.0 / 19.0).abs() < 1e-9, "{cost:?}");
        assert!(cost.probe_s.is_some());
    }

    #[test]
    fn a_static_pattern_takes_no_decisions_and_probes_nothing() {
        let cost = cost("static", "");
        assert_eq!((cost.interval, cost.decisions, cost.probing, cost.decision_s), (None, 0, 0.0, None));
    }

    #[test]
    fn the_extra_of_a_step_weighs_ordinary_steps_and_decisions() {
        let cost = UpdateCost {
            interval: Some(100.0),
            decisions: 1,
            moved: 1.0,
            probing: 0.25,
            static_s: 1.0,
            plain_s: Some(0.0),
            probe_s: Some(0.1),
            select_s: None,
            apply_s: None,
            rebuild_s: None,
            decision_s: Some(0.4),
            after_s: Some(0.125),
        };
        assert!((cost.per_step_s() - (99.0 * 0.025 + 0.525) / 100.0).abs() < 1e-12);
    }
}
