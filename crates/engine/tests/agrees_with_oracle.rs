//! The fused engine against the plain oracle, over networks of the zoo and over random graphs.

mod common;

use bidst_engine::oracle::Oracle;
use bidst_engine::{Kernel, Kernels, Options, ProbeRequest, Sgd, Storage};
use bidst_model::{Shape, zoo};
use common::graphs::*;
use common::*;

const TOLERANCE: f64 = 2e-4;

const BOTH: [Kernels; 2] = [Kernels::All(Kernel::Sparse), Kernels::All(Kernel::Dense)];

#[test]
fn the_named_networks_agree_with_the_oracle_at_every_density_and_on_every_instruction_set() {
    for graph in [residual(), vgg_like(), odd()] {
        for (case, density) in [0.0, 0.02, 0.1, 0.5, 1.0].into_iter().enumerate() {
            for (set, kernels) in sets().into_iter().flat_map(|set| BOTH.map(|kernels| (set, kernels))) {
                let mut random = Random(case as u64);
                let patterns = patterns(&graph, density, &mut random);
                let options =
                    Options { batch_size: 37, threads: 1, activations: Storage::F32, instruction_set: Some(set) };
                let (mut network, mut oracle) = pair(&graph, &patterns, options, &mut random);
                network.set_kernels(&kernels).unwrap();
                probe_everything(&mut network);
                for images in [37, 1, 16] {
                    let (pixels, labels) = batch(&graph, images, &mut random);
                    let name = format!("{} d={density} {} {kernels:?} n={images}", graph.name(), set.name());
                    compare(&name, &mut network, &mut oracle, &pixels, &labels, TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn the_zoo_agrees_with_the_oracle() {
    // Deep stacks of very narrow sparse layers blow rounding up in any arithmetic: the last two are dense.
    for (name, width, side, density, images) in [
        ("small-cnn", 0.5, 28, 0.2, 19),
        ("mlp", 0.25, 28, 0.2, 33),
        ("resnet20", 0.5, 32, 0.2, 21),
        ("vgg19", 0.0625, 32, 0.2, 18),
        ("mobilenet-v2", 0.125, 32, 1.0, 17),
        ("resnet50", 0.0625, 48, 1.0, 18),
    ] {
        let entry = zoo::list().iter().find(|entry| entry.name == name).unwrap();
        let input = Shape::new(entry.input.channels, side, side);
        let graph = zoo::build(name, &zoo::Options { width, classes: 10, input }).unwrap();
        let mut random = Random(7);
        let patterns = patterns(&graph, density, &mut random);
        let (mut network, mut oracle) = pair(&graph, &patterns, options(images), &mut random);
        let (pixels, labels) = batch(&graph, images, &mut random);
        compare(name, &mut network, &mut oracle, &pixels, &labels, 2e-2);
    }
}

#[test]
fn three_hundred_random_graphs_agree_with_the_oracle() {
    for case in 0..300 {
        let mut random = Random(1000 + case);
        let graph = random_graph(&mut random);
        let density = random.pick(&[0.1, 0.5, 1.0]);
        let patterns = patterns(&graph, density, &mut random);
        let images = random.pick(&[2, 15, 16, 17, 50]);
        let options = Options {
            batch_size: images + random.below(40),
            threads: 1 + case as usize % 3,
            activations: Storage::F32,
            instruction_set: None,
        };
        let (mut network, mut oracle) = pair(&graph, &patterns, options, &mut random);
        let kernels = random.pick(&[Kernel::Sparse, Kernel::Dense]);
        network.set_kernels(&Kernels::All(kernels)).unwrap();
        probe_everything(&mut network);
        let (pixels, labels) = batch(&graph, images, &mut random);
        let nodes: Vec<_> = graph.nodes().iter().map(|n| format!("{} {:?} {:?}", n.name, n.op, n.inputs)).collect();
        compare(
            &format!("case {case} {kernels:?} n={images} {nodes:#?}"),
            &mut network,
            &mut oracle,
            &pixels,
            &labels,
            2e-3,
        );
    }
}

#[test]
fn candidate_probes_equal_the_dense_probe_there_and_change_no_other_bit() {
    let graph = residual();
    for kernels in BOTH {
        let mut random = Random(3);
        let patterns = patterns(&graph, 0.1, &mut random);
        let network = || {
            let mut network = pair(&graph, &patterns, options(40), &mut Random(5)).0;
            network.set_kernels(&kernels).unwrap();
            network
        };
        let (mut plain, mut probed, mut dense) = (network(), network(), network());
        let (pixels, labels) = batch(&graph, 40, &mut random);
        probe_everything(&mut dense);
        for weight in 0..probed.weights().len() {
            let tensor = &probed.weights()[weight];
            let inactive = (0..tensor.len() as u32).filter(|at| tensor.index().binary_search(at).is_err());
            let candidates: Vec<u32> = inactive.filter(|_| random.value() > 0.5).collect();
            probed.set_probe(weight, ProbeRequest::Candidates(&candidates), 1.0).unwrap();
            let outputs =
                [&mut plain, &mut probed, &mut dense].map(|n| n.forward_backward(&pixels, &labels, 0.0).unwrap());
            assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2]);
            for (a, b) in plain.weights().iter().zip(probed.weights()) {
                assert_eq!(a.gradients(), b.gradients());
            }
            let everywhere = dense.weights()[weight].probe_gradients();
            let scale = everywhere.iter().fold(1e-3, |a: f32, b| a.max(b.abs()));
            for (at, gradient) in candidates.iter().zip(probed.weights()[weight].probe_gradients()) {
                assert!((everywhere[*at as usize] - gradient).abs() <= 1e-5 * scale);
            }
        }
    }
}

#[test]
fn a_probe_on_a_share_of_the_batch_is_scaled_to_the_whole() {
    let graph = vgg_like();
    for kernels in BOTH {
        let mut random = Random(4);
        let patterns = patterns(&graph, 0.3, &mut random);
        let (mut network, _) = pair(&graph, &patterns, options(64), &mut random);
        network.set_kernels(&kernels).unwrap();
        // Four equal tiles: the gradient of the first one, scaled, is that of the whole batch.
        let (pixels, labels) = batch(&graph, 16, &mut random);
        let (pixels, labels) = (pixels.repeat(4), labels.repeat(4));
        let inactive: Vec<u32> = (0..network.weights()[0].len() as u32)
            .filter(|at| network.weights()[0].index().binary_search(at).is_err())
            .collect();
        let gradients = [1.0, 0.25].map(|share| {
            network.set_probe(0, ProbeRequest::Candidates(&inactive), share).unwrap();
            network.forward_backward(&pixels, &labels, 0.0).unwrap();
            assert_eq!(network.weights()[0].probed_share(), share);
            network.weights()[0].probe_gradients().to_vec()
        });
        let scale = gradients[0].iter().fold(0.0, |a: f32, b| a.max(b.abs()));
        assert!(scale > 0.0 && gradients[0].iter().zip(&gradients[1]).all(|(a, b)| (a - b).abs() <= 1e-5 * scale));
    }
}

#[test]
fn the_bits_do_not_depend_on_threads_nor_on_what_ran_before() {
    let graph = residual();
    let bits = |threads: usize, kernels: &Kernels| {
        let mut random = Random(11);
        let patterns = patterns(&graph, 0.1, &mut random);
        let options = Options { batch_size: 150, threads, activations: Storage::F32, instruction_set: None };
        let (mut network, _) = pair(&graph, &patterns, options, &mut random);
        network.set_kernels(kernels).unwrap();
        probe_everything(&mut network);
        let mut bits = Vec::new();
        for images in [150, 70, 150, 3] {
            let (pixels, labels) = batch(&graph, images, &mut random);
            bits.push(network.forward_backward(&pixels, &labels, 0.0).unwrap().loss.to_bits());
            network.sgd_step(&bidst_engine::Sgd {
                learning_rate: 0.1,
                momentum: 0.9,
                nesterov: true,
                weight_decay: 1e-4,
            });
            for weight in network.weights() {
                bits.extend(weight.values().iter().chain(weight.probe_gradients()).map(|x| u64::from(x.to_bits())));
            }
        }
        bits
    };
    for kernels in BOTH {
        let one = bits(1, &kernels);
        for threads in [1, 2, 3, 4] {
            assert!(bits(threads, &kernels) == one, "{threads} threads give other bits with {kernels:?}");
        }
    }
}

#[test]
fn after_a_change_of_pattern_the_network_is_the_one_built_with_it() {
    let graph = residual();
    for kernels in BOTH {
        let mut random = Random(21);
        let patterns = patterns(&graph, 0.2, &mut random);
        let (mut network, mut oracle) = pair(&graph, &patterns, options(20), &mut random);
        network.set_kernels(&kernels).unwrap();
        let mut changed = Vec::new();
        for (at, weight) in network.weights().iter().enumerate() {
            let dropped: Vec<u32> = weight.index().iter().copied().step_by(3).collect();
            let grown: Vec<u32> =
                (0..weight.len() as u32).filter(|i| weight.index().binary_search(i).is_err()).step_by(4).collect();
            changed.push((at, dropped, grown));
        }
        for (at, dropped, grown) in changed {
            network.apply(at, &dropped, &grown, &[], &[]).unwrap();
            dropped.iter().for_each(|&i| oracle.weights[at].values[i as usize] = 0.0);
        }
        let (pixels, labels) = batch(&graph, 20, &mut random);
        compare("changed", &mut network, &mut oracle, &pixels, &labels, TOLERANCE);
    }
}

/// SGD in f64, on active positions alone or, with all positions active, on those that `mask` keeps.
struct Twin {
    oracle: Oracle<f64>,
    mask: Vec<Vec<f64>>,
    momenta: Vec<Vec<f64>>,
}

impl Twin {
    fn new(oracle: Oracle<f64>, patterns: &[Option<Vec<u32>>]) -> Twin {
        let mask = oracle.weights.iter().zip(patterns).map(|(weight, pattern)| {
            let active = |at: usize| pattern.as_ref().is_none_or(|active| active.binary_search(&(at as u32)).is_ok());
            (0..weight.values.len()).map(|at| f64::from(u8::from(active(at)))).collect::<Vec<f64>>()
        });
        let vectors =
            oracle.vectors.iter().map(|vector| vec![f64::from(u8::from(vector.trainable)); vector.values.len()]);
        let mask: Vec<Vec<f64>> = mask.chain(vectors).collect();
        let momenta = mask.iter().map(|mask| vec![0.0; mask.len()]).collect();
        Twin { oracle, mask, momenta }
    }

    fn step(&mut self, sgd: &Sgd, images: &[f64], labels: &[u32]) -> f64 {
        let (loss, gradients) = self.oracle.loss_and_gradients(images, labels, 0.1);
        let [eta, mu, lambda] = [sgd.learning_rate, sgd.momentum, sgd.weight_decay].map(f64::from);
        let weights = self.oracle.weights.iter_mut().map(|weight| &mut weight.values);
        let values = weights.chain(self.oracle.vectors.iter_mut().map(|vector| &mut vector.values));
        let gradients = gradients.weights.iter().chain(&gradients.vectors);
        for (((values, gradients), mask), speeds) in values.zip(gradients).zip(&self.mask).zip(&mut self.momenta) {
            for (((value, gradient), mask), speed) in values.iter_mut().zip(gradients).zip(mask).zip(speeds) {
                *speed = mu * *speed + mask * (gradient + lambda * *value);
                *value -= eta * *speed;
            }
        }
        loss
    }
}

#[test]
fn fifty_steps_of_sparse_training_are_those_of_a_dense_network_under_a_mask() {
    let small = |name: &str, side: usize| {
        let entry = zoo::list().iter().find(|entry| entry.name == name).unwrap();
        let input = Shape::new(entry.input.channels, side, side);
        zoo::build(name, &zoo::Options { width: 0.25, classes: 10, input }).unwrap()
    };
    let sgd = Sgd { learning_rate: 0.02, momentum: 0.9, nesterov: false, weight_decay: 5e-4 };
    for graph in [small("mlp", 12), small("small-cnn", 12), residual()] {
        let mut random = Random(11);
        let patterns = patterns(&graph, 0.3, &mut random);
        let (mut network, sparse) = pair(&graph, &patterns, options(32), &mut random);
        let mut dense = Oracle::<f64>::new(&graph, &vec![None; patterns.len()]);
        for (dense, sparse) in dense.weights.iter_mut().zip(&sparse.weights) {
            dense.values = sparse.effective();
        }
        dense.vectors.clone_from(&sparse.vectors);
        let [mut sparse, mut masked] = [sparse, dense].map(|oracle| Twin::new(oracle, &patterns));
        let (pixels, labels) = batch(&graph, 32, &mut random);
        let wide: Vec<f64> = pixels.iter().map(|&x| f64::from(x)).collect();
        let mut first = None;
        for step in 0..50 {
            let at = format!("{} at step {step}", graph.name());
            let ours = network.forward_backward(&pixels, &labels, 0.1).unwrap().loss;
            network.sgd_step(&sgd);
            let [loss, other] = [&mut sparse, &mut masked].map(|twin| twin.step(&sgd, &wide, &labels));
            assert!((ours - loss).abs() <= 1e-4 * loss, "{at}: loss {ours} against {loss}");
            assert!((other - loss).abs() <= 1e-10 * loss, "{at}: loss {loss} against {other} under a mask");
            first.get_or_insert(loss);
            if step == 49 {
                assert!(loss < 0.9 * first.unwrap(), "{at}: {loss}, nothing was learnt");
            }
        }
        for (ours, theirs) in sparse.oracle.weights.iter().zip(&masked.oracle.weights) {
            let largest = theirs.values.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            let error = ours.effective().iter().zip(&theirs.values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(error <= 1e-10 * largest, "{}: {} differs by {error:e}", graph.name(), ours.name);
        }
    }
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let graph = vgg_like();
    let patterns = vec![None; graph.weights().len()];
    let (mut network, _) = pair(&graph, &patterns, options(4), &mut Random(1));
    let (pixels, labels) = batch(&graph, 5, &mut Random(2));
    assert!(network.forward_backward(&pixels, &labels, 0.0).unwrap_err().to_string().contains("planned for 1 to 4"));
    assert!(network.forward_backward(&pixels, &labels[..4], 0.0).unwrap_err().to_string().contains("input values"));
    let message = network.evaluate(&pixels[..2 * 128], &[0, 9]).unwrap_err().to_string();
    assert!(message.contains("label 9 of image 1"), "{message}");
    assert!(network.evaluate(&[], &[]).is_err());
}
