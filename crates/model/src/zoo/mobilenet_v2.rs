//! MobileNet-v2 (Sandler et al., 2018) for 32x32 images: the strides of the first convolution and of the second stage
//! are taken out, as is usual for CIFAR. The last 1x1 convolution has 1280 channels at any width.

use super::Options;
use crate::{ConvOptions, Graph, GraphBuilder, ModelError, NodeId};

/// Expansion, channels at width 1, blocks, and stride of the first block of each stage.
const STAGES: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
const LAST: usize = 1280;

pub(super) fn build(options: &Options) -> Result<Graph, ModelError> {
    let mut net = GraphBuilder::new("mobilenet-v2", options.input);
    let x = net.conv("conv1", net.input(), ConvOptions::new(options.scaled(32), 3));
    let x = net.batch_normalization("bn1", x);
    let mut x = net.clip("relu1", x, 6.0);
    for (stage, (expansion, channels, blocks, first_stride)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let prefix = format!("layer{}.{block}", stage + 1);
            let stride = if block == 0 { first_stride } else { 1 };
            x = inverted_residual(&mut net, &prefix, x, expansion, options.scaled(channels), stride);
        }
    }
    let x = net.conv("conv2", x, ConvOptions::new(LAST, 1));
    let x = net.batch_normalization("bn2", x);
    let x = net.clip("relu2", x, 6.0);
    let x = net.global_average_pool("avgpool", x);
    net.gemm("fc", x, options.classes, true);
    net.finish()
}

/// Expands the channels, filters each on its own, projects them without an activation, and adds the input where the
/// shape allows it.
fn inverted_residual(
    net: &mut GraphBuilder,
    prefix: &str,
    input: NodeId,
    expansion: usize,
    channels: usize,
    stride: usize,
) -> NodeId {
    let inputs = net.shape(input).channels;
    let hidden = inputs.saturating_mul(expansion);
    let mut x = input;
    if expansion > 1 {
        x = normalized(net, prefix, "expand", x, ConvOptions::new(hidden, 1));
        x = net.clip(format!("{prefix}.expand.relu"), x, 6.0);
    }
    x = normalized(net, prefix, "depthwise", x, ConvOptions::new(hidden, 3).stride(stride).groups(hidden));
    x = net.clip(format!("{prefix}.depthwise.relu"), x, 6.0);
    x = normalized(net, prefix, "project", x, ConvOptions::new(channels, 1));
    if stride == 1 && channels == inputs { net.add(format!("{prefix}.add"), x, input) } else { x }
}

/// A convolution with batch normalisation.
fn normalized(net: &mut GraphBuilder, prefix: &str, part: &str, input: NodeId, conv: ConvOptions) -> NodeId {
    let x = net.conv(format!("{prefix}.{part}.conv"), input, conv);
    net.batch_normalization(format!("{prefix}.{part}.bn"), x)
}
