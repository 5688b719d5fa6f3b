//! What is recorded of a run. Everything but the fields called `timing` is a function of the configuration alone.

use serde::{Deserialize, Serialize};

/// One training step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of the step, from 0.
    pub step: u64,
    /// Number of the epoch, from 0.
    pub epoch: u64,
    /// Mean loss of the batch, with smoothing if there is any.
    pub loss: f64,
    /// Share of the batch that was right.
    pub accuracy: f64,
    /// Images in the batch.
    pub images: usize,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Where the time went.
    pub timing: StepTiming,
}

/// Seconds of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepTiming {
    /// The whole step, waiting for data included.
    pub total_s: f64,
    /// Waiting for the batch.
    pub data_s: f64,
    /// Forward pass.
    pub forward_s: f64,
    /// Backward pass, probes included.
    pub backward_s: f64,
    /// Optimiser.
    pub optimizer_s: f64,
    /// The algorithm's observation, its decision, and applying it: the mask overhead, but for its probes.
    pub topology_s: f64,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number of the epoch, from 0.
    pub epoch: u64,
    /// Steps done by its end.
    pub steps: u64,
    /// Mean training loss over its images, each at the weights of its step.
    pub train_loss: f64,
    /// Share of training images that were right, each at the weights of its step.
    pub train_accuracy: f64,
    /// Mean loss over the test images at the end of the epoch, without smoothing.
    pub test_loss: f64,
    /// Share of test images that are right.
    pub test_accuracy: f64,
    /// Decisions that changed the pattern, in this epoch.
    pub decisions: u64,
    /// Weights swapped in this epoch.
    pub swaps: u64,
    /// Share of the positions of the sparsified tensors that were ever active (R_s of ITOP).
    pub itop: f64,
    /// Where the time went.
    pub timing: EpochTiming,
}

/// Seconds and bytes of one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochTiming {
    /// Training.
    pub train_s: f64,
    /// Evaluation on the test images.
    pub test_s: f64,
    /// Waiting for data, within training.
    pub data_s: f64,
    /// Observation, decisions and their application, within training.
    pub topology_s: f64,
    /// Training images a second.
    pub images_per_s: f64,
    /// Peak resident memory of the process so far, 0 where the system does not tell.
    pub peak_rss_bytes: u64,
}

/// One layer in one decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Step at whose end the decision was taken.
    pub step: u64,
    /// The layer.
    pub layer: String,
    /// Non-zeros after the decision.
    pub nnz: usize,
    /// Weights dropped.
    pub dropped: usize,
    /// Weights grown.
    pub grown: usize,
    /// Weights dropped and grown again in the same decision, restarted at 0.
    pub reset: usize,
    /// Intersection over union of the pattern before and after.
    pub iou: f64,
    /// Share of the layer's positions that were ever active.
    pub itop: f64,
    /// Share of the layer's positions that were ever active or probed.
    pub inspected: f64,
}

/// The highest resident memory of this process so far in bytes, where the system tells (Linux).
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
