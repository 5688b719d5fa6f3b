//! What a run holds before its first step: `inventory.json`, for those who later ask what was where.

use bidst_engine::{Memory, Network};
use serde::{Deserialize, Serialize};

use crate::trainer::Trainer;

/// Layers, and bytes by purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Weight tensors in the order of the network.
    pub layers: Vec<Layer>,
    /// Bytes held.
    pub bytes: Bytes,
    /// Bytes that the same network would hold with every weight. Of what has no counterpart there, 0.
    pub dense_bytes: Bytes,
}

/// A weight tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its dimensions, output first.
    pub shape: Vec<usize>,
    /// Non-zeros that the configuration asks for; `None` if the layer stays dense.
    pub target: Option<usize>,
    /// Non-zeros before the first step.
    pub nnz: usize,
}

/// Bytes by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bytes {
    /// Weights, biases and normalisation.
    pub weights: usize,
    /// Their gradients, at non-zeros and where the algorithm asked.
    pub gradients: usize,
    /// Their momentum.
    pub momentum: usize,
    /// Positions of the non-zeros and of candidates.
    pub index: usize,
    /// Index streams and packed weights of the kernels.
    pub streams: usize,
    /// What the algorithm keeps for positions that do not exist.
    pub algorithm: usize,
    /// Activations and their gradients.
    pub activations: usize,
    /// Scratch of all threads, partial sums included.
    pub scratch: usize,
}

impl Inventory {
    /// Of a trainer before its first step.
    pub fn of(trainer: &Trainer) -> Inventory {
        let allocation = trainer.allocation.weights.iter().zip(&trainer.allocation.nnz);
        let layers = allocation.zip(trainer.network.weights()).map(|((weight, &target), tensor)| Layer {
            name: weight.name.clone(),
            shape: weight.shape.clone(),
            target,
            nnz: tensor.nnz(),
        });
        let (bytes, dense_bytes) = bytes(&trainer.network, trainer.algorithm.state_bytes());
        Inventory { layers: layers.collect(), bytes, dense_bytes }
    }
}

/// As held, and as they would be with every weight.
fn bytes(network: &Network, algorithm: usize) -> (Bytes, Bytes) {
    let memory: Memory = network.memory();
    let floats = |count: usize| count * size_of::<f32>();
    let sum = |count: fn(&bidst_engine::SparseTensor) -> usize| network.weights().iter().map(count).sum::<usize>();
    let (nonzeros, positions) = (sum(|tensor| tensor.nnz()), sum(|tensor| tensor.len()));
    let probes = sum(|tensor| tensor.probe_gradients().len());
    let vectors = network.vectors();
    let values: usize = vectors.iter().map(|vector| vector.values.len()).sum();
    let trained: usize = vectors.iter().map(|vector| vector.gradients.len()).sum();
    let activations = memory.activations_bytes + memory.activation_gradients_bytes;
    let dense = Bytes {
        weights: floats(positions + values),
        gradients: floats(positions + trained),
        momentum: floats(positions + trained),
        activations,
        ..Bytes::default()
    };
    let (weights, gradients) = (floats(nonzeros + values), floats(nonzeros + probes + trained));
    let held = Bytes {
        weights,
        gradients,
        momentum: memory.momentum_bytes,
        index: memory.index_bytes,
        streams: memory.plan_bytes + memory.weights_bytes.saturating_sub(weights),
        algorithm,
        activations,
        scratch: memory.scratch_bytes + memory.gradients_bytes.saturating_sub(gradients),
    };
    (held, dense)
}
