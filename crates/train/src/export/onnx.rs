//! ONNX: the graph with its weights, for onnxruntime and others.
//!
//! The messages are those of `onnx.proto`; field numbers have their names beside them. Operator set 13 (of 2020) is the
//! oldest in which every operator written here has the inputs and attributes that it still has, so the file means the
//! same to every runtime since.

use bidst_model::Op;
use serde_json::json;

use super::format::fits;
use super::layers::{Action, INPUT, Layer, layers};
use super::protobuf::Message;
use super::{About, Layout, ModelFile, Weight};
use crate::error::ModelFileError;

/// Operator set.
const OPSET: i64 = 13;
/// Version of the file format that came with it.
const IR_VERSION: i64 = 7;
/// Bytes that a message of Protocol Buffers can have.
const MAX_BYTES: u64 = i32::MAX as u64;

/// Name of the graph's input, `[batch, channels, height, width]`.
const IMAGES: &str = "images";
/// Name of its output, `[batch, classes]`.
const LOGITS: &str = "logits";

/// The file, a `ModelProto`. [`Layout::Sparse`] stores sparse weights as `sparse_initializer`.
///
/// # Errors
/// [`ModelFileError::TooLarge`]
pub(super) fn bytes(model: &ModelFile, layout: Layout) -> Result<Vec<u8>, ModelFileError> {
    if layout == Layout::Dense {
        fits(model.dense_bytes(), MAX_BYTES)?;
    }
    let opset = Message::new().bytes(1, "").integer(2, OPSET); // domain, version
    let file = Message::new()
        .integer(1, IR_VERSION)
        .bytes(2, "bidst") // producer_name
        .bytes(3, env!("CARGO_PKG_VERSION")) // producer_version
        .message(7, graph(model, layout))
        .message(8, opset); // opset_import
    let file = metadata(&model.about).into_iter().fold(file, |file, (key, value)| {
        file.message(14, Message::new().bytes(1, key).bytes(2, value)) // metadata_props
    });
    let file = file.finish();
    fits(file.len(), MAX_BYTES).map(|()| file)
}

/// What a user of the file must know, all of it JSON but the names.
fn metadata(about: &About) -> [(&'static str, String); 5] {
    [
        ("model", about.model.clone()),
        ("width", json!(about.width).to_string()),
        ("data", about.data.clone()),
        ("mean", json!(about.mean).to_string()),
        ("std", json!(about.std).to_string()),
    ]
}

/// A `GraphProto`.
fn graph(model: &ModelFile, layout: Layout) -> Message {
    let layers = layers(&model.graph);
    let last = layers.last().map_or("", |layer| &layer.name);
    let mut writer = Writer { model, layout, last, fields: Vec::new() };
    layers.iter().for_each(|layer| writer.layer(layer));
    let input = model.graph.input_shape();
    let pixels = [input.channels, input.height, input.width];
    let how = "(pixel / 255 - mean) / std per channel, with mean and std of the metadata";
    let graph = Message::new()
        .bytes(2, model.graph.name())
        .message(11, value_info(IMAGES, &pixels, how)) // input
        .message(12, value_info(LOGITS, &[model.graph.classes()], "before softmax")); // output
    writer.fields.into_iter().fold(graph, |graph, (field, message)| graph.message(field, message))
}

struct Writer<'a> {
    model: &'a ModelFile,
    layout: Layout,
    /// The layer whose output is the logits.
    last: &'a str,
    /// Fields of the graph and their numbers.
    fields: Vec<(u32, Message)>,
}

impl Writer<'_> {
    fn layer(&mut self, layer: &Layer<'_>) {
        let (operator, attributes) = operator(layer);
        let mut inputs: Vec<String> = layer.inputs.iter().map(|input| self.output(input)).collect();
        inputs.extend(layer.parameters().iter().map(|part| self.parameter(format!("{}.{part}", layer.name))));
        match layer.action {
            Action::Node(&Op::Clip { max }) => {
                let bounds = [("min", 0.0), ("max", max)].map(|(part, value)| {
                    let name = format!("{}.{part}", layer.name);
                    self.constant(&name, float_tensor(&name, &[], &[value]))
                });
                inputs.extend(bounds);
            }
            Action::Unflatten => {
                let name = format!("{}.axes", layer.name);
                inputs.push(self.constant(&name, index_tensor(&name, [2, 3])));
            }
            _ => {}
        }
        let node = inputs.iter().fold(Message::new(), |node, input| node.bytes(1, input));
        let node = node.bytes(2, self.output(&layer.name)).bytes(3, &layer.name).bytes(4, operator);
        let node = attributes.into_iter().fold(node, |node, attribute| node.message(5, attribute));
        self.fields.push((1, node));
    }

    /// Name of the output of a layer.
    fn output(&self, layer: &str) -> String {
        match layer {
            INPUT => IMAGES.to_owned(),
            name if name == self.last => LOGITS.to_owned(),
            name => format!("{name}.output"),
        }
    }

    /// Stores a weight or a vector of the model and returns its name.
    fn parameter(&mut self, name: String) -> String {
        if let Some(values) = self.model.vectors.get(&name) {
            return self.constant(&name, float_tensor(&name, &[values.len()], values));
        }
        let weight = self.model.weights.iter().find(|weight| weight.name == name);
        match weight.map(|weight| (weight, &weight.indices)) {
            Some((weight, Some(indices))) if self.layout == Layout::Sparse => {
                self.fields.push((15, sparse_tensor(weight, indices))); // sparse_initializer
            }
            Some((weight, _)) => {
                self.constant(&name, float_tensor(&name, &weight.shape, &weight.dense()));
            }
            None => {}
        }
        name
    }

    /// Stores an initialiser and returns its name.
    fn constant(&mut self, name: &str, tensor: Message) -> String {
        self.fields.push((5, tensor)); // initializer
        name.to_owned()
    }
}

/// ONNX's name of what a layer does, and its attributes.
fn operator(layer: &Layer<'_>) -> (&'static str, Vec<Message>) {
    let op = match layer.action {
        Action::Flatten => return ("Flatten", vec![integer("axis", 1)]),
        Action::Unflatten => return ("Unsqueeze", Vec::new()),
        Action::Node(op) => op,
    };
    let attributes = match op {
        Op::Conv { kernel, stride, padding, groups, .. } => {
            [window(kernel, stride, padding), vec![integer("group", *groups)]].concat()
        }
        // ONNX's momentum is the share of the old value.
        Op::BatchNormalization { epsilon, momentum } => {
            vec![float("epsilon", *epsilon), float("momentum", 1.0 - momentum)]
        }
        Op::MaxPool { kernel, stride, padding } => window(kernel, stride, padding),
        Op::AveragePool { kernel, stride, padding } => {
            [window(kernel, stride, padding), vec![integer("count_include_pad", 1)]].concat()
        }
        Op::Gemm { .. } => vec![integer("transB", 1)],
        Op::Input | Op::Relu | Op::Clip { .. } | Op::Add | Op::GlobalAveragePool | Op::Flatten => Vec::new(),
    };
    (op.kind(), attributes)
}

fn window(kernel: &[usize; 2], stride: &[usize; 2], &[down, across]: &[usize; 2]) -> Vec<Message> {
    let list = |name, values: &[usize]| {
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        Message::new().bytes(1, name).integers(8, &values).integer(20, 7) // ints, type
    };
    vec![list("kernel_shape", kernel), list("strides", stride), list("pads", &[down, across, down, across])]
}

/// An `AttributeProto`.
fn integer(name: &str, value: usize) -> Message {
    Message::new().bytes(1, name).integer(3, value as i64).integer(20, 2) // i, type
}

/// An `AttributeProto`.
fn float(name: &str, value: f32) -> Message {
    Message::new().bytes(1, name).float(2, value).integer(20, 1) // f, type
}

/// A `TensorProto` of floats.
fn float_tensor(name: &str, shape: &[usize], values: &[f32]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let dims: Vec<i64> = shape.iter().map(|&side| side as i64).collect();
    Message::new().integers(1, &dims).integer(2, 1).bytes(8, name).bytes(9, bytes) // data_type, name, raw_data
}

/// A `TensorProto` of 64-bit integers, one axis.
fn index_tensor(name: &str, values: impl IntoIterator<Item = i64>) -> Message {
    let bytes: Vec<u8> = values.into_iter().flat_map(i64::to_le_bytes).collect();
    let dims = [(bytes.len() / size_of::<i64>()) as i64];
    Message::new().integers(1, &dims).integer(2, 7).bytes(8, name).bytes(9, bytes) // data_type, name, raw_data
}

/// A `SparseTensorProto` with flat positions.
fn sparse_tensor(weight: &Weight, indices: &[u32]) -> Message {
    let dims: Vec<i64> = weight.shape.iter().map(|&side| side as i64).collect();
    Message::new()
        .message(1, float_tensor(&weight.name, &[weight.values.len()], &weight.values))
        .message(2, index_tensor("", indices.iter().map(|&index| index.into())))
        .integers(3, &dims)
}

/// A `ValueInfoProto` of floats, `[batch, shape]`.
fn value_info(name: &str, shape: &[usize], about: &str) -> Message {
    let batch = Message::new().bytes(2, "batch"); // dim_param
    let sides = shape.iter().map(|&side| Message::new().integer(1, side as i64)); // dim_value
    let dims = sides.fold(Message::new().message(1, batch), |dims, side| dims.message(1, side));
    let tensor = Message::new().integer(1, 1).message(2, dims); // elem_type, shape
    Message::new().bytes(1, name).message(2, Message::new().message(1, tensor)).bytes(3, about) // type, doc_string
}
