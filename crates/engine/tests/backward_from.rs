//! Backward passes from a gradient of the logits that the caller chooses.

mod common;

use bidst_engine::{EngineError, Network};
use bidst_model::{Graph, Shape, zoo};
use common::*;

fn graph(name: &str) -> Graph {
    zoo::build(name, &zoo::Options { width: 0.25, classes: 5, input: Shape::new(3, 16, 16) }).unwrap()
}

/// Gradient of the mean cross-entropy.
fn cross_entropy(logits: &[f32], labels: &[u32]) -> Vec<f32> {
    let classes = logits.len() / labels.len();
    let row = |(logits, &label): (&[f32], &u32)| -> Vec<f32> {
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        let share = |(class, logit): (usize, &f32)| logit.exp() / sum - f32::from(class == label as usize);
        logits.iter().enumerate().map(share).map(|gradient| gradient / labels.len() as f32).collect()
    };
    logits.chunks(classes).zip(labels).flat_map(row).collect()
}

#[test]
fn the_gradient_of_the_loss_leads_to_the_gradients_of_an_ordinary_step() {
    for name in ["small-cnn", "resnet20"] {
        let (graph, mut random) = (graph(name), Random(7));
        let patterns = patterns(&graph, 0.5, &mut random);
        let (mut network, _) = pair(&graph, &patterns, options(24), &mut random);
        let (images, labels) = batch(&graph, 21, &mut random);
        network.forward_backward(&images, &labels, 0.0).unwrap();
        let expected: Vec<Vec<f32>> = network.weights().iter().map(|weight| weight.gradients().to_vec()).collect();
        network.backward_from(&images, 21, true, |logits| cross_entropy(logits, &labels)).unwrap();
        for (weight, expected) in network.weights().iter().zip(&expected) {
            let expected: Vec<f64> = expected.iter().map(|&gradient| f64::from(gradient)).collect();
            let error = difference(weight.gradients(), &expected);
            assert!(error < 1e-5, "{name}, {}: {error:e}", weight.name());
        }
    }
}

/// All weights positive, batch norm as initialised: outputs are linear in each weight.
fn positive(graph: &Graph, random: &mut Random) -> Network {
    let patterns = patterns(graph, 0.6, random);
    let mut network = Network::new(graph, &patterns, options(1)).unwrap();
    for (weight, spec) in network.weights_mut().iter_mut().zip(graph.weights()) {
        let scale = 2.0 / spec.fan_in() as f32;
        weight.values_mut().iter_mut().for_each(|value| *value = scale * random.value().abs());
    }
    network
}

#[test]
fn with_running_statistics_batch_norm_is_a_scale_in_both_directions() {
    for name in ["small-cnn", "resnet20"] {
        let (graph, mut random) = (graph(name), Random(11));
        let mut network = positive(&graph, &mut random);
        let image = vec![1.0; graph.input_shape().len()];
        let flow =
            |network: &mut Network| network.logits(&image, 1).unwrap().iter().map(|&y| f64::from(y)).sum::<f64>();
        let before: Vec<Vec<f32>> = network.vectors().iter().map(|vector| vector.values.clone()).collect();
        network.backward_from(&image, 1, false, |logits| vec![1.0; logits.len()]).unwrap();
        let after: Vec<Vec<f32>> = network.vectors().iter().map(|vector| vector.values.clone()).collect();
        assert_eq!(before, after, "{name} moved its running statistics");
        let gradients: Vec<Vec<f32>> = network.weights().iter().map(|weight| weight.gradients().to_vec()).collect();

        let total = flow(&mut network);
        for (at, gradients) in gradients.iter().enumerate() {
            let entry = random.below(gradients.len());
            let value = network.weights()[at].values()[entry];
            network.weights_mut()[at].values_mut()[entry] = 0.0;
            let (lost, expected) = (total - flow(&mut network), f64::from(value * gradients[entry]));
            network.weights_mut()[at].values_mut()[entry] = value;
            assert!((lost - expected).abs() < 1e-6 * total, "{name}, weight {at}: {lost} against {expected}");
        }
        // All of the output flows through each layer that has no other beside it.
        let ends = [0, gradients.len() - 1];
        for at in (0..gradients.len()).filter(|at| name == "small-cnn" || ends.contains(at)) {
            let values = network.weights()[at].values();
            let sum: f64 = values.iter().zip(&gradients[at]).map(|(w, g)| f64::from(w * g)).sum();
            assert!((sum / total - 1.0).abs() < 1e-4, "{name}, weight {at}: {sum} of {total}");
        }
    }
}

#[test]
fn a_gradient_that_does_not_fit_the_logits_is_refused() {
    let graph = graph("small-cnn");
    let mut network = positive(&graph, &mut Random(3));
    let image = vec![1.0; graph.input_shape().len()];
    let error = network.backward_from(&image, 1, false, |logits| logits[1..].to_vec()).unwrap_err();
    assert!(matches!(error, EngineError::Head { given: 4, images: 1, classes: 5 }), "{error}");
}
