//! States from elsewhere: what fits comes in, and what does not is named.

mod common;
mod models;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bidst_train::error::ModelFileError;
use bidst_train::export::{Format, Layout, ModelFile, Weight};
use bidst_train::import::StateFile;
use bidst_train::{TrainError, Trainer};
use common::{config, splits};
use models::model;
use safetensors::tensor::{Dtype, TensorView};

/// Tensors of a file as name, type, shape and bytes.
type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

fn tensor(name: &str, shape: &[usize], values: &[f32]) -> (String, Dtype, Vec<usize>, Vec<u8>) {
    (name.to_owned(), Dtype::F32, shape.to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// The state of a model as PyTorch would save it.
fn tensors(model: &ModelFile) -> Tensors {
    let weights = model.weights.iter().map(|weight| tensor(&weight.name, &weight.shape, &weight.dense()));
    weights.chain(model.vectors.iter().map(|(name, values)| tensor(name, &[values.len()], values))).collect()
}

fn file(tensors: &Tensors) -> StateFile {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let bytes = safetensors::serialize(views, None::<HashMap<String, String>>).unwrap();
    StateFile::from_bytes(Path::new("state"), bytes).unwrap()
}

fn small() -> ModelFile {
    model("small-cnn", 0.25, [1, 8, 8])
}

/// Everything that is wrong with a state of [`small`] after a change, a line each.
fn problems(change: impl FnOnce(&mut Tensors)) -> Vec<String> {
    let model = small();
    let mut tensors = tensors(&model);
    change(&mut tensors);
    let error = file(&tensors).fit(&model.graph).unwrap_err();
    let TrainError::ModelFile { reason: ModelFileError::State { network, problems }, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(network, "small-cnn");
    problems.iter().map(ToString::to_string).collect()
}

fn find<'a>(tensors: &'a mut Tensors, name: &str) -> &'a mut (String, Dtype, Vec<usize>, Vec<u8>) {
    tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap()
}

#[test]
fn a_weight_with_many_zeros_comes_in_sparse_and_others_dense() {
    let model = small();
    let state = file(&tensors(&model)).fit(&model.graph).unwrap();
    assert_eq!((state.weights, state.vectors), (model.weights, model.vectors));
}

#[test]
fn what_pytorch_and_data_parallel_training_leave_behind_does_not_matter() {
    let model = small();
    let mut tensors = tensors(&model);
    tensors.push(("bn1.num_batches_tracked".to_owned(), Dtype::I64, vec![], vec![0; 8]));
    for tensor in &mut tensors {
        tensor.0.insert_str(0, "module.");
    }
    let file = file(&tensors);
    assert_eq!(file.fit(&model.graph).unwrap().weights, model.weights);
    assert_eq!((file.outputs("fc.weight"), file.outputs("fc.bias")), (Some(3), Some(3)));
}

#[test]
fn the_last_layer_tells_the_number_of_classes() {
    let file = file(&tensors(&small()));
    assert_eq!((file.outputs("fc.weight"), file.outputs("head.weight")), (Some(3), None));
}

#[test]
fn every_problem_is_named_at_once_with_the_nearest_name() {
    let found = problems(|tensors| {
        find(tensors, "conv1.weight").0 = "conv_1.weight".to_owned();
        find(tensors, "fc.bias").2 = vec![1, 3];
        find(tensors, "bn2.weight").1 = Dtype::U32;
        find(tensors, "bn3.bias").3[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        tensors.retain(|tensor| tensor.0 != "bn4.running_var");
        tensors.push(tensor("optimizer", &[1], &[0.0]));
    });
    let expected = [
        "tensor `conv1.weight` is missing; the file has `conv_1.weight`",
        "tensor `bn2.weight` holds U32, expected f32",
        "tensor `bn3.bias` holds NaN at position 0",
        "tensor `bn4.running_var` is missing",
        "tensor `fc.bias` has shape [1, 3], expected [3]",
        "tensor `conv_1.weight` does not belong to the network; did you mean `conv1.weight`?",
        "tensor `optimizer` does not belong to the network",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_sparse_weight_with_wrong_indices_or_without_values_is_named_once() {
    let sparse = |indices: [u32; 2], ending: &'static str| {
        move |tensors: &mut Tensors| {
            tensors.retain(|tensor| tensor.0 != "conv2.weight");
            let bytes = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
            tensors.push(("conv2.weight.indices".to_owned(), Dtype::U32, vec![2], bytes));
            tensors.push(tensor(&format!("conv2.weight.{ending}"), &[2], &[1.0, 2.0]));
        }
    };
    let found = problems(sparse([7, 7], "values"));
    assert!(found.len() == 1 && found[0].contains("index 7 at position 1"), "{found:?}");
    let found = problems(sparse([1, u32::MAX], "values"));
    assert!(found.len() == 1 && found[0].contains("not below"), "{found:?}");
    let found = problems(sparse([1, 2], "value"));
    assert!(found.len() == 2 && found[0].contains("the file has `conv2.weight.value`"), "{found:?}");
}

#[test]
fn a_file_with_more_tensors_or_longer_names_than_a_network_can_have_is_refused() {
    let refused = |tensors: &Tensors| {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        let bytes = safetensors::serialize(views, None::<HashMap<String, String>>).unwrap();
        let error = StateFile::from_bytes(Path::new("state"), bytes).unwrap_err();
        matches!(error, TrainError::ModelFile { reason: ModelFileError::Names { .. }, .. })
    };
    assert!(refused(&(0..10_001).map(|n| tensor(&n.to_string(), &[0], &[])).collect()));
    assert!(refused(&vec![tensor(&"x".repeat(201), &[0], &[])]));
}

#[test]
fn no_prefix_and_no_changed_byte_panics() {
    let model = model("mlp", 0.01, [1, 2, 2]);
    let bytes = model.export(Format::Safetensors, Layout::Sparse).unwrap();
    let read = |bytes: Vec<u8>| StateFile::from_bytes(Path::new("state"), bytes)?.fit(&model.graph);
    read(bytes.clone()).unwrap();
    for end in 0..bytes.len() {
        assert!(read(bytes[..end].to_vec()).is_err(), "prefix of {end} bytes");
    }
    for position in 0..bytes.len() {
        for flip in [0x01, 0x80] {
            let mut changed = bytes.clone();
            changed[position] ^= flip;
            let _ = read(changed);
        }
    }
}

/// A trainer on the tiny data set that starts from `model`.
fn trainer(model: &ModelFile, algorithm: &str, settings: &[&str]) -> Trainer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("init.safetensors");
    fs::write(&path, model.export(Format::Safetensors, Layout::Dense).unwrap()).unwrap();
    let init = format!("model.init={path:?}");
    Trainer::new(config(algorithm, &[settings, &[init.as_str()]].concat()), splits()).unwrap()
}

/// The small network for the tiny data set, dense.
fn dense_start() -> ModelFile {
    let trainer = Trainer::new(config("dense", &[]), splits()).unwrap();
    let mut model = trainer.model(small().about);
    for (key, values) in model.vectors.values_mut().enumerate() {
        values.iter_mut().enumerate().for_each(|(at, value)| *value += 0.1 * models::noise(key as u64, at).abs());
    }
    for (key, weight) in model.weights.iter_mut().enumerate() {
        weight.values.iter_mut().enumerate().for_each(|(at, value)| *value = models::noise(50 + key as u64, at));
    }
    model
}

#[test]
fn a_run_starts_with_the_weights_of_the_file_where_its_mask_keeps_them() {
    let model = dense_start();
    for algorithm in ["dense", "gmp", "rigl", "snip"] {
        let trainer = trainer(&model, algorithm, &[]);
        let started = trainer.model(model.about.clone());
        assert_eq!(started.vectors, model.vectors, "{algorithm}");
        for (started, given) in started.weights.iter().zip(&model.weights) {
            match &started.indices {
                Some(indices) => assert_eq!(started.values, given.at(indices), "{algorithm} {}", given.name),
                None => assert_eq!(started.values, given.values, "{algorithm} {}", given.name),
            }
        }
        let exists = started.weights.iter().map(|weight| weight.values.len()).sum::<usize>();
        let all = model.weights.iter().map(|weight| weight.values.len()).sum::<usize>();
        assert_eq!(exists == all, ["dense", "gmp"].contains(&algorithm));
    }
}

#[test]
fn a_sparse_layer_keeps_its_pattern_if_it_has_the_number_of_non_zeros_that_the_run_gives_it() {
    let first = Trainer::new(config("static", &["run.seed=1"]), splits()).unwrap();
    let model = first.model(small().about);
    let again = trainer(&model, "static", &["run.seed=2"]).model(model.about.clone());
    assert_eq!(again.weights, model.weights);

    let other = trainer(&model, "static", &["run.seed=2", "sparsity.level=0.8"]).model(model.about.clone());
    let differ = |(a, b): (&Weight, &Weight)| a.indices.is_some() && a.indices != b.indices;
    assert!(other.weights.iter().zip(&model.weights).any(differ));
}
