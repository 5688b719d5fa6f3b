//! A model file to be spoiled.
#![allow(dead_code)]

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};

/// Tensors of a file as name, type, shape and bytes, and its `bidst` entry.
pub struct Draft {
    pub about: serde_json::Value,
    pub tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

/// A valid model: an MLP on 2x2 pixels with 2 classes, of which the first layer is sparse.
pub fn draft() -> Draft {
    let about = serde_json::json!({
        "version": 1, "model": "mlp", "width": 0.01, "classes": 2, "input": [1, 2, 2], "data": "none",
        "mean": [0.5], "std": [0.5], "sparse": {},
    });
    let options = bidst_model::zoo::Options {
        width: 0.01,
        classes: 2,
        input: bidst_model::Shape { channels: 1, height: 2, width: 2 },
    };
    let graph = bidst_model::zoo::build("mlp", &options).unwrap();
    let mut draft = Draft { about, tensors: Vec::new() };
    for (index, weight) in graph.weights().iter().enumerate() {
        let bias = format!("{}.bias", graph.node(weight.node).name);
        draft.tensors.push((bias, Dtype::F32, vec![weight.shape[0]], vec![0; 4 * weight.shape[0]]));
        if index == 0 {
            draft.about["sparse"][&weight.name] = serde_json::json!(weight.shape);
            let indices: Vec<u8> = [1u32, 5, 6].iter().flat_map(|i| i.to_le_bytes()).collect();
            draft.tensors.push((format!("{}.indices", weight.name), Dtype::U32, vec![3], indices));
            draft.tensors.push((format!("{}.values", weight.name), Dtype::F32, vec![3], vec![0; 12]));
        } else {
            draft.tensors.push((weight.name.clone(), Dtype::F32, weight.shape.clone(), vec![0; 4 * weight.len()]));
        }
    }
    draft
}

impl Draft {
    pub fn bytes(&self) -> Vec<u8> {
        let views = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        let metadata = HashMap::from([("bidst".to_owned(), self.about.to_string())]);
        safetensors::serialize(views, Some(metadata)).unwrap()
    }

    pub fn tensor(&mut self, ending: &str) -> &mut (String, Dtype, Vec<usize>, Vec<u8>) {
        self.tensors.iter_mut().find(|tensor| tensor.0.ends_with(ending)).unwrap()
    }
}
