//! When decisions fall and how much each may move.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the drop fraction falls over the exploration phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DropSchedule {
    /// It does not.
    Constant,
    /// From its first value to its last along half a cosine.
    #[default]
    Cosine,
    /// Its first value for three quarters of the exploration phase, half of it for the rest (MEST).
    Step,
}

/// ½(1 + cos(π·step/end)): 1 at step 0, 0 from `end` on.
pub fn cosine(step: u64, end: u64) -> f64 {
    if step >= end { 0.0 } else { 0.5 * (1.0 + (PI * step as f64 / end as f64).cos()) }
}

/// The share of a layer's non-zeros that a decision may replace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropFraction {
    /// At the first step, in [0, 1].
    pub initial: f64,
    /// What the cosine ends at, in [0, 1]; never more than `initial`.
    pub last: f64,
    /// How it falls.
    pub schedule: DropSchedule,
    /// The step at which the exploration phase ends.
    pub end: u64,
}

impl DropFraction {
    /// α at `step`.
    pub fn at(&self, step: u64) -> f64 {
        match self.schedule {
            DropSchedule::Constant => self.initial,
            DropSchedule::Cosine => {
                let last = self.last.min(self.initial);
                last + (self.initial - last) * cosine(step, self.end)
            }
            DropSchedule::Step if 4 * step < 3 * self.end => self.initial,
            DropSchedule::Step => self.initial / 2.0,
        }
    }

    /// ⌊α·nnz⌋ at `step`.
    pub fn count(&self, step: u64, nnz: usize) -> usize {
        (self.at(step) * nnz as f64).floor() as usize
    }
}

/// The decision points of a run. Step 0 is never one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Times {
    /// The multiples of `interval` in (0, stop).
    Every {
        /// Steps from one decision to the next, at least 1.
        interval: u64,
        /// The first step at which no decision is taken any more.
        stop: u64,
    },
    /// These steps, ascending.
    At(Vec<u64>),
}

impl Times {
    /// The multiples of `interval` (taken as at least 1) in (0, stop).
    pub fn every(interval: u64, stop: u64) -> Self {
        Self::Every { interval: interval.max(1), stop }
    }

    /// `count` decisions in (0, stop) whose density falls along half a cosine: the j-th is where
    /// t/stop + sin(π·t/stop)/π = j/(count + 1). Fewer if there are not that many steps.
    pub fn cosine(count: u64, stop: u64) -> Self {
        let mut times = Vec::new();
        for j in 1..=count.min(stop.saturating_sub(1)) {
            let share = j as f64 / (count + 1) as f64;
            let (mut low, mut high) = (0.0, 1.0);
            for _ in 0..60 {
                let middle = 0.5 * (low + high);
                if middle + (PI * middle).sin() / PI < share { low = middle } else { high = middle }
            }
            let earliest = times.last().map_or(1, |last| last + 1);
            times.push(((high * stop as f64).round() as u64).max(earliest));
        }
        times.retain(|&time| time < stop);
        Self::At(times)
    }

    /// The first decision point at or after `step`.
    pub fn next(&self, step: u64) -> Option<u64> {
        match self {
            Self::Every { interval, stop } => {
                let next = step.max(1).div_ceil(*interval).saturating_mul(*interval);
                (next < *stop).then_some(next)
            }
            Self::At(times) => times.get(times.partition_point(|&time| time < step)).copied(),
        }
    }

    /// Whether `step` is among the last `window` steps up to and including a decision point.
    pub fn in_window(&self, step: u64, window: u64) -> bool {
        self.next(step).is_some_and(|decision| decision - step < window)
    }
}

/// Regular decisions with a falling drop fraction: what SET and RigL share.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// When.
    pub times: Times,
    /// How much.
    pub fraction: DropFraction,
}

/// A number of non-zeros that falls along a cubic, fast at first and slowly at the end (Zhu and Gupta 2017): after the
/// j-th of n decisions, (1 − j/n)³ of the way is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    begin: u64,
    interval: u64,
    count: u64,
}

impl Ramp {
    /// Decisions every `interval` steps (at least 1) after `begin` and before `end`; `None` if that leaves none.
    pub fn new(begin: u64, end: u64, interval: u64) -> Option<Self> {
        let interval = interval.max(1);
        let count = end.saturating_sub(begin + 1) / interval;
        (count > 0).then_some(Self { begin, interval, count })
    }

    /// The first decision at or after `step`.
    pub fn next(&self, step: u64) -> Option<u64> {
        let number = step.saturating_sub(self.begin).div_ceil(self.interval).max(1);
        (number <= self.count).then(|| self.begin + number * self.interval)
    }

    /// Share j/n of the decisions that are behind after `step`.
    pub fn done(&self, step: u64) -> f64 {
        (step.saturating_sub(self.begin) / self.interval).min(self.count) as f64 / self.count as f64
    }

    /// Non-zeros after the decision of `step`, on the way from `first` down to `last`.
    pub fn nnz(&self, step: u64, first: usize, last: usize) -> usize {
        let left = (1.0 - self.done(step)).powi(3);
        last + (left * first.saturating_sub(last) as f64).round() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_fall_on_multiples_of_the_interval_and_never_after_the_stop() {
        let times = Times::every(100, 750);
        assert_eq!(times.next(0), Some(100));
        assert_eq!(times.next(100), Some(100));
        assert_eq!(times.next(101), Some(200));
        assert_eq!(times.next(700), Some(700));
        assert_eq!(times.next(701), None);
        assert_eq!(Times::every(100, 700).next(601), None);
        assert_eq!(Times::every(1, 3).next(0), Some(1));
    }

    #[test]
    fn the_window_ends_with_the_decision() {
        let times = Times::every(100, 750);
        assert!(!times.in_window(90, 10) && times.in_window(91, 10) && times.in_window(100, 10));
        assert!(!times.in_window(101, 10) && !times.in_window(740, 100));
        assert!((1..=700).all(|step| times.in_window(step, 100)));
    }

    #[test]
    fn the_drop_fraction_falls_along_a_cosine_to_zero() {
        let fraction = DropFraction { initial: 0.3, last: 0.0, schedule: DropSchedule::Cosine, end: 1000 };
        assert_eq!(fraction.count(0, 1000), 300);
        assert_eq!(fraction.at(500), 0.15);
        assert_eq!(fraction.count(1000, 1000), 0);
        assert_eq!(DropFraction { schedule: DropSchedule::Constant, ..fraction }.at(2000), 0.3);
    }

    #[test]
    fn the_drop_fraction_may_end_above_zero_but_never_above_its_first_value() {
        let fraction = DropFraction { initial: 0.5, last: 0.25, schedule: DropSchedule::Cosine, end: 1000 };
        assert_eq!([0, 500, 1000, 2000].map(|step| fraction.at(step)), [0.5, 0.375, 0.25, 0.25]);
        assert_eq!(DropFraction { initial: 0.0, ..fraction }.at(0), 0.0);
    }

    #[test]
    fn a_stepped_drop_fraction_is_halved_after_three_quarters_of_the_exploration() {
        let fraction = DropFraction { initial: 0.2, last: 0.0, schedule: DropSchedule::Step, end: 120 };
        assert_eq!([0, 89, 90, 120].map(|step| fraction.at(step)), [0.2, 0.2, 0.1, 0.1]);
    }

    #[test]
    fn a_ramp_falls_along_a_cubic_and_ends_exactly_at_its_last_decision() {
        let ramp = Ramp::new(20, 61, 10).unwrap();
        assert_eq!([0, 30, 31, 60].map(|step| ramp.next(step)), [30, 30, 40, 60].map(Some));
        assert_eq!(ramp.next(61), None);
        let nnz = [0, 20, 30, 40, 50, 60, 99].map(|step| ramp.nnz(step, 1064, 1000));
        assert_eq!(nnz, [1064, 1064, 1027, 1008, 1001, 1000, 1000]);
        assert_eq!((Ramp::new(20, 60, 10).unwrap().next(51), Ramp::new(20, 30, 10)), (None, None));
    }

    #[test]
    fn a_budget_of_decisions_is_spent_exactly_and_more_densely_early() {
        let Times::At(times) = Times::cosine(24, 7500) else { unreachable!() };
        assert_eq!(times.len(), 24);
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]) && times[23] < 7500);
        assert!(times[1] - times[0] < times[23] - times[22]);
        let next = Times::At(times.clone());
        assert_eq!((next.next(0), next.next(times[3] + 1)), (Some(times[0]), Some(times[4])));
        let Times::At(all) = Times::cosine(100, 10) else { unreachable!() };
        assert!(all.len() <= 9 && all.iter().all(|&time| (1..10).contains(&time)));
    }
}
