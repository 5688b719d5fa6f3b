//! Training steps ask for no memory once everything has been laid out. Alone in its file: it watches the whole process.

mod common;

use bidst_engine::{Network, ProbeRequest, Sgd};
use bidst_model::{Graph, GraphBuilder, NodeId, Op, Shape, zoo};
use common::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const IMAGES: usize = 17;
/// The threads of the pool set themselves up when they first look for work.
const WARM_UP: usize = 60;
const STEPS: usize = 20;
const SGD: Sgd = Sgd { learning_rate: 0.01, momentum: 0.9, nesterov: true, weight_decay: 5e-4 };

/// Every kind of step: a pooling, a change of shape, a bias, a value that several residuals read.
fn every_step() -> Graph {
    let mut b = GraphBuilder::new("every-step", Shape::new(3, 8, 8));
    let x = b.conv("stem", NodeId(0), bidst_model::ConvOptions::new(8, 3).with_bias());
    let x = b.max_pool("pool", x, 2, 2);
    let y = b.conv("conv", x, bidst_model::ConvOptions::new(8, 3));
    let y = b.batch_normalization("bn", y);
    let once = b.add("once", y, x);
    let twice = b.add("twice", once, x);
    let x = b.node("relu", Op::Relu, &[twice]);
    let x = b.flatten("flatten", x);
    b.gemm("fc", x, 5, true);
    b.finish().unwrap()
}

/// Allocations of so many training steps, and their bytes.
fn allocated(network: &mut Network, steps: usize, pixels: &[f32], labels: &[u32]) -> (usize, usize) {
    let region = Region::new(ALLOCATOR);
    for _ in 0..steps {
        network.forward_backward(pixels, labels, 0.1).unwrap();
        network.sgd_step(&SGD);
    }
    let change = region.change();
    (change.allocations + change.reallocations, change.bytes_allocated)
}

/// Zeros of every weight tensor, some thirty of them.
fn candidates(network: &Network) -> Vec<Vec<u32>> {
    let of = |weight: &bidst_engine::SparseTensor| {
        let zeros = (0..weight.len() as u32).filter(|at| weight.index().binary_search(at).is_err());
        zeros.step_by(weight.len().div_ceil(30)).collect()
    };
    network.weights().iter().map(of).collect()
}

#[test]
fn training_steps_allocate_nothing_once_they_are_warm() {
    let mobilenet = zoo::Options { width: 0.125, classes: 10, input: Shape::new(3, 16, 16) };
    for graph in [every_step(), zoo::build("mobilenet-v2", &mobilenet).unwrap()] {
        for threads in [1, 2] {
            let mut random = Random(1);
            let mut patterns = patterns(&graph, 0.3, &mut random);
            // The first layer is dense, so that both kinds of kernel are at work.
            patterns[0] = None;
            let options = bidst_engine::Options { threads, ..options(IMAGES) };
            let (mut network, _) = pair(&graph, &patterns, options, &mut random);
            let (pixels, labels) = batch(&graph, IMAGES, &mut random);
            let candidates = candidates(&network);
            for probe in ["none", "candidates", "dense"] {
                for (weight, candidates) in candidates.iter().enumerate() {
                    let request = match probe {
                        "none" => ProbeRequest::None,
                        "candidates" => ProbeRequest::Candidates(candidates),
                        _ => ProbeRequest::Dense,
                    };
                    network.set_probe(weight, request, 0.5).unwrap();
                }
                allocated(&mut network, WARM_UP, &pixels, &labels);
                let (count, bytes) = allocated(&mut network, STEPS, &pixels, &labels);
                // The queue in which steps are handed to the threads takes a new block every 63 steps.
                let most = if threads == 1 { (0, 0) } else { (1, 2048) };
                let what = format!("{} on {threads} threads, probe {probe}", graph.name());
                assert!(count <= most.0 && bytes <= most.1, "{what}: {bytes} bytes in {count} allocations");
            }
        }
    }
}
