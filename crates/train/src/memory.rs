//! How much memory a run will take, said before its first step.
//!
//! What the engine holds is asked for; what it will hold only later is bounded from the shapes: sums of single units,
//! gradients at zeros that the algorithm will ask for, and the copies that a checkpoint is made of.

use std::fmt;

use bidst_data::Dataset;
use bidst_engine::{Kernel, Network};
use bidst_topology::Needs;
use serde::{Deserialize, Serialize};

use crate::setup::PREFETCH;
use crate::trainer::Trainer;
use crate::units::size;

/// The program itself, with its libraries and what the allocator keeps.
const PROGRAM: u64 = 16 << 20;
/// Scratch and stack of a thread at work.
const THREAD: u64 = 2 << 20;
/// Images in a lane.
const LANES: usize = 16;
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
    /// What the algorithm keeps.
    pub algorithm: u64,
    /// A checkpoint while it is written.
    pub checkpoint: u64,
}

impl Prediction {
    /// For a trainer before its first step in this process.
    pub(crate) fn of(trainer: &Trainer) -> Prediction {
        let memory = trainer.network.memory();
        let asked = asked(trainer);
        let entries = |at: usize| trainer.network.weights()[at].nnz() + asked[at].candidates;
        let candidates = asked.iter().map(|asked| asked.candidates).sum::<usize>();
        let zeros = asked.iter().map(|asked| asked.everywhere + asked.candidates).sum::<usize>();
        // Per candidate: its position, kept twice, and its entries in the streams of the kernels.
        let parameters = memory.parameter_bytes() + candidates * 32;
        let state = memory.weights_bytes + memory.momentum_bytes + memory.index_bytes + trainer.algorithm.dense_bytes();
        Prediction {
            program: PROGRAM + trainer.network.threads() as u64 * THREAD,
            data: data_bytes(trainer.train.dataset()) + data_bytes(trainer.test.dataset()),
            batches: batch_bytes(trainer),
            parameters: parameters as u64,
            gradients: (size_of::<f32>() * (zeros + unit_sums(&trainer.network, entries, &asked))) as u64,
            activations: (memory.activations_bytes + memory.activation_gradients_bytes) as u64,
            algorithm: trainer.algorithm.dense_bytes() as u64,
            checkpoint: 2 * state as u64,
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    fn parts(&self) -> [(&'static str, u64); 8] {
        let Prediction { program, data, batches, parameters, gradients, activations, algorithm, checkpoint } = *self;
        [
            ("program", program),
            ("data", data),
            ("batches", batches),
            ("parameters", parameters),
            ("sums of gradients", gradients),
            ("activations", activations),
            ("algorithm", algorithm),
            ("a checkpoint", checkpoint),
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

/// Floats of the largest buffer of sums of single units, and of those at all positions.
fn unit_sums(network: &Network, entries: impl Fn(usize) -> usize, asked: &[Asked]) -> usize {
    let units = network.batch_size().div_ceil(LANES);
    let kernels = network.kernels();
    let is_dense = |name: &str| kernels.iter().any(|choice| choice.layer == name && choice.backward == Kernel::Dense);
    let own = network.weights().iter().enumerate().map(|(at, weight)| match is_dense(weight.name()) {
        // The dense kernels also want the weight with its zeros.
        true => (units + 1) * weight.len(),
        false => units * entries(at),
    });
    let everywhere = asked.iter().map(|asked| units * asked.everywhere);
    own.max().unwrap_or(0) + everywhere.max().unwrap_or(0)
}

fn data_bytes(data: &Dataset) -> u64 {
    (data.images.memory() + size_of_val(&data.labels[..])) as u64
}

/// Batches in preparation, on their way, in use and to be used again, of both loaders.
fn batch_bytes(trainer: &Trainer) -> u64 {
    let image = size_of::<f32>() * trainer.train.dataset().image_len();
    (2 * (PREFETCH + 2) * trainer.config.train.batch_size * image) as u64
}
