//! A small convolutional network for 28x28 grey images: four 3x3 convolutions with batch normalisation and ReLU, global
//! average pooling and one fully connected layer. Nearly all weights and multiply-adds are in 3x3 convolutions, so that
//! sparsity shows.

use super::Options;
use crate::{ConvOptions, Graph, GraphBuilder, ModelError};

/// Channels at width 1 and stride of each convolution.
const CONVOLUTIONS: [(usize, usize); 4] = [(32, 1), (64, 2), (64, 2), (128, 2)];

pub(super) fn build(options: &Options) -> Result<Graph, ModelError> {
    let mut net = GraphBuilder::new("small-cnn", options.input);
    let mut x = net.input();
    for (index, (channels, stride)) in CONVOLUTIONS.into_iter().enumerate() {
        let layer = index + 1;
        let conv = ConvOptions::new(options.scaled(channels), 3).stride(stride);
        x = net.conv(format!("conv{layer}"), x, conv);
        x = net.batch_normalization(format!("bn{layer}"), x);
        x = net.relu(format!("relu{layer}"), x);
    }
    let x = net.global_average_pool("pool", x);
    net.gemm("fc", x, options.classes, true);
    net.finish()
}
