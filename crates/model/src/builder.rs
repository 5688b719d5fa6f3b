//! Builds a graph node by node and checks each on the way in.

use crate::shape::{arity, check_size, infer};
use crate::{Graph, ModelError, Node, NodeId, Op, Shape};

/// The fields of a convolution, with the usual defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    out_channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    groups: usize,
    bias: bool,
}

impl ConvOptions {
    /// A square filter with stride 1, one group, no bias, and the padding that keeps an odd kernel's image size.
    pub const fn new(out_channels: usize, kernel: usize) -> Self {
        Self { out_channels, kernel: [kernel; 2], stride: [1; 2], padding: [kernel / 2; 2], groups: 1, bias: false }
    }

    /// The same step down and across.
    pub const fn stride(mut self, stride: usize) -> Self {
        self.stride = [stride; 2];
        self
    }

    /// The same padding on all sides.
    pub const fn padding(mut self, padding: usize) -> Self {
        self.padding = [padding; 2];
        self
    }

    /// The number of channel groups.
    pub const fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// With a bias.
    pub const fn with_bias(mut self) -> Self {
        self.bias = true;
        self
    }
}

/// Builds a [`Graph`]. The first mistake is kept, later calls do nothing, and [`finish`](Self::finish) reports it.
#[derive(Clone, Debug)]
pub struct GraphBuilder {
    graph: Graph,
    error: Option<ModelError>,
}

impl GraphBuilder {
    /// Starts a network for images of shape `input`.
    pub fn new(name: impl Into<String>, input: Shape) -> Self {
        let name = name.into();
        let sides = [input.channels, input.height, input.width];
        let error = if sides.contains(&0) {
            let graph = name.clone();
            Some(ModelError::EmptyInput { graph, input })
        } else {
            check_size("input", "output", &sides).err()
        };
        let images = Node { name: "input".into(), op: Op::Input, inputs: Vec::new(), shape: input };
        Self { graph: Graph { name, nodes: vec![images] }, error }
    }

    /// The images.
    pub fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// Output shape of a node of this builder.
    ///
    /// # Panics
    ///
    /// If `id` is not of this builder.
    pub fn shape(&self, id: NodeId) -> Shape {
        self.graph.node(id).shape
    }

    /// Adds any node; the other methods are short for this one. After a mistake it returns the last good node.
    pub fn node(&mut self, name: impl Into<String>, op: Op, inputs: &[NodeId]) -> NodeId {
        if self.error.is_none() {
            match self.checked(name.into(), op, inputs) {
                Ok(node) => self.graph.nodes.push(node),
                Err(error) => self.error = Some(error),
            }
        }
        self.graph.output()
    }

    /// Adds a convolution.
    pub fn conv(&mut self, name: impl Into<String>, input: NodeId, options: ConvOptions) -> NodeId {
        let ConvOptions { out_channels, kernel, stride, padding, groups, bias } = options;
        let op = Op::Conv { out_channels, kernel, stride, padding, groups, bias };
        self.node(name, op, &[input])
    }

    /// Adds batch normalisation with epsilon 1e-5 and momentum 0.1.
    pub fn batch_normalization(&mut self, name: impl Into<String>, input: NodeId) -> NodeId {
        let op = Op::BatchNormalization { epsilon: 1e-5, momentum: 0.1 };
        self.node(name, op, &[input])
    }

    /// Adds a rectifier.
    pub fn relu(&mut self, name: impl Into<String>, input: NodeId) -> NodeId {
        self.node(name, Op::Relu, &[input])
    }

    /// Adds a rectifier with an upper bound.
    pub fn clip(&mut self, name: impl Into<String>, input: NodeId, max: f32) -> NodeId {
        self.node(name, Op::Clip { max }, &[input])
    }

    /// Adds the sum of two nodes.
    pub fn add(&mut self, name: impl Into<String>, left: NodeId, right: NodeId) -> NodeId {
        self.node(name, Op::Add, &[left, right])
    }

    /// Adds a square max pool without padding.
    pub fn max_pool(&mut self, name: impl Into<String>, input: NodeId, kernel: usize, stride: usize) -> NodeId {
        let op = Op::MaxPool { kernel: [kernel; 2], stride: [stride; 2], padding: [0; 2] };
        self.node(name, op, &[input])
    }

    /// Adds a square average pool without padding.
    pub fn average_pool(&mut self, name: impl Into<String>, input: NodeId, kernel: usize, stride: usize) -> NodeId {
        let op = Op::AveragePool { kernel: [kernel; 2], stride: [stride; 2], padding: [0; 2] };
        self.node(name, op, &[input])
    }

    /// Adds the mean of each channel.
    pub fn global_average_pool(&mut self, name: impl Into<String>, input: NodeId) -> NodeId {
        self.node(name, Op::GlobalAveragePool, &[input])
    }

    /// Adds a flattening.
    pub fn flatten(&mut self, name: impl Into<String>, input: NodeId) -> NodeId {
        self.node(name, Op::Flatten, &[input])
    }

    /// Adds a fully connected layer.
    pub fn gemm(&mut self, name: impl Into<String>, input: NodeId, out_features: usize, bias: bool) -> NodeId {
        self.node(name, Op::Gemm { out_features, bias }, &[input])
    }

    /// The graph, whose output is the node added last.
    ///
    /// # Errors
    ///
    /// The first mistake made while building, or one of the whole: no layers, a node nobody reads, an output with
    /// pixels.
    pub fn finish(self) -> Result<Graph, ModelError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let graph = self.graph;
        let last = graph.output();
        if last == NodeId(0) {
            return Err(ModelError::NoLayers { graph: graph.name });
        }
        let unused = (0..last.0).map(NodeId).find(|&id| graph.consumers(id).is_empty());
        if let Some(id) = unused {
            let node = graph.node(id).name.clone();
            return Err(ModelError::Unused { node });
        }
        let Node { name, shape, .. } = graph.node(last);
        if !shape.is_flat() {
            return Err(ModelError::OutputNotFlat { node: name.clone(), shape: *shape });
        }
        Ok(graph)
    }

    fn checked(&self, name: String, op: Op, inputs: &[NodeId]) -> Result<Node, ModelError> {
        let nodes = &self.graph.nodes;
        if name.is_empty() {
            return Err(ModelError::EmptyName { index: nodes.len() });
        }
        if nodes.iter().any(|node| node.name == name) {
            return Err(ModelError::DuplicateName { node: name });
        }
        if inputs.len() != arity(&op) {
            return Err(ModelError::InputCount {
                node: name,
                op: op.kind(),
                expected: arity(&op),
                found: inputs.len(),
            });
        }
        if let Some(unknown) = inputs.iter().find(|input| input.0 >= nodes.len()) {
            return Err(ModelError::UnknownInput { node: name, input: unknown.0, known: nodes.len() });
        }
        let shapes: Vec<Shape> = inputs.iter().map(|&input| self.shape(input)).collect();
        let shape = infer(&name, &op, &shapes)?;
        Ok(Node { name, op, inputs: inputs.to_vec(), shape })
    }
}
