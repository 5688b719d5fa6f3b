//! Losses that stand out from those before them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::metrics::SpikeRecord;

/// Losses by which the next is judged; before there are so many, none is.
const WINDOW: usize = 64;
/// Standard deviations above the mean at which a loss stands out. With 64 losses of normal noise, one in 10⁷ does.
const THRESHOLD: f64 = 6.0;
/// Least standard deviation as a share of the mean, so that a loss that hardly changes has no spikes.
const FLOOR: f64 = 1e-3;

/// What a loss that stands out leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSpike {
    /// A note, and a line in `metrics.jsonl`.
    #[default]
    Warn,
    /// Beside these, weights, momentum and running statistics do not move in this step. The algorithm sees it all the same,
    /// and a decision due in it is taken.
    Skip,
    /// The run saves its state before the step, and ends.
    Stop,
}

/// The last losses of whole batches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpikeWatch {
    losses: VecDeque<f64>,
}

impl SpikeWatch {
    /// Judges the loss of `step` by those before it.
    pub fn judge(&self, step: u64, loss: f64) -> Option<SpikeRecord> {
        if self.losses.len() < WINDOW {
            return None;
        }
        let mean = self.losses.iter().sum::<f64>() / WINDOW as f64;
        let squares = self.losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>();
        let deviation = (squares / (WINDOW - 1) as f64).sqrt().max(FLOOR * mean.abs());
        let z = (loss - mean) / deviation.max(f64::MIN_POSITIVE);
        (z > THRESHOLD).then_some(SpikeRecord { step, loss, mean, deviation, z })
    }

    /// Takes a loss into account from now on.
    pub fn remember(&mut self, loss: f64) {
        if self.losses.len() == WINDOW {
            self.losses.pop_front();
        }
        self.losses.push_back(loss);
    }

    /// What to keep.
    pub fn losses(&self) -> impl Iterator<Item = f64> + '_ {
        self.losses.iter().copied()
    }

    /// Goes on from what was kept.
    pub fn set_losses(&mut self, losses: Vec<f64>) {
        let surplus = losses.len().saturating_sub(WINDOW);
        self.losses = losses.into_iter().skip(surplus).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bidst_topology::rng::{Purpose, Streams, normal};

    /// The loss of a smooth run: it falls, and its noise with it.
    fn smooth(step: u64) -> f64 {
        let level = 0.2 + 2.1 * (-(step as f64) / 20_000.0).exp();
        level * (1.0 + 0.15 * normal(&mut Streams::new(0).stream(Purpose::Other, 0, step)))
    }

    /// Steps whose loss stands out.
    fn spikes(watch: &mut SpikeWatch, losses: impl Iterator<Item = f64>) -> Vec<u64> {
        let judge = |(step, loss)| {
            let spike = watch.judge(step, loss);
            watch.remember(loss);
            spike.map(|spike| spike.step)
        };
        (0..).zip(losses).filter_map(judge).collect()
    }

    #[test]
    fn fewer_than_one_in_ten_thousand_losses_of_a_smooth_run_stand_out() {
        let alarms = spikes(&mut SpikeWatch::default(), (0..100_000).map(smooth)).len();
        assert!(alarms <= 10, "{alarms}");
    }

    #[test]
    fn every_loss_at_three_times_the_level_stands_out_and_the_next_does_not() {
        let is_high = |step: u64| step >= 100 && step.is_multiple_of(200);
        let losses = (0..20_000).map(|step| smooth(step) * if is_high(step) { 3.0 } else { 1.0 });
        let found = spikes(&mut SpikeWatch::default(), losses);
        assert_eq!(found, (0..20_000).filter(|&step| is_high(step)).collect::<Vec<_>>());
    }

    #[test]
    fn a_constant_loss_and_the_first_losses_never_stand_out() {
        assert_eq!(spikes(&mut SpikeWatch::default(), (0..64).map(|step| 10f64.powi(step % 7))), [0; 0]);
        let constant = (0..1000).map(|step| 0.5 + 1e-4 * f64::from(step % 2));
        assert_eq!(spikes(&mut SpikeWatch::default(), constant), [0; 0]);
    }

    #[test]
    fn a_watch_that_goes_on_judges_alike() {
        let mut whole = SpikeWatch::default();
        (0..150).for_each(|step| whole.remember(smooth(step)));
        let mut second = SpikeWatch::default();
        second.set_losses(whole.losses().collect());
        assert_eq!(second, whole);
        assert_eq!(second.judge(150, 9.0), whole.judge(150, 9.0));
        assert!(whole.judge(150, 9.0).is_some());
    }
}
