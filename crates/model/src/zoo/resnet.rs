//! ResNets for ImageNet (He et al., 2016), as torchvision builds them: a bottleneck's stride is in its 3x3 convolution
//! ("version 1.5"), and where the shape changes the shortcut is a 1x1 projection with batch normalisation.

use super::Options;
use super::residual::{self, Block};
use crate::{ConvOptions, Graph, GraphBuilder, ModelError, Op};

/// Channels at width 1 of the 3x3 convolutions, and blocks, of each stage of ResNet-34 and ResNet-50.
const STAGES: [(usize, usize); 4] = [(64, 3), (128, 4), (256, 6), (512, 3)];

pub(super) fn build(name: &str, block: Block, options: &Options) -> Result<Graph, ModelError> {
    let mut net = GraphBuilder::new(name, options.input);
    let stem = ConvOptions::new(options.scaled(64), 7).stride(2);
    let x = net.conv("conv1", net.input(), stem);
    let x = net.batch_normalization("bn1", x);
    let x = net.relu("relu1", x);
    let pool = Op::MaxPool { kernel: [3; 2], stride: [2; 2], padding: [1; 2] };
    let x = net.node("maxpool", pool, &[x]);
    let stages = STAGES.map(|(channels, blocks)| (options.scaled(channels), blocks));
    let x = residual::stages(&mut net, x, &stages, block);
    let x = net.global_average_pool("avgpool", x);
    net.gemm("fc", x, options.classes, true);
    net.finish()
}
