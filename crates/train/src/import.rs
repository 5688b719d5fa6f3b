//! Weights from elsewhere: a safetensors state, dense or sparse, with our names or PyTorch's.
//!
//! A state is read against a graph. Every weight `W` of the graph is one tensor `W`, or a pair `W.indices` and `W.values` as
//! in [our model file](crate::export); every other name is a mistake, but for PyTorch's `num_batches_tracked`. The prefix
//! `module.`, which data-parallel training leaves on every name, is ignored. What is wrong is reported all at once.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use bidst_engine::Network;
use bidst_model::{Graph, WeightSpec};
use bidst_topology::LayerSpec;

use crate::error::{ModelFileError, TrainError};
use crate::export::{About, ModelFile, Weight, read_limited, torch, vector_lengths};
use crate::nearest::nearest;
use crate::sparsity::Allocation;
use crate::tensors::{METADATA_KEY, TensorReader};

/// Tensors that a state may have, several times those of the largest network.
const MAX_TENSORS: usize = 10_000;
/// Letters that a name may have.
const MAX_NAME: usize = 200;
/// Pairs of names that are compared to find the nearest ones.
const MAX_PAIRS: usize = 100_000;

/// A file with weights, not yet known to fit anything.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
    bytes: Vec<u8>,
    /// What the file says about the network, if a `bidst` wrote it.
    pub about: Option<About>,
}

/// The weights and vectors of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Weights in the order of [`Graph::weights`]; sparse where the file is, or where half of the values or more are 0.
    pub weights: Vec<Weight>,
    /// Biases and normalisation by name.
    pub vectors: BTreeMap<String, Vec<f32>>,
}

/// What is wrong with one name of a state.
#[derive(Debug)]
pub struct StateProblem {
    /// What.
    pub reason: ModelFileError,
    /// The name that may have been meant, in the file or in the network.
    pub nearest: Option<String>,
}

impl fmt::Display for StateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        match (&self.nearest, &self.reason) {
            (None, _) => Ok(()),
            (Some(name), ModelFileError::Missing { .. }) => write!(f, "; the file has `{name}`"),
            (Some(name), _) => write!(f, "; did you mean `{name}`?"),
        }
    }
}

impl StateFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::ModelFile`] if it is no safetensors file.
    pub fn read(path: &Path) -> Result<StateFile, TrainError> {
        StateFile::from_bytes(path, read_limited(path)?)
    }

    /// As [`StateFile::read`], of the bytes of the file `path`.
    ///
    /// # Errors
    /// [`TrainError::ModelFile`] if they are no safetensors file.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<StateFile, TrainError> {
        let wrong = |reason| TrainError::ModelFile { path: path.to_owned(), reason };
        let reader = TensorReader::foreign(&bytes, &[METADATA_KEY, torch::METADATA_KEY]).map_err(wrong)?;
        let names = reader.names("");
        if names.len() > MAX_TENSORS || names.iter().any(|name| name.len() > MAX_NAME) {
            return Err(wrong(ModelFileError::Names { tensors: names.len(), most: MAX_TENSORS, longest: MAX_NAME }));
        }
        let about = serde_json::from_str(&reader.metadata).ok();
        Ok(StateFile { path: path.to_owned(), bytes, about })
    }

    /// Length of the first axis of the tensor that is called `name` here or in PyTorch: for a last layer, the number of
    /// classes.
    pub fn outputs(&self, name: &str) -> Option<usize> {
        let header = safetensors::SafeTensors::deserialize(&self.bytes).ok()?;
        let prefix = prefix(header.names().into_iter());
        let view = spellings(name).into_iter().find_map(|name| header.tensor(&format!("{prefix}{name}")).ok())?;
        view.shape().first().copied()
    }

    /// The state, if it fits `graph`.
    ///
    /// # Errors
    /// [`TrainError::ModelFile`] with every name that is missing, unexpected or wrong.
    pub fn fit(&self, graph: &Graph) -> Result<State, TrainError> {
        let wrong = |reason| TrainError::ModelFile { path: self.path.clone(), reason };
        let mut fit = Fit::new(&self.bytes).map_err(wrong)?;
        let weights = graph.weights().into_iter().filter_map(|spec| fit.weight(spec)).collect();
        let vectors = vector_lengths(graph).into_iter().filter_map(|(name, len)| fit.vector(name, len)).collect();
        let problems = fit.finish();
        if problems.is_empty() {
            return Ok(State { weights, vectors });
        }
        Err(wrong(ModelFileError::State { network: graph.name().to_owned(), problems }))
    }
}

impl State {
    /// A model with these weights. `about.sparse` is filled in.
    pub fn model(self, mut about: About, graph: Graph) -> ModelFile {
        let sparse = self.weights.iter().filter(|weight| weight.indices.is_some());
        about.sparse = sparse.map(|weight| (weight.name.clone(), weight.shape.clone())).collect();
        ModelFile { about, graph, weights: self.weights, vectors: self.vectors }
    }
}

impl State {
    /// Sets the weights where `network` has them, and all vectors.
    pub fn put_into(&self, network: &mut Network) {
        for (tensor, weight) in network.weights_mut().iter_mut().zip(&self.weights) {
            let values = weight.at(tensor.index());
            tensor.values_mut().copy_from_slice(&values);
        }
        for vector in network.vectors_mut() {
            if let Some(values) = self.vectors.get(&vector.name) {
                vector.values.copy_from_slice(values);
            }
        }
    }

    /// Puts the pattern of every sparse layer that has as many non-zeros as it shall start with, in its shape, in the place
    /// of a random one.
    pub(crate) fn keep_patterns(
        &self,
        allocation: &Allocation,
        layers: &[LayerSpec],
        patterns: &mut [Option<Vec<u32>>],
    ) {
        for (at, layer) in allocation.sparse().into_iter().zip(layers) {
            let fits = |indices: &&Vec<u32>| indices.len() == layer.nnz && layer.pattern.holds(&layer.shape, indices);
            let kept = self.weights.get(at).and_then(|weight| weight.indices.as_ref()).filter(fits);
            if let (Some(indices), Some(pattern)) = (kept, patterns.get_mut(at)) {
                *pattern = Some(indices.clone());
            }
        }
    }
}

/// The names that a tensor may have.
fn spellings(name: &str) -> [String; 2] {
    [name.to_owned(), torch::name(name)]
}

/// What PyTorch's `DataParallel` puts before all names.
fn prefix<'a>(mut names: impl Iterator<Item = &'a str>) -> &'static str {
    if names.all(|name| name.starts_with("module.")) { "module." } else { "" }
}

/// Takes tensors out of a container and collects what is wrong.
struct Fit<'a> {
    reader: TensorReader<'a>,
    /// What every name begins with.
    prefix: &'static str,
    /// Names without the prefix that nobody has asked for.
    left: BTreeSet<String>,
    problems: Vec<ModelFileError>,
}

impl<'a> Fit<'a> {
    fn new(bytes: &'a [u8]) -> Result<Fit<'a>, ModelFileError> {
        let reader = TensorReader::foreign(bytes, &[])?;
        let names = reader.names("");
        let prefix = prefix(names.iter().map(String::as_str));
        let names = names.iter().map(|name| name[prefix.len()..].to_owned());
        let left = names.filter(|name| !name.ends_with(".num_batches_tracked")).collect();
        Ok(Fit { reader, prefix, left, problems: Vec::new() })
    }

    /// The first spelling of `name` with `ending` that the file has.
    fn find(&self, name: &str, ending: &str) -> Option<String> {
        spellings(name).into_iter().map(|name| name + ending).find(|name| self.left.contains(name))
    }

    fn weight(&mut self, spec: WeightSpec) -> Option<Weight> {
        let (len, name, shape) = (spec.len(), spec.name, spec.shape);
        let (Some(indices_name), None) = (self.find(&name, ".indices"), self.find(&name, "")) else {
            let values = self.take(&name, |reader, name| reader.finite(name, &shape))?;
            return Some(smaller(Weight { name, shape, indices: None, values }));
        };
        let values_name = indices_name.trim_end_matches("indices").to_owned() + "values";
        let Some(indices) = self.take(&indices_name, |reader, name| reader.indices(name, len)) else {
            self.left.remove(&values_name);
            return None;
        };
        let values = self.take(&values_name, |reader, name| reader.finite(name, &[indices.len()]))?;
        Some(Weight { name, shape, indices: Some(indices), values })
    }

    fn vector(&mut self, name: String, len: usize) -> Option<(String, Vec<f32>)> {
        let values = self.take(&name, |reader, name| reader.finite(name, &[len]))?;
        Some((name, values))
    }

    /// Reads the tensor that is called `name`, or notes what is wrong with it.
    fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut TensorReader<'a>, &str) -> Result<T, ModelFileError>,
    ) -> Option<T> {
        let Some(found) = self.find(name, "") else {
            self.problems.push(ModelFileError::Missing { name: name.to_owned() });
            return None;
        };
        self.left.remove(&found);
        let result = read(&mut self.reader, &format!("{}{found}", self.prefix));
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// What is wrong, with the nearest names.
    fn finish(self) -> Vec<StateProblem> {
        let Fit { left, problems, .. } = self;
        let missing_names: Vec<String> = problems.iter().filter_map(missing).map(torch::name).collect();
        let compared = left.len().saturating_mul(missing_names.len()) <= MAX_PAIRS;
        let near = |name: &str, names: &[String]| {
            let names = names.iter().map(String::as_str).filter(|_| compared);
            nearest(name, names).map(str::to_owned)
        };
        let left: Vec<String> = left.into_iter().collect();
        let asked = |reason| StateProblem { nearest: missing(&reason).and_then(|name| near(name, &left)), reason };
        let mut all: Vec<StateProblem> = problems.into_iter().map(asked).collect();
        all.extend(left.iter().map(|name| StateProblem {
            reason: ModelFileError::Unexpected { name: name.clone() },
            nearest: near(name, &missing_names),
        }));
        all
    }
}

/// The name that a problem is the absence of.
fn missing(problem: &ModelFileError) -> Option<&str> {
    if let ModelFileError::Missing { name } = problem { Some(name) } else { None }
}

/// The sparse form of a dense weight if it takes no more bytes: if half of the values or more are 0.
fn smaller(weight: Weight) -> Weight {
    let positions = (0..).zip(&weight.values).filter(|(_, value)| **value != 0.0);
    let indices: Vec<u32> = positions.map(|(position, _)| position).collect();
    if indices.len() > weight.values.len() / 2 {
        return weight;
    }
    let values = weight.at(&indices);
    Weight { indices: Some(indices), values, ..weight }
}
