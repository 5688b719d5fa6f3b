//! A training loop of one's own: engine, data and algorithm, without the trainer between them.
//!
//! `cargo run --release -p bidst --example custom_loop`

use std::error::Error;
use std::sync::Arc;

use bidst::data::{Augment, Loader, LoaderOptions};
use bidst::engine::{Network, Options, ProbeRequest, Sgd, Storage};
use bidst::model::{Graph, Shape, zoo};
use bidst::topology::rng::{Purpose, Streams, normal};
use bidst::topology::{
    Algorithm, Change, Context, Distribution, LayerSpec, LayerView, Mask, Needs, Probe, algorithms, distribution,
};

const SEED: u64 = 1;
const BATCH: usize = 64;
const RATE: f32 = 0.05;

/// Every weight tensor but the first and the last, at 90% zeros.
fn sparse_layers(graph: &Graph) -> Result<Vec<LayerSpec>, Box<dyn Error>> {
    let weights = graph.weights();
    let inner = &weights[1..weights.len() - 1];
    let shapes: Vec<Vec<usize>> = inner.iter().map(|weight| weight.shape.clone()).collect();
    let counts = distribution::allocate(Distribution::Erk, &shapes, 0.9)?;
    let layers = inner.iter().zip(counts).map(|(w, nnz)| LayerSpec::new(w.name.clone(), w.shape.clone(), nnz));
    Ok(layers.collect())
}

/// A network with random first patterns and weights. Layer number `i` is its weight tensor number `i + 1`.
fn first_network(graph: &Graph, layers: &[LayerSpec]) -> Result<Network, Box<dyn Error>> {
    let streams = Streams::new(SEED);
    let mut patterns = vec![None; graph.weights().len()];
    for (i, layer) in layers.iter().enumerate() {
        let mask = Mask::first(layer, &mut streams.stream(Purpose::Mask, i as u64, 0))?;
        patterns[i + 1] = Some(mask.active().to_vec());
    }
    let options = Options { batch_size: BATCH, threads: 1, activations: Storage::F32, instruction_set: None };
    let mut network = Network::new(graph, &patterns, options)?;
    for (i, (tensor, spec)) in network.weights_mut().iter_mut().zip(graph.weights()).enumerate() {
        let mut draw = streams.stream(Purpose::Init, i as u64, 0);
        let scale = (2.0 / spec.fan_in() as f64).sqrt();
        tensor.values_mut().fill_with(|| (scale * normal(&mut draw)) as f32);
    }
    Ok(network)
}

/// One step: what the algorithm asks for, both passes, the optimiser, and at a decision the change of the patterns.
fn step(
    step: u64,
    network: &mut Network,
    algorithm: &mut dyn Algorithm,
    layers: usize,
    (images, labels): (&[f32], &[u32]),
) -> Result<f64, Box<dyn Error>> {
    algorithm.begin(step, RATE);
    let mut asked = vec![None; layers];
    for (layer, asked) in asked.iter_mut().enumerate() {
        let request = match algorithm.needs(step, layer) {
            Needs::Active => ProbeRequest::None,
            Needs::Dense => ProbeRequest::Dense,
            Needs::Candidates(index) => {
                *asked = Some(index.to_vec());
                ProbeRequest::Candidates(index)
            }
        };
        network.set_probe(layer + 1, request, algorithm.probe_share())?;
    }
    let loss = network.forward_backward(images, labels, 0.0)?.loss;

    algorithm.observe(step, &views(network, &asked));
    let deciding = algorithm.decides_at(step);
    if !(deciding && algorithm.replaces_weight_step()) {
        network.sgd_step(&Sgd { learning_rate: RATE, momentum: 0.9, nesterov: true, weight_decay: 5e-4 });
    }
    if deciding {
        for (layer, change) in algorithm.update(step, &views(network, &asked)).iter().enumerate() {
            let Change { dropped, grown, grown_values, reset } = change;
            network.apply(layer + 1, dropped, grown, grown_values, reset)?;
        }
    }
    Ok(loss)
}

/// What the algorithm may see: active weights and their gradients, and the gradients at zeros that it asked for.
fn views<'a>(network: &'a Network, asked: &'a [Option<Vec<u32>>]) -> Vec<LayerView<'a>> {
    let view = |(layer, asked): (usize, &'a Option<Vec<u32>>)| {
        let tensor = &network.weights()[layer + 1];
        let (gradients, share) = (tensor.probe_gradients(), tensor.probed_share());
        let probe = match asked {
            Some(index) => Probe::Candidates { index, gradients, share },
            None if gradients.len() == tensor.len() => Probe::Dense { gradients, share },
            None => Probe::None,
        };
        LayerView {
            active: tensor.index(),
            weights: tensor.values(),
            gradients: tensor.gradients(),
            momentum: tensor.momentum(),
            probe,
        }
    };
    asked.iter().enumerate().map(view).collect()
}

/// Trains a small network for an epoch with RigL.
pub fn main() -> Result<(), Box<dyn Error>> {
    let data = bidst::data::open("fashion-mini", None)?;
    let input = Shape::new(data.train.channels, data.train.height, data.train.width);
    let graph = zoo::build("small-cnn", &zoo::Options { width: 0.25, classes: data.train.classes, input })?;
    let options = LoaderOptions { batch_size: BATCH, seed: SEED, augment: Augment::NONE, shuffle: true, workers: 1 };
    let loader = Loader::new(Arc::new(data.train), options)?;

    let layers = sparse_layers(&graph)?;
    let mut network = first_network(&graph, &layers)?;
    let steps = loader.batches_per_epoch() as u64;
    let context = Context {
        layers: &layers,
        total_steps: steps,
        steps_per_epoch: steps,
        seed: SEED,
        weight_decay: 5e-4,
        learning_rate: RATE,
        momentum: 0.9,
        batch_size: BATCH,
    };
    let mut rigl = algorithms::build("rigl", &"update_interval = 20".parse()?, &context)?;
    let mut losses = Vec::new();
    for (number, batch) in loader.epoch(0, 0).enumerate() {
        let batch = batch?;
        let pair = (&batch.images[..], &batch.labels[..]);
        losses.push(step(number as u64, &mut network, rigl.as_mut(), layers.len(), pair)?);
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..10]), mean(&losses[losses.len() - 10..]));
    println!("the loss fell from {first:.2} to {last:.2} in {steps} steps");
    assert!(last < 0.7 * first);
    assert!(network.weights()[1..].iter().zip(&layers).all(|(tensor, layer)| tensor.nnz() == layer.nnz));
    Ok(())
}
