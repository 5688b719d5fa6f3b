//! What ResNets (He et al., 2016) of all sizes share: the two kinds of block, and stages of them.

use crate::{ConvOptions, GraphBuilder, NodeId};

/// Adds the block `prefix` on a node: 3x3 convolutions with so many channels, the first of them with the stride.
pub(super) type Block = fn(&mut GraphBuilder, &str, NodeId, usize, usize) -> NodeId;

/// Stages `layer1`, `layer2`, … of (channels, blocks); all but the first begin with stride 2.
pub(super) fn stages(net: &mut GraphBuilder, input: NodeId, stages: &[(usize, usize)], block: Block) -> NodeId {
    let mut x = input;
    for (stage, &(channels, blocks)) in stages.iter().enumerate() {
        for index in 0..blocks {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            x = block(net, &format!("layer{}.{index}", stage + 1), x, channels, stride);
        }
    }
    x
}

/// Two 3x3 convolutions.
pub(super) fn basic(net: &mut GraphBuilder, prefix: &str, input: NodeId, channels: usize, stride: usize) -> NodeId {
    let x = normalized(net, prefix, 1, input, ConvOptions::new(channels, 3).stride(stride));
    let x = net.relu(format!("{prefix}.relu1"), x);
    let x = normalized(net, prefix, 2, x, ConvOptions::new(channels, 3));
    let sum = add_shortcut(net, prefix, input, x, stride);
    net.relu(format!("{prefix}.relu2"), sum)
}

/// A 3x3 convolution between two 1x1 convolutions, the last with four times the channels.
pub(super) fn bottleneck(
    net: &mut GraphBuilder,
    prefix: &str,
    input: NodeId,
    channels: usize,
    stride: usize,
) -> NodeId {
    let x = normalized(net, prefix, 1, input, ConvOptions::new(channels, 1));
    let x = net.relu(format!("{prefix}.relu1"), x);
    let x = normalized(net, prefix, 2, x, ConvOptions::new(channels, 3).stride(stride));
    let x = net.relu(format!("{prefix}.relu2"), x);
    let x = normalized(net, prefix, 3, x, ConvOptions::new(channels.saturating_mul(4), 1));
    let sum = add_shortcut(net, prefix, input, x, stride);
    net.relu(format!("{prefix}.relu3"), sum)
}

/// Convolution and batch normalisation number `number` of a block.
fn normalized(net: &mut GraphBuilder, prefix: &str, number: usize, input: NodeId, conv: ConvOptions) -> NodeId {
    let x = net.conv(format!("{prefix}.conv{number}"), input, conv);
    net.batch_normalization(format!("{prefix}.bn{number}"), x)
}

/// Adds the block's input to `x`, through a 1x1 projection with batch normalisation where the shape changes.
fn add_shortcut(net: &mut GraphBuilder, prefix: &str, input: NodeId, x: NodeId, stride: usize) -> NodeId {
    let channels = net.shape(x).channels;
    let shortcut = if stride > 1 || channels != net.shape(input).channels {
        let projection = ConvOptions::new(channels, 1).stride(stride);
        let projected = net.conv(format!("{prefix}.downsample.conv"), input, projection);
        net.batch_normalization(format!("{prefix}.downsample.bn"), projected)
    } else {
        input
    };
    net.add(format!("{prefix}.add"), x, shortcut)
}
