//! What is recorded of a run. Everything but the fields called `timing` is a function of the configuration alone.

use std::fmt;
use std::time::Duration;

use bidst_engine::{Network, SparseTensor};
use bidst_topology::{Algorithm, Change, DeadChannels, LayerDecision, LayerSpec, Since};
use serde::{Deserialize, Serialize};

use crate::evaluate::Evaluation;
use crate::flops::Flops;
use crate::trainer::Trainer;

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
    /// What the step cost.
    pub flops: Flops,
    /// Bytes after the backward pass that follow the non-zeros or belong to the mask: weights, gradients (probes included),
    /// momentum, indices, index streams, and what the algorithm keeps.
    pub parameter_bytes: usize,
    /// Where the time went.
    pub timing: StepTiming,
}

/// A loss that stood out from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpikeRecord {
    /// Number of the step, from 0.
    pub step: u64,
    /// Its loss.
    pub loss: f64,
    /// Mean of the losses before it.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// How many of these the loss lies above the mean.
    pub z: f64,
}

impl fmt::Display for SpikeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SpikeRecord { step, loss, mean, deviation, z } = self;
        write!(f, "the loss of step {step} is {loss:.4}, {z:.1} standard deviations ({deviation:.4}) above {mean:.4}")
    }
}

/// Seconds and bytes of one step.
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
    /// Bytes that network and algorithm held after the backward pass, activations and scratch included.
    pub held_bytes: usize,
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
    /// What training cost in this epoch.
    pub flops: Flops,
    /// The pattern at the end of the epoch; its fields stand beside the others.
    #[serde(flatten)]
    pub pattern: PatternRecord,
    /// Sums since the start of the run.
    pub run: RunTotals,
    /// Where the time went.
    pub timing: EpochTiming,
}

/// The sparsified tensors at the end of an epoch. All values are 0 if there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PatternRecord {
    /// Share of the positions that exist.
    pub density: f64,
    /// Share of the positions that were ever active (R_s of ITOP).
    pub itop: f64,
    /// Share of the positions that were ever active or probed (R_ins).
    pub inspected: f64,
    /// Output channels without any non-zero, summed over layers.
    pub dead_outputs: usize,
    /// Input channels that nobody reads, summed over layers.
    pub dead_inputs: usize,
    /// FLOPs of the forward pass of one image through the whole network (f_S).
    pub inference_flops: u64,
}

/// Sums and extremes from the start of a run to the end of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunTotals {
    /// Decisions that changed the pattern.
    pub decisions: u64,
    /// Weights swapped.
    pub swaps: u64,
    /// Training FLOPs, with those of gradients at zeros, and of the scores of a mask chosen before the first step.
    pub flops: Flops,
    /// Training FLOPs of a static pattern with the non-zeros that the run's sparsity allows (3 f_S per image).
    pub static_flops: u64,
    /// Training FLOPs of the dense network (3 f_D per image).
    pub dense_flops: u64,
    /// Highest share of right test images at the end of an epoch. Chosen by the test images, so too good.
    pub best_test_accuracy: f64,
    /// Its epoch, the first of equals.
    pub best_epoch: u64,
    /// Largest `parameter_bytes` of any step, and of the choice of the first mask.
    pub peak_parameter_bytes: usize,
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
    /// Training since the start of the run.
    pub run_train_s: f64,
    /// Evaluation since the start of the run.
    pub run_test_s: f64,
    /// Observation, decisions and their application since the start of the run.
    pub run_topology_s: f64,
    /// Largest `held_bytes` of any step since the start of the run, and of the choice of the first mask.
    pub run_peak_bytes: usize,
    /// Peak resident memory of the process so far, other runs in it included; 0 where the system does not tell.
    pub peak_rss_bytes: u64,
}

/// One layer in one decision, or in several that share a line of `topology.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Step at whose end the (last) decision was taken.
    pub step: u64,
    /// Decisions in this record.
    pub decisions: u64,
    /// The layer.
    pub layer: String,
    /// Non-zeros after the (last) decision, and so for all that follows.
    pub nnz: usize,
    /// Share of the layer's positions that exist.
    pub density: f64,
    /// Weights dropped, summed over the decisions.
    pub dropped: u64,
    /// Weights grown.
    pub grown: u64,
    /// Weights dropped and grown again in one decision, restarted at 0.
    pub reset: u64,
    /// Intersection over union of the patterns before the first and after the last of the decisions.
    pub iou: f64,
    /// Share of the layer's positions that were ever active.
    pub itop: f64,
    /// Share of the layer's positions that were ever active or probed.
    pub inspected: f64,
    /// Output channels without any non-zero.
    pub dead_outputs: usize,
    /// Input channels that nobody reads.
    pub dead_inputs: usize,
}

impl DecisionRecord {
    /// What `change` did to a layer; `active` are its positions afterwards.
    pub(crate) fn new(
        step: u64,
        layer: &LayerSpec,
        decision: &LayerDecision,
        change: &Change,
        active: &[u32],
    ) -> DecisionRecord {
        let dead = DeadChannels::of(&layer.shape, active);
        DecisionRecord {
            step,
            decisions: 1,
            layer: layer.name.clone(),
            nnz: decision.nnz,
            density: share(decision.nnz, decision.len),
            dropped: change.dropped.len() as u64,
            grown: change.grown.len() as u64,
            reset: change.reset.len() as u64,
            iou: decision.iou,
            itop: decision.itop,
            inspected: decision.inspected,
            dead_outputs: dead.outputs,
            dead_inputs: dead.inputs,
        }
    }

    /// The same with what happened since the last record.
    pub(crate) fn over(&self, since: Since) -> DecisionRecord {
        let Since { decisions, dropped, grown, reset, iou } = since;
        DecisionRecord { decisions, dropped, grown, reset, iou, ..self.clone() }
    }
}

/// What a step decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// One record per sparsified layer, or none.
    pub layers: Vec<DecisionRecord>,
    /// What is to be logged, one record per layer, or none: decisions that follow each other within `run.log_interval`
    /// steps share the record of the last of them in the epoch.
    pub log: Vec<DecisionRecord>,
}

/// What it took to choose the first mask, before step 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartCost {
    pub flops: Flops,
    pub bytes: Bytes,
}

/// What network and algorithm hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bytes {
    /// See [`StepRecord`].
    pub parameter_bytes: usize,
    /// See [`StepTiming`].
    pub held_bytes: usize,
}

impl Bytes {
    /// Now. The partial sums of single units, and the copy of a weight with its zeros that dense kernels read, are held, but are
    /// not counted among the parameters: their sizes depend on what was probed and how dense layers were before.
    pub fn of(network: &Network, algorithm: &dyn Algorithm) -> Bytes {
        let memory = network.memory();
        let of_weights = network.weights().iter().map(|weight| 2 * weight.nnz() + weight.probe_gradients().len());
        let of_vectors = network.vectors().iter().map(|vector| vector.values.len() + vector.gradients.len());
        let values_and_gradients = of_weights.chain(of_vectors).sum::<usize>();
        let parameters =
            size_of::<f32>() * values_and_gradients + memory.momentum_bytes + memory.index_bytes + memory.plan_bytes;
        let mask = algorithm.state_bytes();
        Bytes { parameter_bytes: parameters + mask, held_bytes: memory.total_bytes() + mask }
    }
}

/// Sums over the steps of the epoch under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tally {
    loss: f64,
    correct: f64,
    images: usize,
    decisions: u64,
    swaps: u64,
    flops: Flops,
    train_s: f64,
    data_s: f64,
    topology_s: f64,
    parameter_bytes: usize,
    held_bytes: usize,
}

impl Tally {
    /// Whether no step was added yet.
    pub fn is_empty(&self) -> bool {
        self.images == 0
    }

    /// Adds a step.
    pub fn add(&mut self, record: &StepRecord, decisions: &[DecisionRecord]) {
        self.loss += record.loss * record.images as f64;
        self.correct += (record.accuracy * record.images as f64).round();
        self.images += record.images;
        self.swaps += decisions.iter().map(|decision| decision.grown).sum::<u64>();
        let changes = |decision: &DecisionRecord| decision.dropped + decision.grown + decision.reset > 0;
        self.decisions += u64::from(decisions.iter().any(changes));
        self.flops += record.flops;
        self.train_s += record.timing.total_s;
        self.data_s += record.timing.data_s;
        self.topology_s += record.timing.topology_s;
        self.parameter_bytes = self.parameter_bytes.max(record.parameter_bytes);
        self.held_bytes = self.held_bytes.max(record.timing.held_bytes);
    }

    /// The record of the epoch whose steps `trainer` has just finished, and which it evaluated in `tested`.
    pub fn record(&self, trainer: &Trainer, test: &Evaluation, tested: Duration) -> EpochRecord {
        let images = self.images.max(1) as f64;
        EpochRecord {
            epoch: trainer.epoch,
            steps: trainer.step,
            train_loss: self.loss / images,
            train_accuracy: self.correct / images,
            test_loss: test.loss,
            test_accuracy: test.accuracy,
            decisions: self.decisions,
            swaps: self.swaps,
            flops: self.flops,
            pattern: PatternRecord::of(trainer),
            run: self.totals(trainer, test),
            timing: self.timing(trainer, tested),
        }
    }

    fn totals(&self, trainer: &Trainer, test: &Evaluation) -> RunTotals {
        let start = &trainer.start;
        let at_start =
            RunTotals { flops: start.flops, peak_parameter_bytes: start.bytes.parameter_bytes, ..RunTotals::default() };
        let before = trainer.last.as_ref().map_or(at_start, |last| last.run);
        let (cost, images) = (&trainer.cost, self.images as u64);
        let mut flops = before.flops;
        flops += self.flops;
        let is_best = trainer.last.is_none() || test.accuracy > before.best_test_accuracy;
        let (best_test_accuracy, best_epoch) = match is_best {
            true => (test.accuracy, trainer.epoch),
            false => (before.best_test_accuracy, before.best_epoch),
        };
        RunTotals {
            decisions: before.decisions + self.decisions,
            swaps: before.swaps + self.swaps,
            flops,
            static_flops: before.static_flops + 3 * images * cost.forward(trainer.allocation.nonzeros()),
            dense_flops: before.dense_flops + 3 * images * cost.dense(),
            best_test_accuracy,
            best_epoch,
            peak_parameter_bytes: before.peak_parameter_bytes.max(self.parameter_bytes),
        }
    }

    fn timing(&self, trainer: &Trainer, tested: Duration) -> EpochTiming {
        let at_start = EpochTiming { run_peak_bytes: trainer.start.bytes.held_bytes, ..EpochTiming::default() };
        let before = trainer.last.as_ref().map_or(at_start, |last| last.timing);
        let (train_s, test_s) = (self.train_s, tested.as_secs_f64());
        EpochTiming {
            train_s,
            test_s,
            data_s: self.data_s,
            topology_s: self.topology_s,
            images_per_s: self.images as f64 / train_s.max(1e-9),
            run_train_s: before.run_train_s + train_s,
            run_test_s: before.run_test_s + test_s,
            run_topology_s: before.run_topology_s + self.topology_s,
            run_peak_bytes: before.run_peak_bytes.max(self.held_bytes),
            peak_rss_bytes: peak_rss_bytes().unwrap_or(0),
        }
    }
}

impl PatternRecord {
    fn of(trainer: &Trainer) -> PatternRecord {
        let inference_flops = trainer.cost.inference(&trainer.network);
        if trainer.sparse.is_empty() {
            return PatternRecord { inference_flops, ..PatternRecord::default() };
        }
        let tensors: Vec<&SparseTensor> =
            trainer.sparse.iter().map(|&index| &trainer.network.weights()[index]).collect();
        let sum = |count: fn(&SparseTensor) -> usize| tensors.iter().map(|tensor| count(tensor)).sum();
        let dead = tensors.iter().map(|tensor| DeadChannels::of(tensor.shape(), tensor.index()));
        let (dead_outputs, dead_inputs) = dead.fold((0, 0), |sum, dead| (sum.0 + dead.outputs, sum.1 + dead.inputs));
        PatternRecord {
            density: share(sum(SparseTensor::nnz), sum(SparseTensor::len)),
            itop: trainer.stats.itop(),
            inspected: trainer.stats.inspected(),
            dead_outputs,
            dead_inputs,
            inference_flops,
        }
    }
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// The highest resident memory of this process so far in bytes, where the system tells (Linux).
pub fn peak_rss_bytes() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmHWM:")
}

/// What the line of `file` that begins with `name` says in kilobytes, as bytes.
pub(crate) fn proc_bytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
