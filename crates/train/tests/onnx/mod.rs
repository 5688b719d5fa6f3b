//! Reads ONNX files back, written from `onnx.proto` and the descriptions of the operators alone: graph, attributes, names, metadata
//! and sparse initialisers, which tract does not look at.

use std::collections::{BTreeMap, BTreeSet};

use bidst_model::{Graph, GraphBuilder, NodeId, Op, Shape};

/// What a file says.
pub struct Decoded {
    pub opset: u64,
    pub metadata: BTreeMap<String, String>,
    pub graph: Graph,
    /// Initialisers, sparse ones dense.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Names of the sparse ones.
    pub sparse: BTreeSet<String>,
}

/// A field of a message.
#[derive(Clone, Copy)]
enum Value<'a> {
    Integer(u64),
    Bytes(&'a [u8]),
    Float(f32),
}

/// The fields of a message by number.
struct Message<'a>(Vec<(u64, Value<'a>)>);

impl<'a> Message<'a> {
    fn new(mut bytes: &'a [u8]) -> Message<'a> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = match key & 7 {
                0 => Value::Integer(varint(&mut bytes)),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    Value::Bytes(bytes.split_off(..length).unwrap())
                }
                5 => Value::Float(f32::from_le_bytes(bytes.split_off(..4).unwrap().try_into().unwrap())),
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        Message(fields)
    }

    fn all(&self, field: u64) -> impl Iterator<Item = Value<'a>> {
        self.0.iter().filter(move |(number, _)| *number == field).map(|&(_, value)| value)
    }

    fn integers(&self, field: u64) -> Vec<usize> {
        let integer = |value| if let Value::Integer(integer) = value { Some(integer as usize) } else { None };
        self.all(field).filter_map(integer).collect()
    }

    fn bytes(&self, field: u64) -> Vec<&'a [u8]> {
        self.all(field).filter_map(|value| if let Value::Bytes(bytes) = value { Some(bytes) } else { None }).collect()
    }

    fn float(&self, field: u64) -> f32 {
        self.all(field).find_map(|value| if let Value::Float(float) = value { Some(float) } else { None }).unwrap()
    }

    fn texts(&self, field: u64) -> Vec<String> {
        self.bytes(field).into_iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    }

    fn text(&self, field: u64) -> String {
        self.texts(field).pop().unwrap_or_default()
    }

    fn messages(&self, field: u64) -> Vec<Message<'a>> {
        self.bytes(field).into_iter().map(Message::new).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = *bytes.split_off_first().unwrap();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// Reads a `ModelProto`.
pub fn decode(bytes: &[u8]) -> Decoded {
    let file = Message::new(bytes);
    let graph = &file.messages(7)[0];
    let metadata = file.messages(14).iter().map(|entry| (entry.text(1), entry.text(2))).collect();
    let mut tensors = BTreeMap::new();
    for tensor in graph.messages(5) {
        if tensor.integers(2) == [1] {
            tensors.insert(tensor.text(8), (tensor.integers(1), words(&tensor, f32::from_le_bytes)));
        }
    }
    let mut sparse = BTreeSet::new();
    for tensor in graph.messages(15) {
        let (values, indices, shape) = (&tensor.messages(1)[0], &tensor.messages(2)[0], tensor.integers(3));
        let mut dense = vec![0.0; shape.iter().product()];
        let positions = words(indices, i64::from_le_bytes);
        assert_eq!((indices.integers(2), indices.integers(1)), (vec![7], vec![positions.len()]));
        for (position, value) in positions.into_iter().zip(words(values, f32::from_le_bytes)) {
            dense[position as usize] = value;
        }
        sparse.insert(values.text(8));
        tensors.insert(values.text(8), (shape, dense));
    }
    let opset = file.messages(8)[0].integers(2)[0] as u64;
    Decoded { opset, metadata, graph: network(graph, &tensors), tensors, sparse }
}

fn words<T, const N: usize>(tensor: &Message<'_>, word: fn([u8; N]) -> T) -> Vec<T> {
    tensor.bytes(9)[0].as_chunks().0.iter().map(|&bytes| word(bytes)).collect()
}

/// Shape of an input or output without its batch axis, which has to have a name and no number.
fn shape(value: &Message<'_>) -> Vec<usize> {
    let tensor = &value.messages(2)[0].messages(1)[0];
    assert_eq!(tensor.integers(1), [1]);
    let sides = tensor.messages(2)[0].messages(1);
    assert_eq!((sides[0].text(2).as_str(), sides[0].integers(1)), ("batch", vec![]));
    sides[1..].iter().map(|side| side.integers(1)[0]).collect()
}

/// The graph of a `GraphProto`. Changes of axes, which our graphs do not need, are passed through.
fn network(graph: &Message<'_>, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Graph {
    let (input, output) = (&graph.messages(11)[0], &graph.messages(12)[0]);
    let [channels, height, width] = shape(input)[..] else { panic!("not images") };
    let mut builder = GraphBuilder::new(graph.text(2), Shape { channels, height, width });
    let mut values = BTreeMap::from([(input.text(1), builder.input())]);
    for node in graph.messages(1) {
        let (name, inputs) = (node.text(3), node.texts(1));
        let data: Vec<NodeId> = inputs.iter().filter_map(|input| values.get(input)).copied().collect();
        let result = match name.contains('/') {
            true => data[0],
            false => builder.node(name, operation(&node, tensors), &data),
        };
        values.insert(node.text(2), result);
    }
    let classes = builder.shape(values[&output.text(1)]).channels;
    assert_eq!(shape(output), [classes]);
    builder.finish().unwrap()
}

fn operation(node: &Message<'_>, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Op {
    let attributes: BTreeMap<String, Message<'_>> =
        node.messages(5).into_iter().map(|attribute| (attribute.text(1), attribute)).collect();
    let pair = |name: &str| <[usize; 2]>::try_from(attributes[name].integers(8)).unwrap();
    let padding = || {
        let pads = attributes["pads"].integers(8);
        assert_eq!(pads[..2], pads[2..]);
        [pads[0], pads[1]]
    };
    let inputs = node.texts(1);
    let bias = inputs.len() == 3;
    match node.text(4).as_str() {
        "Conv" => {
            let (shape, _) = &tensors[&inputs[1]];
            assert_eq!(pair("kernel_shape"), shape[2..]);
            let (kernel, stride, groups) = (pair("kernel_shape"), pair("strides"), attributes["group"].integers(3)[0]);
            Op::Conv { out_channels: shape[0], kernel, stride, padding: padding(), groups, bias }
        }
        "BatchNormalization" => {
            let parts = ["weight", "bias", "running_mean", "running_var"];
            assert!(inputs[1..].iter().zip(parts).all(|(input, part)| input.ends_with(part)));
            let momentum = ((1.0 - attributes["momentum"].float(2)) * 1e6).round() / 1e6;
            Op::BatchNormalization { epsilon: attributes["epsilon"].float(2), momentum }
        }
        "Relu" => Op::Relu,
        "Clip" => {
            assert_eq!(tensors[&inputs[1]], (vec![], vec![0.0]));
            Op::Clip { max: tensors[&inputs[2]].1[0] }
        }
        "Add" => Op::Add,
        "MaxPool" => Op::MaxPool { kernel: pair("kernel_shape"), stride: pair("strides"), padding: padding() },
        "AveragePool" => {
            assert_eq!(attributes["count_include_pad"].integers(3), [1]);
            Op::AveragePool { kernel: pair("kernel_shape"), stride: pair("strides"), padding: padding() }
        }
        "GlobalAveragePool" => Op::GlobalAveragePool,
        "Flatten" => Op::Flatten,
        "Gemm" => {
            assert_eq!(attributes["transB"].integers(3), [1]);
            Op::Gemm { out_features: tensors[&inputs[1]].0[0], bias }
        }
        other => panic!("{other}"),
    }
}
