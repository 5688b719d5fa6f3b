//! First patterns and first weights.
//!
//! Convolutions and hidden linear layers: normal with variance `2 / fan_out` (convolution) or `2 / fan_in` (linear) of the
//! dense layer (He et al. 2015). The last linear layer: normal with standard deviation 0.01. Biases 0. This is the
//! initialisation of the CIFAR networks in the papers that we compare with (GraSP, MEST). The value of a
//! position is a function of (seed, layer, position): it does not depend on which other positions exist.

use bidst_model::{Graph, Op, WeightSpec};
use bidst_topology::rng::{Purpose, Streams, at};
use bidst_topology::{LayerSpec, Mask, MaskError};

use crate::sparsity::Allocation;

/// A random pattern for every sparsified weight, with as many non-zeros as `layers` start with, `None` for the dense ones.
///
/// # Errors
/// If a tensor has more positions than 32 bits can index.
pub fn patterns(allocation: &Allocation, layers: &[LayerSpec], seed: u64) -> Result<Vec<Option<Vec<u32>>>, MaskError> {
    let streams = Streams::new(seed);
    let mut patterns = vec![None; allocation.weights.len()];
    for (index, layer) in allocation.sparse().into_iter().zip(layers) {
        let mut draw = streams.stream(Purpose::Mask, index as u64, 0);
        patterns[index] = Some(Mask::first(layer, &mut draw)?.active().to_vec());
    }
    Ok(patterns)
}

/// First values of one weight tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Initializer {
    key: u64,
    deviation: f64,
}

impl Initializer {
    /// The initialiser of weight number `index` of [`Graph::weights`].
    pub fn new(graph: &Graph, weights: &[WeightSpec], index: usize, seed: u64) -> Initializer {
        let weight = &weights[index];
        let is_gemm = |weight: &WeightSpec| matches!(graph.node(weight.node).op, Op::Gemm { .. });
        let last_gemm = weights.iter().rposition(is_gemm);
        let deviation = match () {
            () if last_gemm == Some(index) => 0.01,
            () if is_gemm(weight) => (2.0 / weight.fan_in() as f64).sqrt(),
            () => (2.0 / weight.fan_out() as f64).sqrt(),
        };
        Initializer { key: Streams::new(seed).key(Purpose::Init, index as u64, 0), deviation }
    }

    /// The first value of `position` (Box and Muller on two counter-based words).
    pub fn value(&self, position: u32) -> f32 {
        let uniform = |word: u64| ((word >> 11) as f64 + 0.5) * 2f64.powi(-53);
        let radius = (-2.0 * uniform(at(self.key, 2 * u64::from(position))).ln()).sqrt();
        let angle = std::f64::consts::TAU * uniform(at(self.key, 2 * u64::from(position) + 1));
        (self.deviation * radius * angle.cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bidst_model::{Shape, zoo};

    fn graph() -> Graph {
        let input = Shape { channels: 1, height: 28, width: 28 };
        zoo::build("mlp", &zoo::Options { width: 1.0, classes: 10, input }).unwrap()
    }

    #[test]
    fn hidden_weights_are_kaiming_normal_and_the_last_layer_has_deviation_one_hundredth() {
        let graph = graph();
        let weights = graph.weights();
        let deviation = |index: usize| {
            let initializer = Initializer::new(&graph, &weights, index, 3);
            let n = weights[index].len() as u32;
            let sum: f64 = (0..n).map(|position| f64::from(initializer.value(position)).powi(2)).sum();
            (sum / f64::from(n)).sqrt()
        };
        let expected = (2.0 / 784f64).sqrt();
        assert!((deviation(0) / expected - 1.0).abs() < 0.01);
        assert!((deviation(weights.len() - 1) / 0.01 - 1.0).abs() < 0.05);
    }

    #[test]
    fn values_differ_between_seeds_layers_and_positions() {
        let graph = graph();
        let weights = graph.weights();
        let value = |index, seed, position| Initializer::new(&graph, &weights, index, seed).value(position);
        assert_eq!(value(0, 1, 5), value(0, 1, 5));
        assert_ne!(value(0, 1, 5), value(0, 2, 5));
        assert_ne!(value(0, 1, 5), value(1, 1, 5));
        assert_ne!(value(0, 1, 5), value(0, 1, 6));
    }
}
