//! How much memory a run will take, said before its first step.
//!
//! What the engine holds is asked for; what it will hold only later is reckoned from the shapes: sums of single units,
//! gradients at zeros that the algorithm will ask for, what a decision sorts, and the copies that a checkpoint is made of.
//! What remains is the program itself, `PROGRAM` and `THREAD`: constants, found by subtracting all that from the peak of
//! small runs on Linux. They are code and tables of the binary that were touched, the allocator, and stacks.

use std::fmt;

use bidst_data::{AHEAD, Dataset};
use bidst_engine::{Kernel, SparseTensor};
use bidst_topology::Needs;
use serde::{Deserialize, Serialize};

use crate::trainer::Trainer;
use crate::units::size;

/// The program itself, with its libraries and what the allocator keeps.
const PROGRAM: u64 = 21 << 19;
/// Stack of a thread at work, its scratch, and what the allocator keeps for it.
const THREAD: u64 = 5 << 18;
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
            program: PROGRAM + trainer.network.threads() as u64 * THREAD,
            data: data_bytes(trainer.train.dataset()) + data_bytes(trainer.test.dataset()) + embedded_bytes(trainer),
            batches: batch_bytes(trainer),
            parameters: parameters as u64,
            gradients: (size_of::<f32>() * (zeros + unit_sums(trainer, &asked))) as u64,
            activations: (memory.activations_bytes + memory.activation_gradients_bytes) as u64,
            algorithm: (trainer.algorithm.state_bytes() + history_bytes(trainer)) as u64,
            checkpoint: checkpoint_bytes(trainer) as u64,
            decision: decision_bytes(trainer, &asked) as u64,
        }
    }

    /// All of it that is there at the same time.
    pub fn total(&self) -> u64 {
        let sum: u64 = self.parts().iter().map(|(_, bytes)| bytes).sum();
        sum - self.checkpoint.min(self.decision)
    }

    fn parts(&self) -> [(&'static str, u64); 9] {
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
        ]
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts().map(|(name, bytes)| format!("{name} {}", size(bytes)));
        f.write_str(&parts.join(", "))
    }
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
    let batch = image * trainer.config.train.batch_size;
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
