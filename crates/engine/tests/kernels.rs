//! Which kernels a network uses, and who decides.

mod common;

use bidst_engine::{Choice, Kernel, Kernels, Network, ProbeRequest};
use bidst_model::{ConvOptions, Graph, GraphBuilder, NodeId, Shape};
use common::*;

/// Two convolutions and a head.
fn graph() -> Graph {
    let mut b = GraphBuilder::new("small", Shape::new(3, 8, 8));
    let x = b.conv("conv1", NodeId(0), ConvOptions::new(8, 3));
    let x = b.relu("relu1", x);
    let x = b.conv("conv2", x, ConvOptions::new(8, 3));
    let x = b.global_average_pool("pool", x);
    let x = b.flatten("flatten", x);
    b.gemm("fc", x, 4, false);
    b.finish().unwrap()
}

/// Dense but for the second convolution.
fn network(density: f32) -> Network {
    let graph = graph();
    let mut patterns = patterns(&graph, density, &mut Random(1));
    (patterns[0], patterns[2]) = (None, None);
    pair(&graph, &patterns, options(32), &mut Random(2)).0
}

fn forward(network: &Network) -> Vec<Kernel> {
    network.kernels().iter().map(|choice| choice.forward).collect()
}

#[test]
fn by_default_dense_layers_get_dense_kernels_and_sparse_layers_sparse_ones() {
    assert_eq!(forward(&network(0.1)), [Kernel::Dense, Kernel::Sparse, Kernel::Dense]);
}

#[test]
fn a_layer_that_changes_its_density_changes_its_kernel_by_the_same_rule() {
    let mut network = network(0.95);
    assert_eq!(forward(&network)[1], Kernel::Dense);
    let dropped: Vec<u32> = network.weights()[1].index().iter().copied().filter(|at| at % 10 > 0).collect();
    network.apply(1, &dropped, &[], &[], &[]).unwrap();
    let (pixels, labels) = batch(&graph(), 32, &mut Random(3));
    network.forward_backward(&pixels, &labels, 0.0).unwrap();
    assert_eq!(forward(&network)[1], Kernel::Sparse);
}

#[test]
fn one_kernel_can_be_forced_on_all_layers() {
    let mut network = network(0.1);
    for kernel in [Kernel::Sparse, Kernel::Dense] {
        network.set_kernels(&Kernels::All(kernel)).unwrap();
        assert!(network.kernels().iter().all(|choice| [choice.forward, choice.backward] == [kernel; 2]));
    }
}

#[test]
fn measured_choices_cover_every_layer_and_can_be_handed_in_again() {
    let mut network = network(0.5);
    let before = network.kernels();
    let choices = network.measure_kernels();
    assert_eq!(network.kernels(), before);
    let names: Vec<&str> = choices.iter().map(|choice| choice.layer.as_str()).collect();
    assert_eq!(names, ["conv1.weight", "conv2.weight", "fc.weight"]);
    for Choice { forward, backward, measured, .. } in &choices {
        let times = measured.unwrap();
        assert_eq!(*forward == Kernel::Dense, times.forward_dense_ms < times.forward_sparse_ms);
        assert_eq!(*backward == Kernel::Dense, times.backward_dense_ms < times.backward_sparse_ms);
    }
    network.set_kernels(&Kernels::Listed(choices.clone())).unwrap();
    assert_eq!(network.kernels(), choices);
}

#[test]
fn a_choice_for_a_layer_that_is_not_there_is_refused_by_name_and_changes_nothing() {
    let mut network = network(0.1);
    let before = network.kernels();
    let mut choices = before.clone();
    choices.iter_mut().for_each(|choice| choice.forward = Kernel::Dense);
    choices[2].layer = "head.weight".to_owned();
    let message = network.set_kernels(&Kernels::Listed(choices)).unwrap_err().to_string();
    assert!(message.contains("head.weight") && message.contains("conv2.weight"), "{message}");
    assert_eq!(network.kernels(), before);
}

#[test]
fn beside_a_dense_backward_pass_a_probe_on_a_share_of_the_batch_changes_no_bit() {
    let graph = graph();
    let gradients = |share: Option<f32>| {
        let mut network = pair(&graph, &patterns(&graph, 0.3, &mut Random(1)), options(64), &mut Random(2)).0;
        network.set_kernels(&Kernels::All(Kernel::Dense)).unwrap();
        if let Some(share) = share {
            network.set_probe(1, ProbeRequest::Dense, share).unwrap();
        }
        let (pixels, labels) = batch(&graph, 64, &mut Random(3));
        network.forward_backward(&pixels, &labels, 0.0).unwrap();
        network.weights().iter().flat_map(|weight| weight.gradients().to_vec()).collect::<Vec<f32>>()
    };
    let plain = gradients(None);
    assert!(plain.iter().any(|&gradient| gradient != 0.0));
    assert!(gradients(Some(1.0)) == plain && gradients(Some(0.25)) == plain);
}
