//! Training steps on random images, to be timed.

use std::time::Duration;

use bidst_data::{Augment, Batch, Dataset, Loader, LoaderOptions, Splits};
use bidst_model::zoo;
use bidst_topology::rng::at;
use std::sync::Arc;

use crate::config::{Config, ConfigError};
use crate::error::TrainError;
use crate::metrics::StepTiming;
use crate::trainer::Trainer;

/// Classes of the random labels.
const CLASSES: usize = 10;
/// Batches that are used in turn.
const BATCHES: usize = 4;

/// A trainer with a few random batches of the size that its model usually gets.
pub struct Bench {
    trainer: Trainer,
    batches: Vec<Batch>,
    next: usize,
}

impl Bench {
    /// Sets up the network and the algorithm of `config`; its data set plays no part.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn new(mut config: Config) -> Result<Bench, TrainError> {
        let unknown = || ConfigError::of_key("model.name", format!("unknown name `{}`", config.model.name));
        let entry = zoo::list().iter().find(|entry| entry.name == config.model.name).ok_or_else(unknown)?;
        let shape = [entry.input.channels, entry.input.height, entry.input.width];
        config.data.augment = Some(Vec::new());
        let batch_size = config.train.batch_size;
        let images = random_images(batch_size * BATCHES, shape);
        let options = LoaderOptions { batch_size, seed: 0, augment: Augment::NONE, shuffle: false, prefetch: 0 };
        let batches = Loader::new(Arc::new(images.clone()), options)?.epoch(0, 0).collect();
        let trainer = Trainer::new(config, Splits { train: images.clone(), test: images })?;
        Ok(Bench { trainer, batches, next: 0 })
    }

    /// One training step.
    ///
    /// # Errors
    /// As [`Trainer::train_on`].
    pub fn step(&mut self) -> Result<StepTiming, TrainError> {
        let batch = &self.batches[self.next];
        self.next = (self.next + 1) % self.batches.len();
        Ok(self.trainer.train_on(batch)?.0.timing)
    }

    /// The trainer, to look at.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }
}

/// The median of some numbers, the lower one of the middle two; 0 for none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// Takes the steps of two benches in turn until `budget` is spent, at least three each after one to warm up, and
/// returns the median seconds of a step of each. In turn, because machines that others use too change their speed.
///
/// # Errors
/// As [`Bench::step`].
pub fn interleaved(first: &mut Bench, second: &mut Bench, budget: Duration) -> Result<[f64; 2], TrainError> {
    let started = std::time::Instant::now();
    let (mut times, mut round) = ([Vec::new(), Vec::new()], 0);
    while round < 4 || started.elapsed() < budget {
        for (bench, times) in [&mut *first, &mut *second].into_iter().zip(&mut times) {
            let timing = bench.step()?;
            if round > 0 {
                times.push(timing.total_s);
            }
        }
        round += 1;
    }
    Ok(times.map(median))
}

fn random_images(count: usize, [channels, height, width]: [usize; 3]) -> Dataset {
    let pixels = count * channels * height * width;
    Dataset {
        name: "random".to_owned(),
        channels,
        height,
        width,
        classes: CLASSES,
        images: (0..pixels as u64).map(|position| at(1, position) as u8).collect(),
        labels: (0..count as u64).map(|index| (at(2, index) % CLASSES as u64) as u8).collect(),
        mean: vec![0.5; channels],
        std: vec![0.3; channels],
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_lower_middle_value() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median([]), 0.0);
    }
}
