//! Which weights are sparse and how many non-zeros each has.

use bidst_model::{Graph, NodeId, Op, WeightSpec};
use bidst_topology::{LayerSpec, distribution};

use crate::config::{ConfigError, Sparsity};
use crate::error::TrainError;
use crate::glob;
use crate::nearest::hint;

/// The number of non-zeros of every weight tensor of a network, in the order of [`Graph::weights`].
#[derive(Clone, Debug)]
pub struct Allocation {
    /// The weight tensors.
    pub weights: Vec<WeightSpec>,
    /// Non-zeros of each, or `None` for one that stays dense.
    pub nnz: Vec<Option<usize>>,
}

impl Allocation {
    /// Shares the non-zeros out as `[sparsity]` asks. With level 0 and no override everything stays dense.
    ///
    /// # Errors
    /// A name or pattern that no layer matches; counts that cannot be met.
    pub fn new(graph: &Graph, sparsity: &Sparsity) -> Result<Allocation, TrainError> {
        let weights = graph.weights();
        let names = names(graph);
        let dense = match &sparsity.dense_layers {
            Some(patterns) => matching(&names, "sparsity.dense_layers", patterns)?,
            None => default_dense(graph, &weights),
        };
        let overrides = sparsity.overrides.keys();
        matching(&names, "sparsity.override", overrides.clone())?;
        let override_of = |name: &str| {
            let found = sparsity.overrides.iter().filter(|(pattern, _)| glob::matches(pattern, name));
            found.max_by_key(|(pattern, _)| (*pattern == name, pattern.len())).map(|(_, &level)| level)
        };

        let mut nnz = vec![None; weights.len()];
        let mut shared = Vec::new();
        for (index, weight) in weights.iter().enumerate() {
            match override_of(names[index]) {
                Some(level) => nnz[index] = at_level(weight.len(), level),
                None if !dense[index] && sparsity.level > 0.0 => shared.push(index),
                None => {}
            }
        }
        let shapes: Vec<Vec<usize>> = shared.iter().map(|&index| weights[index].shape.clone()).collect();
        if !shapes.is_empty() {
            let counts = distribution::allocate(sparsity.distribution, &shapes, sparsity.level)?;
            for (&index, count) in shared.iter().zip(counts) {
                nnz[index] = Some(count);
            }
        }
        Ok(Allocation { weights, nnz })
    }

    /// Indices of the sparsified weights.
    pub fn sparse(&self) -> Vec<usize> {
        (0..self.weights.len()).filter(|&index| self.nnz[index].is_some()).collect()
    }

    /// Non-zeros of every weight tensor.
    pub fn nonzeros(&self) -> impl Iterator<Item = usize> {
        self.weights.iter().zip(&self.nnz).map(|(weight, nnz)| nnz.unwrap_or(weight.len()))
    }

    /// The sparsified weights as algorithms see them.
    pub fn layers(&self) -> Vec<LayerSpec> {
        let layer = |(weight, nnz): (&WeightSpec, &Option<usize>)| {
            let spec = |nnz| LayerSpec::new(weight.name.clone(), weight.shape.clone(), nnz);
            nnz.map(|nnz| LayerSpec { uses: weight.macs_per_weight, ..spec(nnz) })
        };
        self.weights.iter().zip(&self.nnz).filter_map(layer).collect()
    }

    /// Both overall sparsities, which papers tend to confuse.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (weight, &nnz) in self.weights.iter().zip(&self.nnz) {
            totals.add(weight.len(), nnz);
        }
        totals
    }
}

/// Counts of convolution and linear weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// All positions.
    pub weights: usize,
    /// Non-zeros, dense layers included.
    pub nonzeros: usize,
    /// Positions of the sparsified tensors.
    pub sparsified_weights: usize,
    /// Non-zeros of the sparsified tensors.
    pub sparsified_nonzeros: usize,
}

impl Totals {
    /// Counts a tensor of `len` positions; `nnz` is `None` if it is dense.
    pub fn add(&mut self, len: usize, nnz: Option<usize>) {
        self.weights += len;
        self.nonzeros += nnz.unwrap_or(len);
        if let Some(nnz) = nnz {
            self.sparsified_weights += len;
            self.sparsified_nonzeros += nnz;
        }
    }

    /// Sparsity over the sparsified tensors only; 0 if there are none.
    pub fn sparsified(&self) -> f64 {
        share_missing(self.sparsified_nonzeros, self.sparsified_weights)
    }

    /// Sparsity over all convolution and linear weights.
    pub fn overall(&self) -> f64 {
        share_missing(self.nonzeros, self.weights)
    }
}

fn share_missing(nonzeros: usize, weights: usize) -> f64 {
    if weights == 0 { 0.0 } else { 1.0 - nonzeros as f64 / weights as f64 }
}

fn at_level(len: usize, level: f64) -> Option<usize> {
    (level > 0.0).then(|| ((1.0 - level) * len as f64).round() as usize)
}

/// Names of the layers with weights, in the order of [`Graph::weights`].
pub(crate) fn names(graph: &Graph) -> Vec<&str> {
    graph.weights().iter().map(|weight| graph.node(weight.node).name.as_str()).collect()
}

/// What to say about a pattern that none of `names` matches; `None` if one does.
pub(crate) fn unmatched(names: &[&str], pattern: &str) -> Option<String> {
    if names.iter().any(|name| glob::matches(pattern, name)) {
        return None;
    }
    let near = hint(pattern, names.iter().copied());
    Some(format!("no layer is called `{pattern}`{near} (there is: {})", names.join(", ")))
}

/// Which names match one of the patterns.
fn matching<'a>(
    names: &[&str],
    key: &str,
    patterns: impl IntoIterator<Item = &'a String> + Clone,
) -> Result<Vec<bool>, ConfigError> {
    if let Some(message) = patterns.clone().into_iter().find_map(|pattern| unmatched(names, pattern)) {
        return Err(ConfigError::of_key(key, message));
    }
    let is_matched = |name: &&str| patterns.clone().into_iter().any(|pattern| glob::matches(pattern, name));
    Ok(names.iter().map(is_matched).collect())
}

/// MEST's profile: the first convolution, 1x1 shortcut convolutions and the last linear layer stay dense; and so do
/// depthwise convolutions, which have too few weights to spare any.
fn default_dense(graph: &Graph, weights: &[WeightSpec]) -> Vec<bool> {
    let is_conv = |weight: &&WeightSpec| matches!(graph.node(weight.node).op, Op::Conv { .. });
    let first_conv = weights.iter().find(is_conv).map(|weight| weight.node);
    let last_gemm = weights.iter().rfind(|weight| !is_conv(weight)).map(|weight| weight.node);
    let is_depthwise =
        |weight: &WeightSpec| is_conv(&weight) && weight.shape[1] == 1 && Some(weight.node) != first_conv;
    let stays = |weight: &WeightSpec| {
        let ends = Some(weight.node) == first_conv || Some(weight.node) == last_gemm;
        ends || is_depthwise(weight) || is_shortcut(graph, weight.node)
    };
    weights.iter().map(stays).collect()
}

/// A 1x1 convolution whose input is read by another branch too and whose output, perhaps normalised, is added to one.
fn is_shortcut(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let Op::Conv { kernel: [1, 1], .. } = node.op else { return false };
    let shared = node.inputs.iter().any(|&input| graph.consumers(input).len() > 1);
    let mut next = graph.consumers(id);
    if let [only] = next[..]
        && matches!(graph.node(only).op, Op::BatchNormalization { .. })
    {
        next = graph.consumers(only);
    }
    shared && next.iter().any(|&reader| matches!(graph.node(reader).op, Op::Add))
}
