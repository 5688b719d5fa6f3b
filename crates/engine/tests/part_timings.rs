//! The clock of single parts.

mod common;

use bidst_engine::{Network, PartKind};
use bidst_model::{Graph, Shape, zoo};
use common::*;
use std::time::Duration;

/// A narrow ResNet after one step, with or without the clock.
fn stepped(timed: bool) -> (Graph, Network) {
    let options = zoo::Options { width: 0.25, classes: 10, input: Shape::new(3, 16, 16) };
    let graph = zoo::build("resnet20", &options).unwrap();
    let mut random = Random(7);
    let patterns = patterns(&graph, 0.3, &mut random);
    let (mut network, _) = pair(&graph, &patterns, common::options(16), &mut random);
    network.time_parts(timed);
    let (pixels, labels) = batch(&graph, 16, &mut random);
    network.forward_backward(&pixels, &labels, 0.0).unwrap();
    (graph, network)
}

#[test]
fn every_weight_tensor_is_one_part_and_only_the_first_has_no_input_gradient() {
    let (graph, network) = stepped(true);
    let layer = |kind| match kind {
        PartKind::Layer { weight, input_gradient } => Some((weight, input_gradient)),
        _ => None,
    };
    let layers: Vec<_> = network.part_timings().iter().filter_map(|part| layer(part.kind)).collect();
    assert_eq!(layers, (0..graph.weights().len()).map(|weight| (weight, weight > 0)).collect::<Vec<_>>());
    let ends = [network.part_timings().first(), network.part_timings().last()];
    assert_eq!(ends.map(|part| part.unwrap().kind), [PartKind::Input, PartKind::Loss]);
}

#[test]
fn the_parts_of_a_pass_take_no_longer_than_the_pass() {
    let (_, network) = stepped(true);
    let parts = network.part_timings();
    let layers = parts.iter().filter(|part| matches!(part.kind, PartKind::Layer { .. }));
    assert!(layers.clone().all(|part| part.forward > Duration::ZERO && part.backward > Duration::ZERO));
    assert!(parts.iter().map(|part| part.forward).sum::<Duration>() <= network.timings().forward);
    assert!(parts.iter().map(|part| part.backward).sum::<Duration>() <= network.timings().backward);
}

#[test]
fn nothing_is_timed_unless_asked_for() {
    let (_, network) = stepped(false);
    assert!(network.part_timings().iter().all(|part| part.forward + part.backward == Duration::ZERO));
}
