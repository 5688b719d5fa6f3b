//! Floating-point operations, counted in the field's convention.
//!
//! Multiplications and additions of convolutions and linear layers, 2 per multiply-add, times the density of the layer.
//! Batch norm, activations, pooling, the loss, the optimiser and all arithmetic on masks and scores are left out. The
//! backward pass counts as two forward passes (Evci et al., "Rigging the lottery", ICML 2020, appendix).
//!
//! With f_S and f_D for the forward pass of one image through the sparse and the dense network, one image of a training
//! step costs 3 f_S, plus one forward multiply-add for every zero whose gradient was computed. All zeros of all layers
//! make that 2 f_S + f_D: SNFS in every step, RigL at its decisions.

use bidst_engine::{Network, SparseTensor};
use bidst_model::WeightSpec;
use serde::{Deserialize, Serialize};

/// FLOPs of some training steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flops {
    /// All of them.
    pub training: u64,
    /// Those of them that went into gradients at zeros.
    pub probes: u64,
}

impl std::ops::AddAssign for Flops {
    fn add_assign(&mut self, other: Flops) {
        self.training += other.training;
        self.probes += other.probes;
    }
}

/// What the weights of a network cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// FLOPs of one weight in the forward pass of one image, per tensor.
    per_weight: Vec<u64>,
    dense: u64,
}

impl Cost {
    /// For the weight tensors of a network, in the order of [`bidst_model::Graph::weights`].
    pub fn new(weights: &[WeightSpec]) -> Cost {
        let per_weight: Vec<u64> = weights.iter().map(|weight| 2 * weight.macs_per_weight as u64).collect();
        let dense = weights.iter().zip(&per_weight).map(|(weight, cost)| weight.len() as u64 * cost).sum();
        Cost { per_weight, dense }
    }

    /// f_S: the forward pass of one image with `nonzeros` in each tensor.
    pub fn forward(&self, nonzeros: impl IntoIterator<Item = usize>) -> u64 {
        nonzeros.into_iter().zip(&self.per_weight).map(|(nnz, cost)| nnz as u64 * cost).sum()
    }

    /// f_D: the forward pass of one image with every weight.
    pub fn dense(&self) -> u64 {
        self.dense
    }

    /// f_S of a network as it is.
    pub fn inference(&self, network: &Network) -> u64 {
        self.forward(network.weights().iter().map(SparseTensor::nnz))
    }

    /// A training step on `images` images whose backward pass has just been done, probes on the images that they looked at.
    pub fn step(&self, network: &Network, images: usize) -> Flops {
        let probed_images = |tensor: &SparseTensor| (f64::from(tensor.probed_share()) * images as f64).round() as u64;
        let probed = |tensor: &SparseTensor| probed_images(tensor) * probed_zeros(tensor) as u64;
        let probes = network.weights().iter().zip(&self.per_weight).map(|(tensor, cost)| probed(tensor) * cost).sum();
        Flops { training: 3 * images as u64 * self.inference(network) + probes, probes }
    }
}

/// Zeros whose gradient was computed: the candidates, or all of them.
fn probed_zeros(tensor: &SparseTensor) -> usize {
    tensor.probe_gradients().len().min(tensor.len() - tensor.nnz())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sparsity;
    use crate::sparsity::Allocation;
    use bidst_engine::{Options, ProbeRequest, Storage};
    use bidst_model::{Graph, Shape, zoo};
    use bidst_topology::Distribution;

    fn cifar(model: &str, width: f64) -> Graph {
        let input = Shape { channels: 3, height: 32, width: 32 };
        zoo::build(model, &zoo::Options { width, classes: 10, input }).unwrap()
    }

    /// f_S / f_D at a uniform sparsity, the default layers dense.
    fn share(graph: &Graph, level: f64) -> f64 {
        let sparsity = Sparsity { level, distribution: Distribution::Uniform, ..Sparsity::default() };
        let allocation = Allocation::new(graph, &sparsity).unwrap();
        let cost = Cost::new(&allocation.weights);
        cost.forward(allocation.nonzeros()) as f64 / cost.dense() as f64
    }

    #[test]
    fn the_widened_resnet32_has_the_multiply_adds_of_the_literature() {
        let graph = cifar("resnet32", 2.0);
        let cost = Cost::new(&graph.weights());
        assert_eq!(cost.dense(), 2 * graph.macs());
        assert!((cost.dense() as f64 / 2e6 - 275.61).abs() < 0.005, "{}", cost.dense());
        for (level, expected) in [(0.9, 0.106), (0.95, 0.057), (0.98, 0.027)] {
            assert!((share(&graph, level) - expected).abs() < 0.0005, "{level}: {}", share(&graph, level));
        }
    }

    #[test]
    fn probes_count_for_the_images_that_they_looked_at_which_are_more_than_was_asked_for() {
        let graph = cifar("resnet20", 0.25);
        let weights = graph.weights();
        let pattern = |weight: &WeightSpec| Some((0..weight.len() as u32).step_by(2).collect());
        let patterns: Vec<_> = weights.iter().map(pattern).collect();
        let options = Options { batch_size: 64, threads: 1, activations: Storage::F32, instruction_set: None };
        let mut network = Network::new(&graph, &patterns, options).unwrap();
        network.set_probe(1, ProbeRequest::Candidates(&[1, 3, 5]), 0.3).unwrap();
        network.forward_backward(&[0.5; 64 * 3 * 32 * 32], &[1; 64], 0.0).unwrap();
        // Three tenths of four tiles of sixteen images are two tiles.
        let probes = 32 * 3 * 2 * 32 * 32;
        let training = 3 * 64 * Cost::new(&weights).inference(&network) + probes;
        assert_eq!(Cost::new(&weights).step(&network, 64), Flops { training, probes });
    }

    #[test]
    fn vgg19_has_the_multiply_adds_of_the_literature() {
        let graph = cifar("vgg19", 1.0);
        assert!((Cost::new(&graph.weights()).dense() as f64 / 2e6 - 398.1).abs() < 0.05);
        for (level, expected) in [(0.9, 0.104), (0.95, 0.054), (0.98, 0.024)] {
            assert!((share(&graph, level) - expected).abs() < 0.0005, "{level}: {}", share(&graph, level));
        }
    }
}
