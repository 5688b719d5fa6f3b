//! Activations stored as bf16: the same network, up to rounding. That each kernel rounds rightly is tested where the
//! kernels are; here it is that every tensor is taken for what it is.

mod common;

use bidst_engine::{Network, Options, Sgd, Storage};
use bidst_model::{Graph, Shape, zoo};
use common::graphs::*;
use common::*;

/// The same network with both storages.
fn twins(graph: &Graph, density: f32, batch_size: usize, seed: u64) -> [Network; 2] {
    [Storage::F32, Storage::Bf16].map(|activations| {
        let mut random = Random(seed);
        let patterns = patterns(graph, density, &mut random);
        pair(graph, &patterns, Options { activations, ..options(batch_size) }, &mut random).0
    })
}

fn gradients(network: &Network) -> Vec<f64> {
    let weights = network.weights().iter().flat_map(|weight| weight.gradients().iter().chain(weight.probe_gradients()));
    let vectors = network.vectors().iter().filter(|vector| vector.trainable).flat_map(|vector| &vector.gradients);
    weights.chain(vectors).map(|&gradient| f64::from(gradient)).collect()
}

/// Cosine of the angle between all gradients of both networks; 1 if there are none to speak of.
fn cosine(left: &Network, right: &Network) -> f64 {
    let (left, right) = (gradients(left), gradients(right));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norms = (dot(&left, &left) * dot(&right, &right)).sqrt();
    if norms < 1e-6 { 1.0 } else { dot(&left, &right) / norms }
}

/// Compares one step of both; returns the cosine of the angle between their gradients.
fn compare_twins(name: &str, [full, half]: &mut [Network; 2], pixels: &[f32], labels: &[u32]) -> f64 {
    probe_everything(full);
    probe_everything(half);
    let [a, b] = [&mut *full, half].map(|network| network.forward_backward(pixels, labels, 0.1).unwrap().loss);
    assert!((a - b).abs() <= 0.05 * a.max(1.0), "{name}: loss {b} instead of {a}");
    let cosine = cosine(full, half);
    // Narrow sparse networks blow rounding up; a tensor taken for another one leaves nothing in common.
    assert!(cosine >= 0.75, "{name}: the gradients' cosine is {cosine}");
    cosine
}

#[test]
fn networks_of_the_zoo_keep_their_loss_and_the_direction_of_their_gradient() {
    for (name, width, side, density) in [("resnet20", 0.5, 32, 0.5), ("vgg19", 0.0625, 32, 0.5), ("mlp", 0.25, 28, 0.2)]
    {
        let entry = zoo::list().iter().find(|entry| entry.name == name).unwrap();
        let input = Shape::new(entry.input.channels, side, side);
        let graph = zoo::build(name, &zoo::Options { width, classes: 10, input }).unwrap();
        let mut twins = twins(&graph, density, 21, 3);
        let (pixels, labels) = batch(&graph, 21, &mut Random(4));
        compare_twins(name, &mut twins, &pixels, &labels);
    }
}

#[test]
fn random_graphs_keep_their_loss_and_the_direction_of_their_gradient() {
    let mut total = 0.0;
    for case in 0..200 {
        let mut random = Random(5000 + case);
        let graph = random_graph(&mut random);
        let images = random.pick(&[16, 17, 50]);
        let mut twins = twins(&graph, random.pick(&[0.5, 1.0]), images, case);
        let (pixels, labels) = batch(&graph, images, &mut random);
        let nodes: Vec<_> = graph.nodes().iter().map(|n| format!("{} {:?} {:?}", n.name, n.op, n.inputs)).collect();
        total += compare_twins(&format!("case {case} {nodes:#?}"), &mut twins, &pixels, &labels);
    }
    assert!(total / 200.0 >= 0.99, "the cosine is {} on average", total / 200.0);
}

#[test]
fn activations_take_half_the_memory_and_parameters_the_same() {
    let graph = residual();
    let [full, half] = twins(&graph, 0.2, 64, 1).map(|network| network.memory());
    let share = half.activations_bytes as f64 / full.activations_bytes as f64;
    assert!((0.5..0.52).contains(&share), "{share}");
    assert!(half.activation_gradients_bytes as f64 <= 0.52 * full.activation_gradients_bytes as f64);
    assert_eq!(half.weights_bytes, full.weights_bytes);
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let graph = residual();
    let bits = |threads: usize| {
        let mut random = Random(11);
        let patterns = patterns(&graph, 0.1, &mut random);
        let options = Options { threads, activations: Storage::Bf16, ..options(150) };
        let (mut network, _) = pair(&graph, &patterns, options, &mut random);
        let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, nesterov: true, weight_decay: 1e-4 };
        for images in [150, 70, 3] {
            let (pixels, labels) = batch(&graph, images, &mut random);
            network.forward_backward(&pixels, &labels, 0.0).unwrap();
            network.sgd_step(&sgd);
        }
        network.weights().iter().flat_map(|weight| weight.values()).map(|value| value.to_bits()).collect::<Vec<_>>()
    };
    let one = bits(1);
    for threads in [2, 3, 4] {
        assert!(bits(threads) == one, "{threads} threads give other bits");
    }
}
