//! The fused engine against the plain oracle, over networks of the zoo and over random graphs.

mod common;

use bidst_engine::{Options, ProbeRequest};
use bidst_model::{ConvOptions, Graph, GraphBuilder, NodeId, Op, Shape, zoo};
use common::*;

const TOLERANCE: f64 = 2e-4;

/// Batch norm with an epsilon that does not blow rounding up where a channel is constant.
fn norm(b: &mut GraphBuilder, name: impl Into<String>, input: NodeId) -> NodeId {
    b.node(name, Op::BatchNormalization { epsilon: 1e-3, momentum: 0.1 }, &[input])
}

/// A residual network with a stride-2 stage, a projection and an identity block.
fn residual() -> Graph {
    let mut b = GraphBuilder::new("residual", Shape::new(3, 9, 8));
    let conv = b.conv("conv1", NodeId(0), ConvOptions::new(5, 3));
    let bn = norm(&mut b, "bn1", conv);
    let mut x = b.relu("relu1", bn);
    for (block, (channels, stride)) in [(5, 1), (7, 2), (7, 1)].into_iter().enumerate() {
        let name = |part: &str| format!("layer{block}.{part}");
        let y = b.conv(name("conv1"), x, ConvOptions::new(channels, 3).stride(stride));
        let y = norm(&mut b, name("bn1"), y);
        let y = b.relu(name("relu1"), y);
        let y = b.conv(name("conv2"), y, ConvOptions::new(channels, 3));
        let mut y = norm(&mut b, name("bn2"), y);
        if stride != 1 {
            let s = b.conv(name("downsample.conv"), x, ConvOptions::new(channels, 1).stride(stride));
            x = norm(&mut b, name("downsample.bn"), s);
        }
        y = b.add(name("add"), y, x);
        x = b.relu(name("relu2"), y);
    }
    let x = b.global_average_pool("pool", x);
    let x = b.flatten("flatten", x);
    b.gemm("fc", x, 4, true);
    b.finish().unwrap()
}

/// Convolutions with batch norm, max pooling, a linear head on a whole plane.
fn vgg_like() -> Graph {
    let mut b = GraphBuilder::new("vgg-like", Shape::new(2, 8, 8));
    let mut x = NodeId(0);
    for (layer, channels) in [6, 9].into_iter().enumerate() {
        x = b.conv(format!("features.{layer}.conv"), x, ConvOptions::new(channels, 3));
        x = norm(&mut b, format!("features.{layer}.bn"), x);
        x = b.relu(format!("features.{layer}.relu"), x);
        x = b.max_pool(format!("features.{layer}.pool"), x, 2, 2);
    }
    let x = b.flatten("flatten", x);
    let x = b.gemm("fc1", x, 12, true);
    let x = b.relu("relu", x);
    b.gemm("fc2", x, 5, true);
    b.finish().unwrap()
}

/// Everything that no fusion pattern covers.
fn odd() -> Graph {
    let mut b = GraphBuilder::new("odd", Shape::new(3, 7, 5));
    let images = b.batch_normalization("input_bn", NodeId(0));
    let a = b.conv("biased", images, ConvOptions::new(6, 3).with_bias());
    let a = b.clip("relu6", a, 0.7);
    let c = b.conv("grouped", a, ConvOptions::new(6, 3).groups(3));
    let sum = b.add("plain_add", c, a);
    let twice = b.add("double", sum, sum);
    let p = b.average_pool("average", twice, 2, 1);
    let p = norm(&mut b, "pool_bn", p);
    let q = b.relu("relu", p);
    let q = norm(&mut b, "bn_after_relu", q);
    let d = b.conv("depthwise", q, ConvOptions::new(6, 3).groups(6).stride(2));
    let d = norm(&mut b, "bn_d", d);
    let d = norm(&mut b, "bn_of_bn", d);
    let f = b.flatten("flatten", d);
    let f = b.relu("relu_flat", f);
    b.gemm("fc", f, 3, false);
    b.finish().unwrap()
}

#[test]
fn the_named_networks_agree_with_the_oracle_at_every_density_and_on_every_instruction_set() {
    for graph in [residual(), vgg_like(), odd()] {
        for (case, density) in [0.0, 0.02, 0.1, 0.5, 1.0].into_iter().enumerate() {
            for set in sets() {
                let mut random = Random(case as u64);
                let patterns = patterns(&graph, density, &mut random);
                let options = Options { batch_size: 37, threads: 1, instruction_set: Some(set) };
                let (mut network, mut oracle) = pair(&graph, &patterns, options, &mut random);
                probe_everything(&mut network);
                for images in [37, 1, 16] {
                    let (pixels, labels) = batch(&graph, images, &mut random);
                    let name = format!("{} d={density} {} n={images}", graph.name(), set.name());
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

/// A random graph of up to a dozen nodes: every operation, every way to share a value.
fn random_graph(random: &mut Random) -> Graph {
    let shape = Shape::new(1 + random.below(4), 3 + random.below(7), 3 + random.below(7));
    let mut b = GraphBuilder::new("random", shape);
    let mut shapes = vec![shape];
    let mut unread: Vec<NodeId> = vec![NodeId(0)];
    let add = |b: &mut GraphBuilder, op: Op, inputs: &[NodeId], shapes: &mut Vec<Shape>| {
        let node = b.node(format!("n{}", shapes.len()), op, inputs);
        shapes.push(b.shape(node));
        node
    };
    for _ in 0..4 + random.below(9) {
        // Mostly go on from the newest value, sometimes branch off an older one.
        let from = if random.below(3) == 0 { NodeId(random.below(shapes.len())) } else { NodeId(shapes.len() - 1) };
        let shape = shapes[from.0];
        let smallest = shape.height.min(shape.width);
        let kernel = random.pick(&[1, 2, 3, 3]).min(smallest);
        let (stride, pad) = (random.pick(&[1, 1, 2, 3]), random.pick(&[0, 1]).min(kernel / 2));
        let (kernel, stride, padding) = ([kernel; 2], [stride; 2], [pad; 2]);
        let partner = (0..shapes.len()).rev().find(|&at| shapes[at] == shape && NodeId(at) != from);
        let op = match random.below(12) {
            0..=3 => {
                let (out_channels, bias) = (1 + random.below(8), random.below(3) == 0);
                Op::Conv { out_channels, kernel, stride, padding, groups: 1, bias }
            }
            4 => Op::Conv {
                out_channels: 2 * shape.channels,
                kernel,
                stride,
                padding,
                groups: shape.channels,
                bias: false,
            },
            5..=6 => Op::BatchNormalization { epsilon: 1e-3, momentum: 0.1 },
            7 => Op::Relu,
            8 => Op::Clip { max: 0.5 },
            9 => Op::MaxPool { kernel, stride, padding },
            10 => Op::AveragePool { kernel, stride, padding },
            _ if partner.is_some() => Op::Add,
            _ => Op::Relu,
        };
        let inputs = match (&op, partner) {
            (Op::Add, Some(partner)) => vec![from, NodeId(partner)],
            _ => vec![from],
        };
        let node = add(&mut b, op, &inputs, &mut shapes);
        unread.retain(|id| !inputs.contains(id));
        unread.push(node);
    }
    // Every loose end reaches the logits.
    let heads: Vec<NodeId> = unread
        .iter()
        .map(|&end| {
            let flat = add(
                &mut b,
                if random.below(2) == 0 { Op::Flatten } else { Op::GlobalAveragePool },
                &[end],
                &mut shapes,
            );
            let flat = if random.below(4) == 0 { add(&mut b, Op::Relu, &[flat], &mut shapes) } else { flat };
            add(&mut b, Op::Gemm { out_features: 3, bias: random.below(2) == 0 }, &[flat], &mut shapes)
        })
        .collect();
    heads.into_iter().reduce(|sum, head| add(&mut b, Op::Add, &[sum, head], &mut shapes));
    b.finish().unwrap()
}

#[test]
fn three_hundred_random_graphs_agree_with_the_oracle() {
    for case in 0..300 {
        let mut random = Random(1000 + case);
        let graph = random_graph(&mut random);
        let density = random.pick(&[0.1, 0.5, 1.0]);
        let patterns = patterns(&graph, density, &mut random);
        let images = random.pick(&[2, 15, 16, 17, 50]);
        let options =
            Options { batch_size: images + random.below(40), threads: 1 + case as usize % 3, instruction_set: None };
        let (mut network, mut oracle) = pair(&graph, &patterns, options, &mut random);
        probe_everything(&mut network);
        let (pixels, labels) = batch(&graph, images, &mut random);
        let nodes: Vec<_> = graph.nodes().iter().map(|n| format!("{} {:?} {:?}", n.name, n.op, n.inputs)).collect();
        compare(&format!("case {case} n={images} {nodes:#?}"), &mut network, &mut oracle, &pixels, &labels, 2e-3);
    }
}

#[test]
fn candidate_probes_equal_the_dense_probe_there_and_change_no_other_bit() {
    let graph = residual();
    let mut random = Random(3);
    let patterns = patterns(&graph, 0.1, &mut random);
    let (mut plain, _) = pair(&graph, &patterns, options(40), &mut Random(5));
    let (mut probed, _) = pair(&graph, &patterns, options(40), &mut Random(5));
    let (mut dense, _) = pair(&graph, &patterns, options(40), &mut Random(5));
    let (pixels, labels) = batch(&graph, 40, &mut random);
    probe_everything(&mut dense);
    for weight in 0..probed.weights().len() {
        let tensor = &probed.weights()[weight];
        let inactive = (0..tensor.len() as u32).filter(|at| tensor.index().binary_search(at).is_err());
        let candidates: Vec<u32> = inactive.filter(|_| random.value() > 0.5).collect();
        probed.set_probe(weight, ProbeRequest::Candidates(&candidates), 1.0).unwrap();
        let outputs = [&mut plain, &mut probed, &mut dense].map(|n| n.forward_backward(&pixels, &labels, 0.0).unwrap());
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

#[test]
fn a_probe_on_a_share_of_the_batch_is_scaled_to_the_whole() {
    let graph = vgg_like();
    let mut random = Random(4);
    let patterns = patterns(&graph, 0.3, &mut random);
    let (mut network, _) = pair(&graph, &patterns, options(64), &mut random);
    // Four equal tiles: the gradient of the first one, scaled, is that of the whole batch.
    let (pixels, labels) = batch(&graph, 16, &mut random);
    let (pixels, labels) = (pixels.repeat(4), labels.repeat(4));
    let inactive: Vec<u32> = (0..network.weights()[0].len() as u32)
        .filter(|at| network.weights()[0].index().binary_search(at).is_err())
        .collect();
    let gradients = [1.0, 0.25].map(|share| {
        network.set_probe(0, ProbeRequest::Candidates(&inactive), share).unwrap();
        network.forward_backward(&pixels, &labels, 0.0).unwrap();
        network.weights()[0].probe_gradients().to_vec()
    });
    let scale = gradients[0].iter().fold(0.0, |a: f32, b| a.max(b.abs()));
    assert!(scale > 0.0 && gradients[0].iter().zip(&gradients[1]).all(|(a, b)| (a - b).abs() <= 1e-5 * scale));
}

#[test]
fn the_bits_do_not_depend_on_threads_nor_on_what_ran_before() {
    let graph = residual();
    let bits = |threads: usize| {
        let mut random = Random(11);
        let patterns = patterns(&graph, 0.1, &mut random);
        let options = Options { batch_size: 150, threads, instruction_set: None };
        let (mut network, _) = pair(&graph, &patterns, options, &mut random);
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
    let one = bits(1);
    for threads in [1, 2, 3, 4] {
        assert!(bits(threads) == one, "{threads} threads give other bits");
    }
}

#[test]
fn after_a_change_of_pattern_the_network_is_the_one_built_with_it() {
    let graph = residual();
    let mut random = Random(21);
    let patterns = patterns(&graph, 0.2, &mut random);
    let (mut network, mut oracle) = pair(&graph, &patterns, options(20), &mut random);
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
