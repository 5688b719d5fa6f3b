//! The network as other frameworks see it: layers with names of inputs, and vectors with two axes.
//!
//! A vector of [`Graph`] is `C x 1 x 1`, so that a fully connected layer may follow a pooling directly. Elsewhere such a
//! layer wants `[batch, C]`; the changes between four axes and two are layers of their own here.

use bidst_model::{Graph, Node, NodeId, Op, Shape};

/// Name of the images among the inputs of layers.
pub(super) const INPUT: &str = "input";

/// What a layer does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action<'a> {
    /// A node of the graph.
    Node(&'a Op),
    /// `[batch, C, H, W]` to `[batch, C * H * W]`.
    Flatten,
    /// `[batch, C]` to `[batch, C, 1, 1]`.
    Unflatten,
}

/// One layer; the last gives the logits, `[batch, classes]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer<'a> {
    /// Name of the node, or of the node that needs the change of axes and a `/` with what changes.
    pub name: String,
    /// What it does.
    pub action: Action<'a>,
    /// The layers it reads, or [`INPUT`].
    pub inputs: Vec<String>,
    /// Shape of the first of them, for one image.
    pub from: Shape,
    /// Whether the output has four axes.
    pub image: bool,
}

/// The layers of a graph in order.
pub(super) fn layers(graph: &Graph) -> Vec<Layer<'_>> {
    let mut layers = Layers { graph, images: Vec::new(), list: Vec::new() };
    for node in graph.nodes() {
        layers.push(node);
    }
    let output = graph.output();
    if layers.images[output.0] {
        layers.adapted(&graph.node(output).name, output, false);
    }
    layers.list
}

struct Layers<'a> {
    graph: &'a Graph,
    /// Per node, whether its output has four axes.
    images: Vec<bool>,
    list: Vec<Layer<'a>>,
}

impl<'a> Layers<'a> {
    fn push(&mut self, node: &'a Node) {
        let inputs = || node.inputs.iter().map(|input| self.images[input.0]);
        let (wants, image) = match node.op {
            Op::Input => return self.images.push(true),
            Op::Conv { .. } | Op::MaxPool { .. } | Op::AveragePool { .. } | Op::GlobalAveragePool => (true, true),
            Op::Gemm { .. } => (false, false),
            Op::Flatten => (inputs().all(|image| image), false),
            Op::BatchNormalization { .. } | Op::Relu | Op::Clip { .. } | Op::Add => {
                let image = inputs().all(|image| image);
                (image, image)
            }
        };
        let inputs = node.inputs.iter().map(|&input| self.adapted(&node.name, input, wants)).collect();
        self.images.push(image);
        let from = self.graph.node(node.inputs[0]).shape;
        let action = if node.op == Op::Flatten { Action::Flatten } else { Action::Node(&node.op) };
        self.list.push(Layer { name: node.name.clone(), action, inputs, from, image });
    }

    /// Name of the layer that gives the output of `input` with four axes (`wants`) or two to the node `reader`.
    fn adapted(&mut self, reader: &str, input: NodeId, wants: bool) -> String {
        let Node { name, shape, op, .. } = self.graph.node(input);
        let name = if *op == Op::Input { INPUT.to_owned() } else { name.clone() };
        let (action, change) = match (self.images[input.0], wants) {
            (true, false) => (Action::Flatten, "flatten"),
            (false, true) => (Action::Unflatten, "unflatten"),
            _ => return name,
        };
        let adapted = format!("{reader}/{change}");
        self.list.push(Layer { name: adapted.clone(), action, inputs: vec![name], from: *shape, image: wants });
        adapted
    }
}

impl Layer<'_> {
    /// Last parts of the names of its weights and vectors, in the order of ONNX's inputs.
    pub fn parameters(&self) -> &'static [&'static str] {
        match self.action {
            Action::Node(op) => parameters(op),
            Action::Flatten | Action::Unflatten => &[],
        }
    }
}

/// Last parts of the names of the weights and vectors of an operation, in the order of ONNX's inputs.
pub(super) fn parameters(op: &Op) -> &'static [&'static str] {
    match op {
        Op::BatchNormalization { .. } => &["weight", "bias", "running_mean", "running_var"],
        Op::Conv { bias: true, .. } | Op::Gemm { bias: true, .. } => &["weight", "bias"],
        Op::Conv { .. } | Op::Gemm { .. } => &["weight"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bidst_model::{ConvOptions, GraphBuilder};

    /// Names, inputs and whether the output is an image.
    fn shown(graph: &Graph) -> Vec<(String, Vec<String>, bool)> {
        layers(graph).into_iter().map(|layer| (layer.name, layer.inputs, layer.image)).collect()
    }

    fn expected(layers: &[(&str, &[&str], bool)]) -> Vec<(String, Vec<String>, bool)> {
        let owned = |inputs: &[&str]| inputs.iter().map(|&input| input.to_owned()).collect();
        layers.iter().map(|&(name, inputs, image)| (name.to_owned(), owned(inputs), image)).collect()
    }

    #[test]
    fn a_fully_connected_layer_after_a_pooling_gets_two_axes() {
        let mut net = GraphBuilder::new("net", Shape::new(3, 8, 8));
        let x = net.global_average_pool("pool", net.input());
        let fc = net.gemm("fc", x, 3, true);
        net.add("sum", fc, x);
        let expected = expected(&[
            ("pool", &[INPUT], true),
            ("fc/flatten", &["pool"], false),
            ("fc", &["fc/flatten"], false),
            ("sum/flatten", &["pool"], false),
            ("sum", &["fc", "sum/flatten"], false),
        ]);
        assert_eq!(shown(&net.finish().unwrap()), expected);
    }

    #[test]
    fn a_convolution_of_a_vector_gets_four_axes_and_logits_have_two() {
        let mut net = GraphBuilder::new("net", Shape::new(1, 4, 4));
        let x = net.flatten("flatten", net.input());
        let x = net.gemm("fc", x, 8, false);
        net.conv("head", x, ConvOptions::new(2, 1));
        let expected = expected(&[
            ("flatten", &[INPUT], false),
            ("fc", &["flatten"], false),
            ("head/unflatten", &["fc"], true),
            ("head", &["head/unflatten"], true),
            ("head/flatten", &["head"], false),
        ]);
        assert_eq!(shown(&net.finish().unwrap()), expected);
    }
}
