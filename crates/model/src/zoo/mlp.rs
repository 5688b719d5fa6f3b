//! A multilayer perceptron: two hidden layers of 512 and 256 (times width), ReLU, biases.

use super::Options;
use crate::{Graph, GraphBuilder, ModelError};

pub(super) fn build(options: &Options) -> Result<Graph, ModelError> {
    let mut net = GraphBuilder::new("mlp", options.input);
    let mut x = net.flatten("flatten", net.input());
    for (hidden, features) in [512, 256].into_iter().enumerate() {
        let layer = hidden + 1;
        x = net.gemm(format!("fc{layer}"), x, options.scaled(features), true);
        x = net.relu(format!("relu{layer}"), x);
    }
    net.gemm("fc3", x, options.classes, true);
    net.finish()
}
