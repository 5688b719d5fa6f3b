//! The graph: nodes in topological order, their weights and their cost.

use crate::Shape;

/// Index of a node in [`Graph::nodes`]. Every input of a node has a smaller index than the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// What a node computes, in ONNX's words. Activations are `[n, channels, height, width]`; pairs are `[height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The images. Always and only node 0.
    Input,
    /// Cross-correlation with a weight `[out_channels, in_channels / groups, kernel height, kernel width]`.
    Conv {
        /// Number of filters.
        out_channels: usize,
        /// Height and width of the filter.
        kernel: [usize; 2],
        /// Step between two windows.
        stride: [usize; 2],
        /// Zeros put around the image, on both sides of each axis.
        padding: [usize; 2],
        /// Number of independent channel groups; a depthwise convolution has one per channel.
        groups: usize,
        /// Whether a vector of `out_channels` is added.
        bias: bool,
    },
    /// Normalises each channel over the batch and the pixels, then scales and shifts it.
    BatchNormalization {
        /// Added to the variance before the square root.
        epsilon: f32,
        /// Share of the batch in the update `running = (1 - momentum) * running + momentum * batch` (PyTorch's
        /// meaning).
        momentum: f32,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), max)`: ReLU6 with `max` 6.
    Clip {
        /// The upper bound.
        max: f32,
    },
    /// Sum of two inputs of one shape.
    Add,
    /// Largest value of each window; padding never wins.
    MaxPool {
        /// Height and width of the window.
        kernel: [usize; 2],
        /// Step between two windows.
        stride: [usize; 2],
        /// Padding on both sides of each axis.
        padding: [usize; 2],
    },
    /// Mean of each window; the padding's zeros are counted (ONNX `count_include_pad = 1`).
    AveragePool {
        /// Height and width of the window.
        kernel: [usize; 2],
        /// Step between two windows.
        stride: [usize; 2],
        /// Zeros put on both sides of each axis.
        padding: [usize; 2],
    },
    /// Mean of each channel: `C x H x W` to `C x 1 x 1`.
    GlobalAveragePool,
    /// `C x H x W` to `(C*H*W) x 1 x 1`, row-major.
    Flatten,
    /// Fully connected layer on a `C x 1 x 1` input with a weight `[out_features, C]`.
    Gemm {
        /// Number of outputs.
        out_features: usize,
        /// Whether a vector of `out_features` is added.
        bias: bool,
    },
}

/// One operation of a [`Graph`].
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in the graph, in PyTorch's habit: `layer1.0.conv1`.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Where its inputs come from.
    pub inputs: Vec<NodeId>,
    /// Shape of its output, for one image.
    pub shape: Shape,
}

/// A validated network: one input, one output (the logits), every node used.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
}

impl Graph {
    /// Name of the network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All nodes in topological order; the first is the input and the last the logits.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node `id`.
    ///
    /// # Panics
    ///
    /// If `id` is of another, larger graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Shape of one image.
    pub fn input_shape(&self) -> Shape {
        self.nodes[0].shape
    }

    /// The last node, whose output `classes x 1 x 1` holds the logits.
    pub fn output(&self) -> NodeId {
        NodeId(self.nodes.len() - 1)
    }

    /// Number of logits.
    pub fn classes(&self) -> usize {
        self.node(self.output()).shape.channels
    }

    /// The nodes that read `id`, in order; a node that reads it twice is named twice.
    pub fn consumers(&self, id: NodeId) -> Vec<NodeId> {
        let readers = |(at, node): (usize, &Node)| {
            let times = node.inputs.iter().filter(|&&input| input == id).count();
            std::iter::repeat_n(NodeId(at), times)
        };
        self.nodes.iter().enumerate().flat_map(readers).collect()
    }

    /// The weight tensors of convolutions and fully connected layers, in node order.
    pub fn weights(&self) -> Vec<WeightSpec> {
        (0..self.nodes.len()).filter_map(|at| self.weight_of(NodeId(at))).collect()
    }

    /// The weight tensor of `id`, if it has one.
    pub fn weight_of(&self, id: NodeId) -> Option<WeightSpec> {
        let node = self.node(id);
        let inputs = node.inputs.first().map(|&input| self.node(input).shape)?;
        let shape = node.op.weight_shape(inputs)?;
        Some(WeightSpec {
            node: id,
            name: format!("{}.weight", node.name),
            shape,
            macs_per_weight: node.shape.height * node.shape.width,
        })
    }

    /// Number of trainable values of the dense network: weights, biases, and scale and shift of batch normalisation.
    pub fn parameter_count(&self) -> usize {
        let weights: usize = self.weights().iter().map(WeightSpec::len).sum();
        let vectors: usize = self
            .nodes
            .iter()
            .map(|node| match node.op {
                Op::BatchNormalization { .. } => 2 * node.shape.channels,
                Op::Conv { bias: true, .. } | Op::Gemm { bias: true, .. } => node.shape.channels,
                _ => 0,
            })
            .sum();
        weights + vectors
    }

    /// Multiply-adds of one dense forward pass of one image, in convolutions and fully connected layers.
    pub fn macs(&self) -> u64 {
        self.weights().iter().map(|weight| weight.len() as u64 * weight.macs_per_weight as u64).sum()
    }
}

impl Op {
    /// ONNX's name of the operation.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Input => "Input",
            Op::Conv { .. } => "Conv",
            Op::BatchNormalization { .. } => "BatchNormalization",
            Op::Relu => "Relu",
            Op::Clip { .. } => "Clip",
            Op::Add => "Add",
            Op::MaxPool { .. } => "MaxPool",
            Op::AveragePool { .. } => "AveragePool",
            Op::GlobalAveragePool => "GlobalAveragePool",
            Op::Flatten => "Flatten",
            Op::Gemm { .. } => "Gemm",
        }
    }

    /// Shape of the weight tensor that the operation needs on an input of shape `input`, if it has one.
    pub(crate) fn weight_shape(&self, input: Shape) -> Option<Vec<usize>> {
        match *self {
            Op::Conv { out_channels, kernel: [height, width], groups, .. } => {
                Some(vec![out_channels, input.channels / groups, height, width])
            }
            Op::Gemm { out_features, .. } => Some(vec![out_features, input.channels]),
            _ => None,
        }
    }
}

/// The weight tensor of one convolution or fully connected layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSpec {
    /// The layer.
    pub node: NodeId,
    /// The node's name and `.weight`.
    pub name: String,
    /// `[out, in / groups, kernel height, kernel width]` of a convolution, `[out, in]` of a fully connected layer.
    pub shape: Vec<usize>,
    /// Multiply-adds that one weight costs per image: the number of output pixels.
    pub macs_per_weight: usize,
}

impl WeightSpec {
    /// Number of weights of the dense tensor. Never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Weights per output: `in / groups * kernel height * kernel width`.
    pub fn fan_in(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// `out * kernel height * kernel width`, as PyTorch counts it (groups do not divide it).
    pub fn fan_out(&self) -> usize {
        self.shape[0] * self.shape[2..].iter().product::<usize>()
    }
}
