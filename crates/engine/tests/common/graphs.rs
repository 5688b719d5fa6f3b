//! Graphs to test the engine on.

use super::Random;
use bidst_model::{ConvOptions, Graph, GraphBuilder, NodeId, Op, Shape};

/// Batch norm with an epsilon that does not blow rounding up where a channel is constant.
fn norm(b: &mut GraphBuilder, name: impl Into<String>, input: NodeId) -> NodeId {
    b.node(name, Op::BatchNormalization { epsilon: 1e-3, momentum: 0.1 }, &[input])
}

/// A residual network with a stride-2 stage, a projection and an identity block.
pub fn residual() -> Graph {
    let mut b = GraphBuilder::new("residual", Shape::new(3, 9, 8));
    let conv = b.conv("conv1", NodeId(0), ConvOptions::new(5, 3));
    let bn = norm(&mut b, "bn1", conv);
    let mut x = b.relu("relu1", bn);
    for (block, (channels, stride)) in [(5, 1), (7, 2), (7, 1)].into_iter().enumerate() {
        let name = |part: &str| format!("layer{block}.{part}");
        let y = b.conv(name("conv1"), x, ConvOptions::new(channels, 3).stride(stride));
        let y = norm(&mut b, name("bn1"), y);
        let y = b.relu(name("relu1"), y);
        let y = b.conv(name("conv2"), y, ConvOptions::new(channels, 3));
        let mut y = norm(&mut b, name("bn2"), y);
        if stride != 1 {
            let s = b.conv(name("downsample.conv"), x, ConvOptions::new(channels, 1).stride(stride));
            x = norm(&mut b, name("downsample.bn"), s);
        }
        y = b.add(name("add"), y, x);
        x = b.relu(name("relu2"), y);
    }
    let x = b.global_average_pool("pool", x);
    let x = b.flatten("flatten", x);
    b.gemm("fc", x, 4, true);
    b.finish().unwrap()
}

/// Convolutions with batch norm, max pooling, a linear head on a whole plane.
pub fn vgg_like() -> Graph {
    let mut b = GraphBuilder::new("vgg-like", Shape::new(2, 8, 8));
    let mut x = NodeId(0);
    for (layer, channels) in [6, 9].into_iter().enumerate() {
        x = b.conv(format!("features.{layer}.conv"), x, ConvOptions::new(channels, 3));
        x = norm(&mut b, format!("features.{layer}.bn"), x);
        x = b.relu(format!("features.{layer}.relu"), x);
        x = b.max_pool(format!("features.{layer}.pool"), x, 2, 2);
    }
    let x = b.flatten("flatten", x);
    let x = b.gemm("fc1", x, 12, true);
    let x = b.relu("relu", x);
    b.gemm("fc2", x, 5, true);
    b.finish().unwrap()
}

/// Everything that no fusion pattern covers.
pub fn odd() -> Graph {
    let mut b = GraphBuilder::new("odd", Shape::new(3, 7, 5));
    let images = b.batch_normalization("input_bn", NodeId(0));
    let a = b.conv("biased", images, ConvOptions::new(6, 3).with_bias());
    let a = b.clip("relu6", a, 0.7);
    let c = b.conv("grouped", a, ConvOptions::new(6, 3).groups(3));
    let sum = b.add("plain_add", c, a);
    let twice = b.add("double", sum, sum);
    let p = b.average_pool("average", twice, 2, 1);
    let p = norm(&mut b, "pool_bn", p);
    let q = b.relu("relu", p);
    let q = norm(&mut b, "bn_after_relu", q);
    let d = b.conv("depthwise", q, ConvOptions::new(6, 3).groups(6).stride(2));
    let d = norm(&mut b, "bn_d", d);
    let d = norm(&mut b, "bn_of_bn", d);
    let f = b.flatten("flatten", d);
    let f = b.relu("relu_flat", f);
    b.gemm("fc", f, 3, false);
    b.finish().unwrap()
}

/// A random graph of up to a dozen nodes: every operation, every way to share a value.
pub fn random_graph(random: &mut Random) -> Graph {
    let shape = Shape::new(1 + random.below(4), 3 + random.below(7), 3 + random.below(7));
    let mut b = GraphBuilder::new("random", shape);
    let mut shapes = vec![shape];
    let mut unread: Vec<NodeId> = vec![NodeId(0)];
    let add = |b: &mut GraphBuilder, op: Op, inputs: &[NodeId], shapes: &mut Vec<Shape>| {
        let node = b.node(format!("n{}", shapes.len()), op, inputs);
        shapes.push(b.shape(node));
        node
    };
    for _ in 0..4 + random.below(9) {
        // Mostly go on from the newest value, sometimes branch off an older one.
        let from = if random.below(3) == 0 { NodeId(random.below(shapes.len())) } else { NodeId(shapes.len() - 1) };
        let shape = shapes[from.0];
        let smallest = shape.height.min(shape.width);
        let kernel = random.pick(&[1, 2, 3, 3]).min(smallest);
        let (stride, pad) = (random.pick(&[1, 1, 2, 3]), random.pick(&[0, 1]).min(kernel / 2));
        let (kernel, stride, padding) = ([kernel; 2], [stride; 2], [pad; 2]);
        let partner = (0..shapes.len()).rev().find(|&at| shapes[at] == shape && NodeId(at) != from);
        let op = match random.below(12) {
            0..=3 => {
                let (out_channels, bias) = (1 + random.below(8), random.below(3) == 0);
                Op::Conv { out_channels, kernel, stride, padding, groups: 1, bias }
            }
            4 => Op::Conv {
                out_channels: 2 * shape.channels,
                kernel,
                stride,
                padding,
                groups: shape.channels,
                bias: false,
            },
            5..=6 => Op::BatchNormalization { epsilon: 1e-3, momentum: 0.1 },
            7 => Op::Relu,
            8 => Op::Clip { max: 0.5 },
            9 => Op::MaxPool { kernel, stride, padding },
            10 => Op::AveragePool { kernel, stride, padding },
            _ if partner.is_some() => Op::Add,
            _ => Op::Relu,
        };
        let inputs = match (&op, partner) {
            (Op::Add, Some(partner)) => vec![from, NodeId(partner)],
            _ => vec![from],
        };
        let node = add(&mut b, op, &inputs, &mut shapes);
        unread.retain(|id| !inputs.contains(id));
        unread.push(node);
    }
    // Every loose end reaches the logits.
    let heads: Vec<NodeId> = unread
        .iter()
        .map(|&end| {
            let flat = add(
                &mut b,
                if random.below(2) == 0 { Op::Flatten } else { Op::GlobalAveragePool },
                &[end],
                &mut shapes,
            );
            let flat = if random.below(4) == 0 { add(&mut b, Op::Relu, &[flat], &mut shapes) } else { flat };
            add(&mut b, Op::Gemm { out_features: 3, bias: random.below(2) == 0 }, &[flat], &mut shapes)
        })
        .collect();
    heads.into_iter().reduce(|sum, head| add(&mut b, Op::Add, &[sum, head], &mut shapes));
    b.finish().unwrap()
}
