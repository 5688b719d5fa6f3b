//! ResNets for CIFAR (He et al., 2016), in the variant of GraSP (Wang et al., 2020) on which sparse training is
//! compared: three stages of basic blocks with 16, 32 and 64 channels (times width) and a 1x1 projection with batch
//! normalisation as the shortcut where the shape changes. The depth is 6 times the blocks per stage, plus 2.

use super::{Options, residual};
use crate::{ConvOptions, Graph, GraphBuilder, ModelError};

pub(super) fn build(name: &str, blocks: usize, options: &Options) -> Result<Graph, ModelError> {
    let mut net = GraphBuilder::new(name, options.input);
    let stem = ConvOptions::new(options.scaled(16), 3);
    let x = net.conv("conv1", net.input(), stem);
    let x = net.batch_normalization("bn1", x);
    let x = net.relu("relu1", x);
    let stages = [16, 32, 64].map(|channels| (options.scaled(channels), blocks));
    let x = residual::stages(&mut net, x, &stages, residual::basic);
    let x = net.global_average_pool("avgpool", x);
    net.gemm("fc", x, options.classes, true);
    net.finish()
}
