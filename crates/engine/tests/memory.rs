//! What a network keeps beyond activations follows the number of non-zeros.

mod common;

use bidst_engine::Memory;
use bidst_model::{Shape, zoo};
use common::*;

/// ResNet-32 of width 2 after a step, with the stem, the projections and the head dense.
fn widened_resnet32(density: f32) -> (Memory, usize) {
    let graph =
        zoo::build("resnet32", &zoo::Options { width: 2.0, classes: 10, input: Shape::new(3, 32, 32) }).unwrap();
    let mut random = Random(1);
    let mut patterns = patterns(&graph, density, &mut random);
    for (spec, pattern) in graph.weights().iter().zip(&mut patterns) {
        if spec.name.starts_with("conv1") || spec.name.contains("downsample") || spec.name.starts_with("fc") {
            *pattern = None;
        }
    }
    let (mut network, _) = pair(&graph, &patterns, options(32), &mut random);
    let (pixels, labels) = batch(&graph, 32, &mut random);
    network.forward_backward(&pixels, &labels, 0.0).unwrap();
    let parameters = network.weights().iter().map(|w| w.nnz()).sum::<usize>();
    let vectors = network.vectors().iter().map(|v| v.values.len()).sum::<usize>();
    (network.memory(), parameters + vectors)
}

#[test]
fn parameter_memory_of_the_widened_resnet_follows_the_non_zeros() {
    let dense_sgd = 12 * 1_860_522;
    for (density, share) in [(0.1, 0.45), (0.02, 0.15)] {
        let (memory, stored) = widened_resnet32(density);
        // Value, gradient, momentum, index, two streams; the shared sums of the largest layer come on top.
        let per_parameter = memory.parameter_bytes() as f64 / stored as f64;
        assert!(per_parameter <= 44.0, "{per_parameter:.1} bytes a stored parameter at density {density}: {memory:?}");
        let of_dense = memory.parameter_bytes() as f64 / f64::from(dense_sgd);
        assert!(of_dense <= share, "{of_dense:.3} of dense SGD's {dense_sgd} bytes at density {density}: {memory:?}");
    }
}
