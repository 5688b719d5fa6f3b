//! The model file of a run, `model.safetensors`, and what it can be turned into for others: see [`Format`].
//!
//! # The format, for a stranger
//!
//! The file is a [safetensors](https://github.com/huggingface/safetensors) container, so any of its readers opens it:
//!
//! ```python
//! from safetensors import safe_open
//! import json, torch
//! with safe_open("model.safetensors", "pt") as file:
//!     about = json.loads(file.metadata()["bidst"])
//!     weights = {}
//!     for name, shape in about["sparse"].items():
//!         dense = torch.zeros(shape).flatten()
//!         dense[file.get_tensor(name + ".indices").long()] = file.get_tensor(name + ".values")
//!         weights[name] = dense.reshape(shape)
//!     for name in file.keys():
//!         if not name.endswith((".indices", ".values")):
//!             weights[name] = file.get_tensor(name)
//! ```
//!
//! * The metadata have one entry, `bidst`: a JSON object with the fields of [`About`].
//! * A *sparse* weight `W` is listed with its shape under `sparse` and stored as two vectors of one length: `W.indices`
//!   (u32, strictly ascending, row-major flat positions in that shape) and `W.values` (f32). Every other position is 0.
//! * A *dense* weight `W` is stored as one f32 tensor `W`. Convolutions are `[out, in / groups, height, width]`, linear
//!   layers `[out, in]`; names are those of the layers with `.weight` appended.
//! * Biases and batch normalisation are f32 vectors: `L.bias` for a layer; `B.weight` (scale), `B.bias` (shift),
//!   `B.running_mean` and `B.running_var` for a normalisation `B`.
//! * All numbers are little-endian and finite. Nothing else is in the file.
//! * An image goes in as `(pixel / 255 - mean) / std` per channel, laid out `[channels, height, width]`.
//!
//! [`ModelFile::from_bytes`] checks every one of these statements and answers with an error, never a panic, whatever the
//! bytes are. Files of equal models are equal byte for byte.

mod format;
mod layers;
mod npz;
mod onnx;
mod protobuf;
mod read;
pub(crate) mod torch;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use bidst_engine::{Network, Options};
use bidst_model::{Graph, Op};
use serde::{Deserialize, Serialize};

use crate::error::{ModelFileError, TrainError};
use crate::files::write_atomically;
use crate::sparsity::Totals;
use crate::tensors::TensorWriter;

pub use format::{Format, Layout};
pub use npz::npy;
pub(crate) use read::read_limited;

/// Version of the format.
pub const VERSION: u32 = 1;
/// What stands in place of the data set's name in a model that does not know it.
pub const NO_DATA: &str = "none";

/// What the metadata say about a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Version of the format, now 1.
    pub version: u32,
    /// Name of the network in the zoo.
    pub model: String,
    /// Width factor.
    pub width: f64,
    /// Number of classes.
    pub classes: usize,
    /// Channels, height and width of an image.
    pub input: [usize; 3],
    /// Name of the data set that it was trained on, or [`NO_DATA`].
    pub data: String,
    /// Mean of the pixels / 255 per channel.
    pub mean: Vec<f32>,
    /// Standard deviation of the pixels / 255 per channel.
    pub std: Vec<f32>,
    /// Shape of every sparse weight.
    pub sparse: BTreeMap<String, Vec<usize>>,
}

/// A weight tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Name of the layer with `.weight` appended.
    pub name: String,
    /// `[out, in / groups, height, width]` or `[out, in]`.
    pub shape: Vec<usize>,
    /// Flat positions of the values, ascending; `None` if dense.
    pub indices: Option<Vec<u32>>,
    /// One value per index, or per position.
    pub values: Vec<f32>,
}

impl Weight {
    /// A value for every position.
    pub fn dense(&self) -> Cow<'_, [f32]> {
        let Some(indices) = &self.indices else { return Cow::Borrowed(&self.values) };
        let mut dense = vec![0.0; self.shape.iter().product()];
        for (&index, &value) in indices.iter().zip(&self.values) {
            dense[index as usize] = value;
        }
        Cow::Owned(dense)
    }

    /// The values at ascending `positions`; 0 where the weight has none.
    pub fn at(&self, positions: &[u32]) -> Vec<f32> {
        let Some(indices) = &self.indices else {
            return positions.iter().map(|&position| self.values[position as usize]).collect();
        };
        let value = |position: &u32| indices.binary_search(position).map_or(0.0, |at| self.values[at]);
        positions.iter().map(value).collect()
    }
}

/// A verified model, ready to become a network.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The metadata.
    pub about: About,
    /// The graph that they describe.
    pub graph: Graph,
    /// Weights in the order of [`Graph::weights`].
    pub weights: Vec<Weight>,
    /// Biases and normalisation by name.
    pub vectors: BTreeMap<String, Vec<f32>>,
}

impl ModelFile {
    /// Takes a model out of a network. `about.sparse` is filled in.
    pub fn from_network(mut about: About, graph: &Graph, network: &Network) -> ModelFile {
        let weight = |tensor: &bidst_engine::SparseTensor| Weight {
            name: tensor.name().to_owned(),
            shape: tensor.shape().to_vec(),
            indices: (!tensor.is_dense()).then(|| tensor.index().to_vec()),
            values: tensor.values().to_vec(),
        };
        let weights: Vec<Weight> = network.weights().iter().map(weight).collect();
        let sparse = weights.iter().filter(|weight| weight.indices.is_some());
        about.sparse = sparse.map(|weight| (weight.name.clone(), weight.shape.clone())).collect();
        let vectors = network.vectors().iter().map(|vector| (vector.name.clone(), vector.values.clone())).collect();
        ModelFile { about, graph: graph.clone(), weights, vectors }
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// If the container refuses the tensors.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelFileError> {
        let mut writer = TensorWriter::default();
        for Weight { name, shape, indices, values } in &self.weights {
            match indices {
                Some(indices) => {
                    writer.add(format!("{name}.indices"), &[indices.len()], indices);
                    writer.add(format!("{name}.values"), &[values.len()], values);
                }
                None => writer.add(name.clone(), shape, values),
            }
        }
        for (name, values) in &self.vectors {
            writer.add(name.clone(), &[values.len()], values);
        }
        writer.finish(&serde_json::to_string(&self.about)?)
    }

    /// Writes the file, replacing an old one only when all of it is on the disk; returns its size in bytes.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::ModelFile`]
    pub fn write(&self, path: &Path) -> Result<usize, TrainError> {
        let bytes = self.to_bytes().map_err(|reason| TrainError::ModelFile { path: path.to_owned(), reason })?;
        write_atomically(path, &bytes)?;
        Ok(bytes.len())
    }

    /// Bytes of its values if every weight existed.
    pub fn dense_bytes(&self) -> usize {
        let weights: usize = self.weights.iter().map(|weight| weight.shape.iter().product::<usize>()).sum();
        size_of::<f32>() * (weights + self.vectors.values().map(Vec::len).sum::<usize>())
    }

    /// How many weights there are, and how many exist.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for weight in &self.weights {
            totals.add(weight.shape.iter().product(), weight.indices.as_ref().map(Vec::len));
        }
        totals
    }

    /// A network with these weights, for evaluation or further training.
    ///
    /// # Errors
    /// [`TrainError::Engine`]
    pub fn network(&self, options: Options) -> Result<Network, TrainError> {
        let patterns: Vec<Option<Vec<u32>>> = self.weights.iter().map(|weight| weight.indices.clone()).collect();
        let mut network = Network::new(&self.graph, &patterns, options)?;
        for (tensor, weight) in network.weights_mut().iter_mut().zip(&self.weights) {
            tensor.values_mut().copy_from_slice(&weight.values);
        }
        for vector in network.vectors_mut() {
            if let Some(values) = self.vectors.get(&vector.name) {
                vector.values.copy_from_slice(values);
            }
        }
        Ok(network)
    }
}

/// Names and lengths of the biases and normalisation vectors of a graph, as the engine names them.
pub(crate) fn vector_lengths(graph: &Graph) -> Vec<(String, usize)> {
    let mut vectors = Vec::new();
    for node in graph.nodes() {
        let is_vector = |part: &&&str| **part != "weight" || matches!(node.op, Op::BatchNormalization { .. });
        let parts = layers::parameters(&node.op).iter().filter(is_vector);
        vectors.extend(parts.map(|part| (format!("{}.{part}", node.name), node.shape.channels)));
    }
    vectors
}
