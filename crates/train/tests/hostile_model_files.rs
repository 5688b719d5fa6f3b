//! Whatever the bytes of a model file are, reading them gives an error with a reason, never a panic.

mod draft;

use bidst_train::error::ModelFileError;
use bidst_train::export::{Format, Layout, ModelFile};
use draft::{Draft, draft};
use safetensors::tensor::{Dtype, TensorView};

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
    assert!(matches!(error(|d| d.about["std"][0] = 1e-40.into()), E::Range { field: "std", .. }));
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

/// A file of a kilobyte made PyTorch's format ask for sixteen gigabytes.
#[test]
fn a_small_file_of_a_huge_network_is_refused_by_every_dense_format() {
    let mut huge = draft();
    huge.about["input"] = serde_json::json!([1, 16_384, 50_000]);
    let (weight, sparse) = huge.about["sparse"].as_object_mut().unwrap().iter_mut().next().unwrap();
    let (weight, outputs) = (weight.clone(), sparse[0].as_u64().unwrap());
    *sparse = serde_json::json!([outputs, 16_384u64 * 50_000]);
    for ending in [".indices", ".values"] {
        let tensor = huge.tensor(&format!("{weight}{ending}"));
        (tensor.2, tensor.3) = (vec![0], Vec::new());
    }
    let model = ModelFile::from_bytes(&huge.bytes()).unwrap();
    for format in [Format::Safetensors, Format::Onnx, Format::Npz] {
        assert!(matches!(model.export(format, Layout::Dense), Err(ModelFileError::TooLarge { .. })), "{format:?}");
    }
    assert!(model.export(Format::Safetensors, Layout::Sparse).unwrap().len() < 10_000);
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
