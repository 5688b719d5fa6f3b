//! How much memory a run will take, said before its first step.
//!
//! What the engine holds is asked for; what it will hold only later is reckoned from the shapes: sums of single units,
//! gradients at zeros that the algorithm will ask for, what a decision sorts, and the copies that a checkpoint is made of.
//! What remains is the program itself, `PROGRAM` and `THREAD`: constants, found by subtracting all that from the peak of
//! small runs on Linux. They are code and tables of the binary that were touched, the allocator, and stacks.

use std::fmt;

use bidst_data::{AHEAD, Dataset};
use bidst_engine::{Kernel, Network, Options, SparseTensor};
use bidst_model::Graph;
use bidst_topology::Needs;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::TrainError;
use crate::metrics::proc_bytes;
use crate::trainer::Trainer;
use crate::units::{parse_size, size};

/// The program itself, with its libraries and what the allocator keeps.
const PROGRAM: u64 = 21 << 19;
/// Stack of a thread at work, its scratch, and what the allocator keeps for it.
const THREAD: u64 = 5 << 18;
/// Bytes of a weight by which a first mask is chosen: its value and position, the tensor once more, and what a selection makes of it.
const CHOSEN: usize = 8 + 16 + 12;
/// Bytes of a weight that passes score, beside what the network has of it: the tensor once more, weights, gradients, sums, scores,
/// and what a selection makes of those.
const SCORED: usize = 16 + 28;
/// Decisions that are looked at for what they ask for.
const HORIZON: u64 = 10_000;

/// Bytes by purpose, at their peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// The program and its threads.
    pub program: u64,
    /// Images and labels.
    pub data: u64,
    /// Batches that are prepared ahead.
    pub batches: u64,
    /// Weights, gradients, momentum, positions, and what the kernels make of them.
    pub parameters: u64,
    /// Weight gradients of single units, and gradients at zeros.
    pub gradients: u64,
    /// Activations and their gradients.
    pub activations: u64,
    /// What the algorithm keeps, and what is remembered of the patterns.
    pub algorithm: u64,
    /// A checkpoint while it is written.
    pub checkpoint: u64,
    /// What a decision sorts, and the tensor that it changes while there are two of it. It never meets a checkpoint.
    #[serde(default)]
    pub decision: u64,
    /// All that choosing the first mask takes, before the network that is trained is there; 0 where nothing is scored.
    #[serde(default)]
    pub scoring: u64,
}

impl Prediction {
    /// For a trainer before its first step in this process.
    pub(crate) fn of(trainer: &Trainer) -> Prediction {
        let memory = trainer.network.memory();
        let asked = asked(trainer);
        let candidates = asked.iter().map(|asked| asked.candidates).sum::<usize>();
        let zeros = asked.iter().map(|asked| asked.everywhere + asked.candidates).sum::<usize>();
        let beside = asked.iter().zip(trainer.network.weights()).filter(|(asked, _)| asked.candidates > 0);
        let beside: usize = beside.map(|(_, weight)| weight.nnz()).sum();
        // A candidate's position is kept twice. The kernels have a stream of candidates and active positions beside that of the latter.
        let parameters = memory.parameter_bytes() + candidates * 32 + beside * 16;
        Prediction {
            program: program_bytes(trainer),
            data: all_data_bytes(trainer),
            batches: batch_bytes(trainer),
            parameters: parameters as u64,
            gradients: (size_of::<f32>() * (zeros + unit_sums(trainer, &asked))) as u64,
            activations: (memory.activations_bytes + memory.activation_gradients_bytes) as u64,
            algorithm: (trainer.algorithm.state_bytes() + history_bytes(trainer)) as u64,
            checkpoint: checkpoint_bytes(trainer) as u64,
            decision: decision_bytes(trainer, &asked) as u64,
            scoring: trainer.scoring,
        }
    }

    /// The most that is there at the same time.
    pub fn total(&self) -> u64 {
        let sum: u64 = self.parts().iter().map(|(_, bytes)| bytes).sum();
        let training = sum - self.scoring - self.checkpoint.min(self.decision);
        training.max(self.scoring)
    }

    fn parts(&self) -> [(&'static str, u64); 10] {
        let Prediction { program, data, batches, parameters, gradients, activations, .. } = *self;
        [
            ("program", program),
            ("data", data),
            ("batches", batches),
            ("parameters", parameters),
            ("sums of gradients", gradients),
            ("activations", activations),
            ("algorithm", self.algorithm),
            ("a checkpoint", self.checkpoint),
            ("or a decision", self.decision),
            ("before that, to choose the first mask", self.scoring),
        ]
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts().into_iter().filter(|(_, bytes)| *bytes > 0);
        let parts: Vec<String> = parts.map(|(name, bytes)| format!("{name} {}", size(bytes))).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Refuses what is predicted if it is more than `run.max_memory` allows.
///
/// # Errors
/// [`TrainError::Memory`]
pub(crate) fn allow(prediction: &Prediction, config: &Config) -> Result<(), TrainError> {
    let limit = config.run.max_memory.as_deref().and_then(parse_size);
    within(prediction, limit.map(|bytes| (bytes, "--max-memory")))
}

/// Refuses a network before it is made, if what it will hold at least is more than `run.max_memory` allows or the machine has:
/// nobody should wait for memory that cannot be had, or lose other work to it.
///
/// # Errors
/// [`TrainError::Memory`]
pub(crate) fn allow_network(
    graph: &Graph,
    patterns: &[Option<Vec<u32>>],
    options: &Options,
    data: [&Dataset; 2],
    config: &Config,
) -> Result<(), TrainError> {
    let weights = graph.weights();
    let nonzeros =
        weights.iter().zip(patterns).map(|(weight, pattern)| pattern.as_ref().map_or(weight.len(), Vec::len));
    let least = Prediction {
        program: PROGRAM,
        data: data.into_iter().map(data_bytes).sum(),
        // Value, gradient, momentum, position.
        parameters: nonzeros.map(|nnz| 16 * nnz as u64).sum(),
        activations: Network::activation_bytes(graph, options),
        ..Prediction::default()
    };
    allow(&least, config)?;
    within(&least, machine_bytes().map(|bytes| (bytes, "this machine")))
}

fn within(prediction: &Prediction, limit: Option<(u64, &'static str)>) -> Result<(), TrainError> {
    let wanted = prediction.total();
    match limit {
        Some((limit, whose)) if wanted > limit => {
            Err(TrainError::Memory { wanted, limit, whose, split: prediction.to_string() })
        }
        _ => Ok(()),
    }
}

/// Memory and swap of the machine, where the system tells (Linux).
fn machine_bytes() -> Option<u64> {
    let bytes = |name| proc_bytes("/proc/meminfo", name);
    Some(bytes("MemTotal:")? + bytes("SwapTotal:").unwrap_or(0))
}

/// All that choosing the first mask takes: by the weights alone, and by scores of passes through the network.
pub(crate) fn scoring_bytes(trainer: &Trainer) -> [u64; 2] {
    let network = &trainer.network;
    let memory = network.memory();
    let rest = program_bytes(trainer) + all_data_bytes(trainer);
    let activations = memory.activations_bytes + memory.activation_gradients_bytes;
    let weights: usize = trainer.sparse.iter().map(|&at| network.weights()[at].nnz()).sum();
    let sums = size_of::<f32>() * unit_sums(trainer, &vec![Asked::default(); network.weights().len()]);
    let passes = memory.parameter_bytes() + sums;
    [CHOSEN * weights, passes + SCORED * weights].map(|bytes| rest + (activations + bytes) as u64)
}

/// Gradients at zeros of one weight tensor.
#[derive(Clone, Copy, Default)]
struct Asked {
    candidates: usize,
    everywhere: usize,
}

/// The most that the algorithm asks for up to its next decision, per weight tensor.
fn asked(trainer: &Trainer) -> Vec<Asked> {
    let mut asked = vec![Asked::default(); trainer.network.weights().len()];
    let algorithm = trainer.algorithm.as_ref();
    for (layer, &at) in trainer.sparse.iter().enumerate() {
        asked[at].candidates = algorithm.most_candidates(layer);
    }
    let steps = match algorithm.next_decision(trainer.step) {
        Some(next) if next - trainer.step < HORIZON => trainer.step..=next,
        _ => trainer.step..=trainer.step,
    };
    for step in steps {
        for (layer, &at) in trainer.sparse.iter().enumerate() {
            match algorithm.needs(step, layer) {
                Needs::Active => {}
                Needs::Candidates(index) => asked[at].candidates = asked[at].candidates.max(index.len()),
                Needs::Dense => asked[at].everywhere = trainer.network.weights()[at].len(),
            }
        }
    }
    asked
}

/// Floats of the largest buffer of sums of single units, of those at all positions, and of a weight with its zeros.
fn unit_sums(trainer: &Trainer, asked: &[Asked]) -> usize {
    let (network, kernels) = (&trainer.network, trainer.network.kernels());
    let is_dense = |name: &str| kernels.iter().any(|choice| choice.layer == name && choice.backward == Kernel::Dense);
    let (mut own, mut everywhere, mut with_zeros) = (0, 0, 0);
    for ((weight, units), asked) in network.weights().iter().zip(network.units()).zip(asked) {
        if is_dense(weight.name()) {
            own = own.max(units * weight.len());
            with_zeros = with_zeros.max(if weight.is_dense() { 0 } else { weight.len() });
        } else {
            let probed = (trainer.algorithm.probe_share() * units as f32).ceil() as usize;
            own = own.max(units * (weight.nnz() + asked.candidates));
            everywhere = everywhere.max(probed * asked.everywhere);
        }
    }
    own + everywhere + with_zeros
}

fn program_bytes(trainer: &Trainer) -> u64 {
    PROGRAM + trainer.network.threads() as u64 * THREAD
}

fn all_data_bytes(trainer: &Trainer) -> u64 {
    data_bytes(trainer.train.dataset()) + data_bytes(trainer.test.dataset()) + embedded_bytes(trainer)
}

fn data_bytes(data: &Dataset) -> u64 {
    (data.images.memory() + size_of_val(&data.labels[..])) as u64
}

/// Files within the binary that were read to the end.
fn embedded_bytes(trainer: &Trainer) -> u64 {
    let name = &trainer.config.data.name;
    bidst_data::list().iter().filter(|source| source.name == name).map(|source| source.embedded_bytes as u64).sum()
}

/// Batches that are ready, and one in use, of both loaders.
fn batch_bytes(trainer: &Trainer) -> u64 {
    let image = size_of::<f32>() * trainer.train.dataset().image_len();
    let batch = image * trainer.network.batch_size();
    let batches =
        |loader: &bidst_data::Loader| (AHEAD * trainer.config.data.workers + 1).min(loader.batches_per_epoch());
    (batch * (batches(&trainer.train) + batches(&trainer.test))) as u64
}

/// The state of a trainer put together, beside what the algorithm and the records of the patterns gave for it.
fn checkpoint_bytes(trainer: &Trainer) -> usize {
    let words = |(at, weight): (usize, &SparseTensor)| match trainer.sparse.contains(&at) {
        true => 3 * weight.nnz(),
        false => 2 * weight.nnz(),
    };
    let weights: usize = trainer.network.weights().iter().enumerate().map(words).sum();
    let vectors: usize = trainer.network.vectors().iter().map(|vector| 2 * vector.values.len()).sum();
    size_of::<f32>() * (weights + vectors) + 2 * (trainer.algorithm.state_bytes() + history_bytes(trainer))
}

/// Three bits a position: the patterns at the last mark, ever active, ever inspected.
fn history_bytes(trainer: &Trainer) -> usize {
    trainer.layers.iter().map(|layer| 3 * layer.len() / 8).sum()
}

/// Scores of what is active and of the candidates; the scores at the zeros of one layer, with their positions; one tensor twice,
/// with the streams of its kernels.
fn decision_bytes(trainer: &Trainer, asked: &[Asked]) -> usize {
    let layers = || trainer.sparse.iter().map(|&at| (trainer.network.weights()[at].nnz(), asked[at]));
    let scored: usize = layers().map(|(nnz, asked)| 8 * (nnz + asked.candidates)).sum();
    let of_one = layers().map(|(nnz, asked)| 8 * asked.everywhere.saturating_sub(nnz) + 32 * nnz);
    scored + of_one.max().unwrap_or(0)
}
