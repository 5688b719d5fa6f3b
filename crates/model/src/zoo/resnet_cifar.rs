//! ResNets for CIFAR (He et al., 2016), in the variant of GraSP (Wang et al., 2020) on which sparse training is
//! compared: three stages of basic blocks with 16, 32 and 64 channels (times width) and a 1x1 projection with batch
//! normalisation as the shortcut where the shape changes. The depth is 6 times the blocks per stage, plus 2.

use super::Options;
use crate::{ConvOptions, Graph, GraphBuilder, ModelError, NodeId};

pub(super) fn build(name: &str, blocks: usize, options: &Options) -> Result<Graph, ModelError> {
    let mut net = GraphBuilder::new(name, options.input);
    let stem = ConvOptions::new(options.scaled(16), 3);
    let x = net.conv("conv1", net.input(), stem);
    let x = net.batch_normalization("bn1", x);
    let mut x = net.relu("relu1", x);
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..blocks {
            let prefix = format!("layer{}.{block}", stage + 1);
            let shrinks = stage > 0 && block == 0;
            x = basic_block(&mut net, &prefix, x, options.scaled(channels), shrinks);
        }
    }
    let x = net.global_average_pool("avgpool", x);
    net.gemm("fc", x, options.classes, true);
    net.finish()
}

fn basic_block(net: &mut GraphBuilder, prefix: &str, input: NodeId, channels: usize, shrinks: bool) -> NodeId {
    let stride = if shrinks { 2 } else { 1 };
    let x = net.conv(format!("{prefix}.conv1"), input, ConvOptions::new(channels, 3).stride(stride));
    let x = net.batch_normalization(format!("{prefix}.bn1"), x);
    let x = net.relu(format!("{prefix}.relu1"), x);
    let x = net.conv(format!("{prefix}.conv2"), x, ConvOptions::new(channels, 3));
    let x = net.batch_normalization(format!("{prefix}.bn2"), x);
    let shortcut = if shrinks {
        let projection = ConvOptions::new(channels, 1).stride(stride);
        let projected = net.conv(format!("{prefix}.downsample.conv"), input, projection);
        net.batch_normalization(format!("{prefix}.downsample.bn"), projected)
    } else {
        input
    };
    let sum = net.add(format!("{prefix}.add"), x, shortcut);
    net.relu(format!("{prefix}.relu2"), sum)
}
