//! The examples run to their end; what they promise they assert themselves.

#[path = "../examples/custom_algorithm.rs"]
mod custom_algorithm;
#[path = "../examples/custom_loop.rs"]
mod custom_loop;
#[path = "../examples/custom_network.rs"]
mod custom_network;

#[test]
fn an_algorithm_of_ones_own_obeys_the_laws_and_trains() {
    custom_algorithm::main().unwrap();
}

#[test]
fn a_network_of_ones_own_trains_at_the_sparsity_asked_for() {
    custom_network::main().unwrap();
}

#[test]
fn a_loop_of_ones_own_lowers_the_loss_and_keeps_the_counts() {
    custom_loop::main().unwrap();
}
