//! Whatever the bytes of a model file are, reading them gives an error with a reason, never a panic.

use std::collections::HashMap;

use bidst_train::error::ModelFileError;
use bidst_train::export::ModelFile;
use safetensors::tensor::{Dtype, TensorView};

/// Tensors of a file as name, type, shape and bytes, and its `bidst` entry.
struct Draft {
    about: serde_json::Value,
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

/// A valid model: an MLP on 2x2 pixels with 2 classes, of which the first layer is sparse.
fn draft() -> Draft {
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
    fn bytes(&self) -> Vec<u8> {
        let views = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        let metadata = HashMap::from([("bidst".to_owned(), self.about.to_string())]);
        safetensors::serialize(views, Some(metadata)).unwrap()
    }

    fn tensor(&mut self, ending: &str) -> &mut (String, Dtype, Vec<usize>, Vec<u8>) {
        self.tensors.iter_mut().find(|tensor| tensor.0.ends_with(ending)).unwrap()
    }
}

fn error(change: impl FnOnce(&mut Draft)) -> ModelFileError {
    let mut draft = draft();
    change(&mut draft);
    ModelFile::from_bytes(&draft.bytes()).unwrap_err()
}

#[test]
fn the_valid_draft_is_accepted() {
    let model = ModelFile::from_bytes(&draft().bytes()).unwrap();
    assert_eq!(model.weights[0].indices.as_deref(), Some(&[1, 5, 6][..]));
}

#[test]
fn every_lie_has_its_own_error() {
    use ModelFileError as E;
    assert!(matches!(error(|d| d.about["version"] = 2.into()), E::Version { found: 2, .. }));
    assert!(matches!(error(|d| d.about["width"] = 1e300.into()), E::Range { field: "width", .. }));
    assert!(matches!(error(|d| d.about["width"] = (-1).into()), E::Range { field: "width", .. }));
    assert!(matches!(error(|d| d.about["classes"] = 0.into()), E::Range { field: "classes", .. }));
    assert!(matches!(error(|d| d.about["input"][1] = u64::MAX.into()), E::Range { field: "input", .. }));
    assert!(matches!(error(|d| d.about["std"][0] = 0.into()), E::Range { field: "std", .. }));
    assert!(matches!(error(|d| d.about["model"] = "x".into()), E::Model(_)));
    assert!(matches!(error(|d| d.about["mean"] = "x".into()), E::Metadata(_)));
    assert!(matches!(error(|d| d.about["sparse"]["ghost"] = serde_json::json!([1])), E::Unexpected { .. }));
    assert!(matches!(error(|d| d.about["sparse"] = serde_json::json!({})), E::Missing { .. }));
    assert!(matches!(error(|d| drop(d.tensors.remove(0))), E::Missing { .. }));
    let extra = |d: &mut Draft| d.tensors.push(("ghost".to_owned(), Dtype::U8, vec![1], vec![0]));
    assert!(matches!(error(extra), E::Unexpected { .. }));
    assert!(matches!(error(|d| d.tensor(".indices").1 = Dtype::F32), E::Type { .. }));
    assert!(matches!(error(|d| d.tensor(".values").2 = vec![3, 1]), E::Shape { .. }));
    assert!(matches!(error(|d| d.tensor(".values").3 = f32::NAN.to_le_bytes().repeat(3)), E::NotFinite { .. }));
    let set_index = |position: usize, value: u32| {
        move |d: &mut Draft| d.tensor(".indices").3[4 * position..][..4].copy_from_slice(&value.to_le_bytes())
    };
    assert!(matches!(error(set_index(2, u32::MAX)), E::Index { position: 2, .. }));
    assert!(matches!(error(set_index(1, 1)), E::Index { position: 1, .. }));
    assert!(matches!(error(set_index(2, 3)), E::Index { position: 2, .. }));
}

#[test]
fn a_container_without_our_metadata_is_not_ours() {
    let bytes = safetensors::serialize(Vec::<(String, TensorView)>::new(), None).unwrap();
    assert!(matches!(ModelFile::from_bytes(&bytes), Err(ModelFileError::NotOurs)));
}

#[test]
fn no_prefix_and_no_changed_byte_panics() {
    let bytes = draft().bytes();
    for end in 0..bytes.len() {
        assert!(ModelFile::from_bytes(&bytes[..end]).is_err(), "prefix of {end} bytes");
    }
    for position in 0..bytes.len() {
        for flip in [0x01, 0x80] {
            let mut changed = bytes.clone();
            changed[position] ^= flip;
            let _ = ModelFile::from_bytes(&changed);
        }
    }
}
