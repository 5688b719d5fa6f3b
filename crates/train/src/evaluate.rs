//! What a network is worth: accuracy and loss over a data set, class by class, and how long an answer takes.

use std::time::{Duration, Instant};

use bidst_data::{Batch, Loader};
use bidst_engine::Network;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// Result of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Share of the images that are right.
    pub accuracy: f64,
    /// Mean cross-entropy, without smoothing.
    pub loss: f64,
    /// Number of images.
    pub images: usize,
}

/// An evaluation with all that it saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Examination {
    /// Its result.
    pub evaluation: Evaluation,
    /// Counts of every class.
    pub classes: Vec<ClassCount>,
    /// `[images, classes]`, in the order of the data set.
    pub logits: Vec<f32>,
}

/// What became of the images of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// Images of the class.
    pub images: usize,
    /// Those that are right.
    pub correct: usize,
}

/// Time of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Images in a pass.
    pub batch_size: usize,
    /// Passes timed.
    pub passes: usize,
    /// Half of the passes took at most this many milliseconds.
    pub median_ms: f64,
    /// Nine in ten took at most this many.
    pub p90_ms: f64,
    /// Bytes that the network held, activations included.
    pub memory_bytes: usize,
}

/// Runs `network`, with the running statistics of its normalisations, over every image of `loader` once.
///
/// # Errors
/// [`TrainError::Engine`] if the images do not fit the network, [`TrainError::Data`] if they cannot be read.
pub fn evaluate(network: &mut Network, loader: &Loader) -> Result<Evaluation, TrainError> {
    each_batch(network, loader, |_, _| Ok(()))
}

/// As [`evaluate`], with the logits of every image and the counts of every class.
///
/// # Errors
/// [`TrainError::Engine`] if the images do not fit the network.
pub fn examine(network: &mut Network, loader: &Loader) -> Result<Examination, TrainError> {
    let mut classes = vec![ClassCount::default(); loader.dataset().classes];
    let mut all = Vec::new();
    let evaluation = each_batch(network, loader, |network, batch| {
        let logits = network.logits(&batch.images, batch.count)?;
        for (logits, &label) in logits.chunks_exact(logits.len() / batch.count.max(1)).zip(&batch.labels) {
            let class = &mut classes[label as usize];
            class.images += 1;
            class.correct += usize::from(first_largest(logits) == label as usize);
        }
        all.extend(logits);
        Ok(())
    })?;
    Ok(Examination { evaluation, classes, logits: all })
}

/// Evaluates batch by batch and shows each to `also`.
fn each_batch(
    network: &mut Network,
    loader: &Loader,
    mut also: impl FnMut(&mut Network, &Batch) -> Result<(), TrainError>,
) -> Result<Evaluation, TrainError> {
    let (mut loss, mut correct, mut images) = (0.0, 0, 0);
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        let output = network.evaluate(&batch.images, &batch.labels)?;
        loss += output.loss * output.count as f64;
        correct += output.correct;
        images += output.count;
        also(network, &batch)?;
        loader.recycle(batch);
    }
    let count = images.max(1) as f64;
    Ok(Evaluation { accuracy: correct as f64 / count, loss: loss / count, images })
}

/// The class with the largest logit, the first of equals.
fn first_largest(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, class| if logits[class] > logits[best] { class } else { best })
}

/// Passes at least, whatever they take; the first is not counted.
const FEWEST_PASSES: usize = 10;

/// Times forward passes of full batches of the first images of `loader` until `budget` is spent, ten at least.
///
/// # Errors
/// [`TrainError::Data`] if they cannot be read, [`TrainError::Engine`] if they do not fit the network.
pub fn latency(network: &mut Network, loader: &Loader, budget: Duration) -> Result<Latency, TrainError> {
    let batch_size = network.batch_size();
    let first = loader.epoch(0, 0).next().transpose()?.unwrap_or_default();
    let per_image = loader.dataset().image_len();
    let images: Vec<f32> = first.images.iter().copied().cycle().take(batch_size * per_image).collect();
    network.logits(&images, batch_size)?;
    let (started, mut times) = (Instant::now(), Vec::new());
    while times.len() < FEWEST_PASSES || started.elapsed() < budget {
        let pass = Instant::now();
        network.logits(&images, batch_size)?;
        times.push(1e3 * pass.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let quantile = |share: f64| times[((share * times.len() as f64).ceil() as usize).clamp(1, times.len()) - 1];
    let memory_bytes = network.memory().total_bytes();
    Ok(Latency { batch_size, passes: times.len(), median_ms: quantile(0.5), p90_ms: quantile(0.9), memory_bytes })
}
