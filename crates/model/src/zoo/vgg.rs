//! VGG-19 (Simonyan & Zisserman, 2015) for 32x32 images, as GraSP (Wang et al., 2020) trains it: batch normalisation
//! after every convolution, four max pools, a final 2x2 average pool and a single fully connected layer.

use super::Options;
use crate::{ConvOptions, Graph, GraphBuilder, ModelError};

/// Channels at width 1 of the convolutions between two pools.
const STAGES: [&[usize]; 5] =
    [&[64, 64], &[128, 128], &[256, 256, 256, 256], &[512, 512, 512, 512], &[512, 512, 512, 512]];

pub(super) fn build(options: &Options) -> Result<Graph, ModelError> {
    let mut net = GraphBuilder::new("vgg19", options.input);
    let mut x = net.input();
    let mut layer = 0;
    for (stage, convolutions) in STAGES.into_iter().enumerate() {
        if stage > 0 {
            x = net.max_pool(format!("pool{stage}"), x, 2, 2);
        }
        for &channels in convolutions {
            layer += 1;
            let conv = ConvOptions::new(options.scaled(channels), 3);
            x = net.conv(format!("conv{layer}"), x, conv);
            x = net.batch_normalization(format!("bn{layer}"), x);
            x = net.relu(format!("relu{layer}"), x);
        }
    }
    let x = net.average_pool("avgpool", x, 2, 2);
    let x = net.flatten("flatten", x);
    net.gemm("fc", x, options.classes, true);
    net.finish()
}
