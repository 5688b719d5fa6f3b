//! Training steps, layers, decisions and inference on random images, to be timed.

pub mod conv;
pub mod layers;
pub mod update;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bidst_data::{Augment, Batch, Batches, Dataset, Loader, LoaderOptions, Splits};
use bidst_model::zoo;
use bidst_topology::rng::at;

use crate::config::{Algorithm, Config, ConfigError, Sparsity};
use crate::error::TrainError;
use crate::metrics::{Decided, StepRecord, StepTiming};
use crate::trainer::Trainer;

/// Classes of the random labels.
const CLASSES: usize = 10;
/// Batches that are used in turn.
const BATCHES: usize = 4;
/// Bytes of images that a loader goes through in an epoch, so that epochs do not begin too often.
const EPOCH_BYTES: usize = 32 << 20;

/// A trainer with random batches of the size that its model usually gets.
pub struct Bench {
    trainer: Trainer,
    /// Prepared before the clock starts, used in turn.
    ready: Vec<Batch>,
    next: usize,
    /// Used instead, if there is one.
    stream: Option<Stream>,
}

/// The trainer's own loader, epoch after epoch.
struct Stream {
    batches: Batches,
    epoch: u64,
}

impl Bench {
    /// Sets up the network and the algorithm of `config`; its data set plays no part. Batches are ready beforehand.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn new(mut config: Config) -> Result<Bench, TrainError> {
        config.data.augment = Some(Vec::new());
        let (batch_size, shape) = (config.train.batch_size, image_shape(&config)?);
        let images = random_images(batch_size * BATCHES, shape);
        let options = LoaderOptions { batch_size, seed: 0, augment: Augment::NONE, shuffle: false, workers: 0 };
        let ready = Loader::new(Arc::new(images.clone()), options)?.epoch(0, 0).collect::<Result<_, _>>()?;
        let trainer = Trainer::new(config, Splits { train: images, test: random_images(1, shape) })?;
        Ok(Bench { trainer, ready, next: 0, stream: None })
    }

    /// As [`Bench::new`], but each step takes its batch from the trainer's loader, which shuffles, crops (padding of 4) and
    /// flips as it does in training.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with_loader(mut config: Config) -> Result<Bench, TrainError> {
        config.data.augment = Some(vec!["crop:4".to_owned(), "flip".to_owned()]);
        let (batch_size, shape) = (config.train.batch_size, image_shape(&config)?);
        let batch_bytes = batch_size * shape.iter().product::<usize>();
        let images = random_images(batch_size * (EPOCH_BYTES / batch_bytes).max(BATCHES), shape);
        let trainer = Trainer::new(config, Splits { train: images, test: random_images(1, shape) })?;
        let stream = Some(Stream { batches: trainer.train.epoch(0, 0), epoch: 0 });
        Ok(Bench { trainer, ready: Vec::new(), next: 0, stream })
    }

    /// One training step. The wait for its batch is part of it.
    ///
    /// # Errors
    /// As [`Trainer::train_on`].
    pub fn step(&mut self) -> Result<StepTiming, TrainError> {
        Ok(self.train()?.0.timing)
    }

    /// Loss and accuracy of one batch with the network as it is; returns the seconds it took. For benches whose batches are
    /// ready.
    ///
    /// # Errors
    /// If the engine refuses the batch.
    pub fn evaluate(&mut self) -> Result<f64, TrainError> {
        let batch = &self.ready[self.next];
        self.next = (self.next + 1) % self.ready.len();
        let started = Instant::now();
        self.trainer.network.evaluate(&batch.images, &batch.labels)?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// The trainer, to look at.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    fn train(&mut self) -> Result<(StepRecord, Decided), TrainError> {
        let Some(stream) = &mut self.stream else {
            let batch = &self.ready[self.next];
            self.next = (self.next + 1) % self.ready.len();
            return self.trainer.train_on(batch);
        };
        let waiting = Instant::now();
        let batch = loop {
            match stream.batches.next() {
                Some(batch) => break batch?,
                None => {
                    stream.epoch += 1;
                    stream.batches = self.trainer.train.epoch(stream.epoch, 0);
                }
            }
        };
        let waited = waiting.elapsed().as_secs_f64();
        let (mut record, decided) = self.trainer.train_on(&batch)?;
        record.timing.data_s = waited;
        record.timing.total_s += waited;
        self.trainer.train.recycle(batch);
        Ok((record, decided))
    }
}

/// The same run with every weight.
pub fn dense(config: &Config) -> Config {
    let mut config = config.clone();
    config.algorithm = Algorithm { name: "dense".to_owned(), parameters: toml::Table::new() };
    config.sparsity = Sparsity { level: 0.0, overrides: BTreeMap::new(), ..config.sparsity };
    config
}

/// The median of some numbers, the lower one of the middle two; 0 for none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// The smallest of some numbers; infinite for none.
pub fn fastest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// Calls `measure` on two benches in turn until `budget` is spent, at least three times each after one to warm up, and
/// returns what it gave for each. In turn, because machines that others use too change their speed.
///
/// # Errors
/// As `measure`.
pub fn interleaved(
    first: &mut Bench,
    second: &mut Bench,
    budget: Duration,
    measure: fn(&mut Bench) -> Result<f64, TrainError>,
) -> Result<[Vec<f64>; 2], TrainError> {
    let started = Instant::now();
    let (mut times, mut round) = ([Vec::new(), Vec::new()], 0);
    while round < 4 || started.elapsed() < budget {
        for (bench, times) in [&mut *first, &mut *second].into_iter().zip(&mut times) {
            let time = measure(bench)?;
            if round > 0 {
                times.push(time);
            }
        }
        round += 1;
    }
    Ok(times)
}

/// Channels, height and width of the images that the model of `config` usually gets.
fn image_shape(config: &Config) -> Result<[usize; 3], TrainError> {
    let name = &config.model.name;
    let unknown = || ConfigError::of_key("model.name", format!("unknown name `{name}`"));
    let entry = zoo::list().iter().find(|entry| entry.name == *name).ok_or_else(unknown)?;
    Ok([entry.input.channels, entry.input.height, entry.input.width])
}

fn random_images(count: usize, [channels, height, width]: [usize; 3]) -> Dataset {
    let pixels = count * channels * height * width;
    Dataset {
        name: "random".to_owned(),
        channels,
        height,
        width,
        classes: CLASSES,
        images: (0..pixels as u64).map(|position| at(1, position) as u8).collect::<Vec<u8>>().into(),
        labels: (0..count as u64).map(|index| (at(2, index) % CLASSES as u64) as u16).collect(),
        mean: vec![0.5; channels],
        std: vec![0.3; channels],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small network that is quickly built.
    pub(super) fn config(algorithm: &str) -> Config {
        let mut config = Config::default();
        config.model.width = 0.25;
        config.train.batch_size = 16;
        config.run.threads = 1;
        config.algorithm = Algorithm { name: algorithm.to_owned(), parameters: toml::Table::new() };
        config
    }

    #[test]
    fn the_median_is_the_lower_middle_value() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn a_bench_with_a_loader_goes_on_into_the_next_epoch() {
        let mut bench = Bench::with_loader(config("static")).unwrap();
        let batches = bench.trainer.train.batches_per_epoch();
        bench.stream.as_mut().unwrap().batches = bench.trainer.train.epoch(0, batches - 1);
        assert!((0..2).all(|_| bench.step().unwrap().data_s > 0.0));
        assert_eq!(bench.stream.unwrap().epoch, 1);
    }

    #[test]
    fn the_dense_twin_has_every_weight() {
        let totals = Bench::new(dense(&config("rigl"))).unwrap().trainer().totals();
        assert_eq!(totals.nonzeros, totals.weights);
    }
}
