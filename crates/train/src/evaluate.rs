//! Accuracy and loss of a network over a data set.

use bidst_data::Loader;
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

/// Runs `network`, with the running statistics of its normalisations, over every image of `loader` once.
///
/// # Errors
/// [`TrainError::Engine`] if the images do not fit the network.
pub fn evaluate(network: &mut Network, loader: &Loader) -> Result<Evaluation, TrainError> {
    let (mut loss, mut correct, mut images) = (0.0, 0, 0);
    for batch in loader.epoch(0, 0) {
        let output = network.evaluate(&batch.images, &batch.labels)?;
        loss += output.loss * output.count as f64;
        correct += output.correct;
        images += output.count;
        loader.recycle(batch);
    }
    let count = images.max(1) as f64;
    Ok(Evaluation { accuracy: correct as f64 / count, loss: loss / count, images })
}
