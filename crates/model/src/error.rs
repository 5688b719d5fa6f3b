//! What can be wrong with a network.

use crate::Shape;

/// Why a graph was refused. `node` is the name of the offending node.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The input shape has a side of 0.
    #[error("network `{graph}`: the input shape {input} is empty; give every side at least 1")]
    EmptyInput {
        /// Name of the network.
        graph: String,
        /// The shape given.
        input: Shape,
    },
    /// The graph has no node but the input.
    #[error("network `{graph}` has no layers; add at least one node before finishing")]
    NoLayers {
        /// Name of the network.
        graph: String,
    },
    /// A node has no name.
    #[error("node {index} has an empty name; names identify weights in checkpoints, so give it one")]
    EmptyName {
        /// Index the node would have had.
        index: usize,
    },
    /// Two nodes share a name.
    #[error("node `{node}`: the name is taken by an earlier node; give each node its own name")]
    DuplicateName {
        /// The name.
        node: String,
    },
    /// A node reads a node that does not exist yet.
    #[error("node `{node}` reads node {input}, but only {known} nodes come before it; add its inputs first")]
    UnknownInput {
        /// The reading node.
        node: String,
        /// Index that it reads.
        input: usize,
        /// Number of nodes before it.
        known: usize,
    },
    /// A node has the wrong number of inputs.
    #[error("node `{node}`: {op} takes {expected} input(s), got {found}")]
    InputCount {
        /// The node.
        node: String,
        /// ONNX's name of its operation.
        op: &'static str,
        /// How many inputs the operation takes.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// An input node was added; the builder makes the only one.
    #[error("node `{node}` is a second Input; a network has one, use `GraphBuilder::input`")]
    SecondInput {
        /// The node.
        node: String,
    },
    /// A size that must be positive is 0.
    #[error("node `{node}`: {field} is 0; it must be at least 1")]
    Zero {
        /// The node.
        node: String,
        /// Which size.
        field: &'static str,
    },
    /// The number of groups does not divide the channels.
    #[error("node `{node}`: {groups} groups do not divide {inputs} input and {outputs} output channels evenly")]
    Groups {
        /// The node.
        node: String,
        /// Number of groups.
        groups: usize,
        /// Input channels.
        inputs: usize,
        /// Output channels.
        outputs: usize,
    },
    /// A window is larger than the padded input.
    #[error(
        "node `{node}`: a {}x{} window does not fit the {input} input padded by {}x{}; \
         use larger images, a smaller window or more padding",
        kernel[0], kernel[1], padding[0], padding[1]
    )]
    WindowTooLarge {
        /// The node.
        node: String,
        /// Height and width of the window.
        kernel: [usize; 2],
        /// Padding per side.
        padding: [usize; 2],
        /// Shape that it slides over.
        input: Shape,
    },
    /// A step between windows is larger than the padded input.
    #[error(
        "node `{node}`: a stride of {}x{} is larger than the {input} input padded by {}x{}, where only one window fits; \
         use a smaller stride",
        stride[0], stride[1], padding[0], padding[1]
    )]
    StrideTooLarge {
        /// The node.
        node: String,
        /// Step between windows, down and across.
        stride: [usize; 2],
        /// Padding per side.
        padding: [usize; 2],
        /// Shape that the windows slide over.
        input: Shape,
    },
    /// A pool's window could lie in the padding altogether.
    #[error(
        "node `{node}`: padding {}x{} is not smaller than the {}x{} pooling window, so a window could hold padding only",
        padding[0], padding[1], kernel[0], kernel[1]
    )]
    PoolPadding {
        /// The node.
        node: String,
        /// Height and width of the window.
        kernel: [usize; 2],
        /// Padding per side.
        padding: [usize; 2],
    },
    /// Batch normalisation with impossible constants.
    #[error(
        "node `{node}`: epsilon {epsilon} must be positive and momentum {momentum} between 0 and 1 (usual: 1e-5 and 0.1)"
    )]
    BatchNormalization {
        /// The node.
        node: String,
        /// The epsilon given.
        epsilon: f32,
        /// The momentum given.
        momentum: f32,
    },
    /// A clip whose upper bound is not above 0.
    #[error("node `{node}`: Clip's max {max} must be a positive number (ReLU6 has 6)")]
    Clip {
        /// The node.
        node: String,
        /// The bound given.
        max: f32,
    },
    /// The inputs of an addition differ in shape.
    #[error("node `{node}` adds {left} and {right}; both must have one shape")]
    AddShapes {
        /// The node.
        node: String,
        /// Shape of the first input.
        left: Shape,
        /// Shape of the second input.
        right: Shape,
    },
    /// A fully connected layer on something that still has pixels.
    #[error("node `{node}`: Gemm needs a Cx1x1 input, got {input}; put a Flatten or GlobalAveragePool before it")]
    NotFlat {
        /// The node.
        node: String,
        /// Shape of its input.
        input: Shape,
    },
    /// A tensor has more values than a 32-bit index can name.
    #[error("node `{node}`: its {tensor} would have the sides {sides:?}, more than 2^32-1 values; make it smaller")]
    TooLarge {
        /// The node.
        node: String,
        /// Which tensor.
        tensor: &'static str,
        /// Its sides.
        sides: Vec<usize>,
    },
    /// A node that nobody reads, other than the last.
    #[error("node `{node}` is read by no other node and is not the last; remove it or use its output")]
    Unused {
        /// The node.
        node: String,
    },
    /// The last node does not give one value per class.
    #[error(
        "node `{node}` is the last and gives {shape}; the logits must be Cx1x1, so end with a Gemm or a global pool"
    )]
    OutputNotFlat {
        /// The last node.
        node: String,
        /// Shape of its output.
        shape: Shape,
    },
    /// The zoo has no model of that name.
    #[error("unknown model `{name}`; did you mean `{nearest}`? The zoo has: {known}")]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The most similar name.
        nearest: &'static str,
        /// All names, separated by commas.
        known: String,
    },
    /// A width factor that is not a positive number.
    #[error("model `{model}`: width {width} must be a positive number (1 is the usual network)")]
    Width {
        /// The model.
        model: &'static str,
        /// The width given.
        width: f64,
    },
    /// Fewer than two classes.
    #[error("model `{model}`: {classes} class(es) leave nothing to decide; give at least 2")]
    Classes {
        /// The model.
        model: &'static str,
        /// The number given.
        classes: usize,
    },
}
