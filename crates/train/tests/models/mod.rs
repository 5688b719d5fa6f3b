//! Models of every network of the zoo, with weights nobody trained.

// Every test takes what it needs.
#![allow(dead_code)]

use std::collections::BTreeMap;

use bidst_topology::rng::at;
use bidst_train::export::{About, ModelFile, VERSION, Weight};

/// Names, narrow widths, and small images that the networks take.
pub const ZOO: [(&str, f64, [usize; 3]); 9] = [
    ("small-cnn", 0.25, [1, 12, 12]),
    ("mlp", 0.1, [1, 8, 8]),
    ("resnet20", 0.5, [3, 16, 16]),
    ("resnet32", 0.25, [3, 16, 16]),
    ("resnet56", 0.25, [3, 8, 8]),
    ("vgg19", 0.125, [3, 32, 32]),
    ("mobilenet-v2", 0.25, [3, 8, 8]),
    ("resnet34", 0.125, [3, 32, 32]),
    ("resnet50", 0.125, [3, 32, 32]),
];

/// A number of -1 to below 1 for `position` of stream `key`.
pub fn noise(key: u64, position: usize) -> f32 {
    ((at(key, position as u64) >> 40) as f32) / 2f32.powi(23) - 1.0
}

/// The network with three classes. Every other weight tensor is sparse, one position in four; no stored value is 0.
pub fn model(name: &str, width: f64, input: [usize; 3]) -> ModelFile {
    let (mean, std) = (vec![0.25; input[0]], vec![0.5; input[0]]);
    let (model, data) = (name.to_owned(), "none".to_owned());
    let sparse = BTreeMap::new();
    let mut about = About { version: VERSION, model, width, classes: 3, input, data, mean, std, sparse };
    let graph = about.graph().unwrap();
    let mut weights = Vec::new();
    for (key, spec) in graph.weights().into_iter().enumerate() {
        let (len, fan_in) = (spec.len(), spec.fan_in());
        let indices =
            (key % 2 == 1).then(|| (0..len as u32).filter(|&p| at(99 + key as u64, p.into()).is_multiple_of(4)));
        let indices: Option<Vec<u32>> = indices.map(Iterator::collect);
        let count = indices.as_ref().map_or(len, Vec::len);
        let scale = (6.0 / (fan_in * count) as f32 * len as f32).sqrt();
        let values = (0..count).map(|p| scale * noise(key as u64, p)).collect();
        if indices.is_some() {
            about.sparse.insert(spec.name.clone(), spec.shape.clone());
        }
        weights.push(Weight { name: spec.name, shape: spec.shape, indices, values });
    }
    let template = bidst_engine::Network::new(&graph, &vec![None; weights.len()], options(1)).unwrap();
    let around = |name: &str| if name.ends_with("weight") || name.ends_with("running_var") { 1.0 } else { 0.0 };
    let vector = |(key, vector): (usize, &bidst_engine::Vector)| {
        let middle = around(&vector.name);
        let values = (0..vector.values.len()).map(|p| middle + 0.3 * noise(1000 + key as u64, p)).collect();
        (vector.name.clone(), values)
    };
    let vectors = template.vectors().iter().enumerate().map(vector).collect();
    ModelFile { about, graph, weights, vectors }
}

/// One thread, all in f32.
pub fn options(batch_size: usize) -> bidst_engine::Options {
    let activations = bidst_engine::Storage::F32;
    bidst_engine::Options { batch_size, threads: 1, activations, instruction_set: None }
}
