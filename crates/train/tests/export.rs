//! What is exported says what the model is, for every network of the zoo.

mod models;
mod onnx;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bidst_train::export::{Format, Layout, ModelFile, npy};
use bidst_train::import::{State, StateFile};
use models::{ZOO, model};
use safetensors::SafeTensors;

const FORMATS: [Format; 3] = [Format::Safetensors, Format::Onnx, Format::Npz];
const LAYOUTS: [Layout; 2] = [Layout::Dense, Layout::Sparse];

fn zoo() -> impl Iterator<Item = ModelFile> {
    ZOO.into_iter().map(|(name, width, input)| model(name, width, input))
}

fn state(model: &ModelFile) -> State {
    State { weights: model.weights.clone(), vectors: model.vectors.clone() }
}

/// Every tensor of a model by its name in PyTorch, dense.
fn dense(model: &ModelFile) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let torch = |name: &str| name.replace("downsample.conv", "downsample.0").replace("downsample.bn", "downsample.1");
    let weights = model.weights.iter().map(|w| (torch(&w.name), (w.shape.clone(), w.dense().into_owned())));
    let vectors = model.vectors.iter().map(|(name, values)| (torch(name), (vec![values.len()], values.clone())));
    weights.chain(vectors).collect()
}

#[test]
fn every_network_of_the_zoo_is_tried() {
    assert_eq!(bidst_model::zoo::list().iter().map(|entry| entry.name).collect::<Vec<_>>(), ZOO.map(|(name, ..)| name));
}

#[test]
fn a_safetensors_export_of_either_layout_comes_back_as_the_same_model() {
    for model in zoo() {
        for layout in LAYOUTS {
            let bytes = model.export(Format::Safetensors, layout).unwrap();
            let file = StateFile::from_bytes(Path::new("x"), bytes).unwrap();
            assert_eq!(file.fit(&model.graph).unwrap(), state(&model), "{} {layout:?}", model.about.model);
            let about = file.about.unwrap();
            assert_eq!((about.model, about.mean), (model.about.model.clone(), model.about.mean.clone()));
        }
        let bytes = model.export(Format::Safetensors, Layout::Sparse).unwrap();
        assert_eq!(ModelFile::from_bytes(&bytes).unwrap().weights, model.weights);
    }
}

#[test]
fn a_dense_safetensors_export_has_every_tensor_dense_under_its_name_in_pytorch() {
    for model in zoo() {
        let bytes = model.export(Format::Safetensors, Layout::Dense).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let expected = dense(&model);
        assert_eq!(file.len(), expected.len());
        for (name, (shape, values)) in expected {
            let view = file.tensor(&name).unwrap();
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert!(view.shape() == shape && view.data() == bytes, "{name}");
        }
    }
}

#[test]
fn the_names_of_resnet50_are_those_of_torchvision() {
    let model = model("resnet50", 0.125, [3, 32, 32]);
    let bytes = model.export(Format::Safetensors, Layout::Dense).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut expected = BTreeSet::from(["conv1.weight", "fc.weight", "fc.bias"].map(str::to_owned));
    let norm = |name: &str| ["weight", "bias", "running_mean", "running_var"].map(|part| format!("{name}.{part}"));
    expected.extend(norm("bn1"));
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        for block in 0..blocks {
            let prefix = format!("layer{}.{block}", stage + 1);
            for conv in 1..=3 {
                expected.insert(format!("{prefix}.conv{conv}.weight"));
                expected.extend(norm(&format!("{prefix}.bn{conv}")));
            }
            if block == 0 {
                expected.insert(format!("{prefix}.downsample.0.weight"));
                expected.extend(norm(&format!("{prefix}.downsample.1")));
            }
        }
    }
    assert_eq!(file.names().into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn the_modules_for_pytorch_read_one_another_in_order_and_fit_the_tensors() {
    for model in zoo() {
        let bytes = model.export(Format::Safetensors, Layout::Dense).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata: serde_json::Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["torch"]).unwrap();
        let mut known = BTreeSet::from(["input".to_owned()]);
        let mut modules = BTreeSet::new();
        for layer in metadata["layers"].as_array().unwrap() {
            let (name, module) = (layer[0].as_str().unwrap(), layer[1].as_str().unwrap());
            let inputs = layer[3].as_array().unwrap();
            assert_eq!(inputs.len(), if module == "add" { 2 } else { 1 }, "{layer}");
            assert!(inputs.iter().all(|input| known.contains(input.as_str().unwrap())), "{layer}");
            assert!(known.insert(name.to_owned()), "{layer} is there twice");
            modules.insert(name.to_owned());
        }
        let owners = dense(&model).into_keys().map(|name| name.rsplit_once('.').unwrap().0.to_owned());
        assert!(owners.collect::<BTreeSet<_>>().is_subset(&modules), "{}", model.about.model);
    }
}

#[test]
fn an_onnx_file_of_either_layout_decodes_to_the_same_graph_and_weights() {
    for model in zoo() {
        for layout in LAYOUTS {
            let decoded = onnx::decode(&model.export(Format::Onnx, layout).unwrap());
            assert_eq!(decoded.graph, model.graph);
            for weight in &model.weights {
                let (shape, values) = &decoded.tensors[&weight.name];
                assert!(*shape == weight.shape && values[..] == weight.dense()[..], "{}", weight.name);
                let stored_sparse = layout == Layout::Sparse && weight.indices.is_some();
                assert_eq!(decoded.sparse.contains(&weight.name), stored_sparse, "{}", weight.name);
            }
            for (name, values) in &model.vectors {
                assert_eq!(decoded.tensors[name], (vec![values.len()], values.clone()));
            }
            assert_eq!(decoded.opset, 13);
            assert_eq!(decoded.metadata["std"], serde_json::json!(model.about.std).to_string());
        }
    }
}

/// Arrays of an archive of stored files: element type, shape as numpy writes it, and data.
fn arrays(archive: &[u8]) -> BTreeMap<String, (String, Vec<u8>)> {
    let word = |at: usize| u32::from_le_bytes(archive[at..at + 4].try_into().unwrap()) as usize;
    let half = |at: usize| usize::from(u16::from_le_bytes(archive[at..at + 2].try_into().unwrap()));
    let end = archive.len() - 22;
    assert_eq!(word(end), 0x0605_4b50);
    let (mut at, mut found) = (word(end + 16), BTreeMap::new());
    for _ in 0..half(end + 10) {
        let (size, name_len, local) = (word(at + 20), half(at + 28), word(at + 42));
        let name = std::str::from_utf8(&archive[at + 46..at + 46 + name_len]).unwrap();
        let data = &archive[local + 30 + name_len..][..size];
        let mut crc = flate2::Crc::new();
        crc.update(data);
        assert_eq!((word(at + 16), word(local + 14)), (crc.sum() as usize, crc.sum() as usize), "{name}");
        let header = usize::from(u16::from_le_bytes([data[8], data[9]])) + 10;
        let text = std::str::from_utf8(&data[10..header]).unwrap().trim_end().to_owned();
        found.insert(name.strip_suffix(".npy").unwrap().to_owned(), (text, data[header..].to_vec()));
        at += 46 + name_len;
    }
    assert_eq!(at, end);
    found
}

#[test]
fn an_npz_archive_of_either_layout_holds_every_tensor() {
    for model in zoo() {
        let found = arrays(&model.export(Format::Npz, Layout::Dense).unwrap());
        for (name, (shape, values)) in dense(&model) {
            let whole = npy(&shape, &values);
            let (text, data) = &found[&name];
            assert!(whole.ends_with(data) && String::from_utf8_lossy(&whole).contains(text), "{name}: {text}");
        }
        assert_eq!(found.len(), dense(&model).len() + 1);

        let found = arrays(&model.export(Format::Npz, Layout::Sparse).unwrap());
        let bytes = |name: &str| &found[name].1;
        for weight in model.weights.iter().filter(|weight| weight.indices.is_some()) {
            let name = weight.name.replace("downsample.conv", "downsample.0");
            let indices: Vec<u8> = weight.indices.iter().flatten().flat_map(|index| index.to_le_bytes()).collect();
            let values: Vec<u8> = weight.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let shape: Vec<u8> = weight.shape.iter().flat_map(|&side| (side as i64).to_le_bytes()).collect();
            assert_eq!(*bytes(&format!("{name}.indices")), indices);
            assert_eq!(*bytes(&format!("{name}.values")), values);
            assert_eq!(*bytes(&format!("{name}.shape")), shape);
        }
        let about: serde_json::Value = serde_json::from_slice(bytes("about")).unwrap();
        assert_eq!(about["model"], model.about.model.as_str());
    }
}

#[test]
fn equal_models_give_equal_files() {
    for (format, layout) in FORMATS.into_iter().flat_map(|format| LAYOUTS.map(|layout| (format, layout))) {
        let export = || model("resnet20", 0.5, [3, 16, 16]).export(format, layout).unwrap();
        assert!(export() == export(), "{format:?} {layout:?}");
    }
}
