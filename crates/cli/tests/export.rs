//! A run is exported, imported and evaluated, as docs/export.md says.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Runs `bidst` with `arguments` in `folder`; returns the exit code, standard output and standard error.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = common::bidst(folder, arguments).output();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn bidst(folder: &Path, arguments: &[&str]) -> String {
    let (code, out, error) = run(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    out
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&bidst(folder, arguments)).unwrap()
}

/// A small network after an epoch, sparse; returns its run folder.
fn train(folder: &Path) -> PathBuf {
    let settings = ["--width", "0.25", "--epochs", "1", "--batch-size", "200", "--algorithm", "set"];
    bidst(folder, &[&["train", "--output", "runs", "--progress", "none"], &settings[..]].concat());
    fs::read_dir(folder.join("runs")).unwrap().next().unwrap().unwrap().path()
}

/// The `bidst …` lines of the guide's shell blocks.
fn commands() -> Vec<String> {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/export.md")).unwrap();
    let blocks = guide.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).filter(|line| line.starts_with("bidst ")).map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_guide_works_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = train(folder.path());
    let commands = commands();
    assert!(commands.len() >= 9, "the guide lost its commands: {commands:?}");
    // The state of ResNet-50 needs torchvision: bench/verify_export.py makes one and imports it.
    for line in commands.iter().filter(|line| !line.contains("resnet50")) {
        let line = line.replace("RUN", run_folder.to_str().unwrap());
        // The guide's own run has the default width.
        let line = line.replace("--init imported", "--width 0.25 --progress none --init imported");
        bidst(folder.path(), &line.split(' ').skip(1).collect::<Vec<_>>());
    }
    for file in ["model.onnx", "model.dense.safetensors", "model.npz", "imported.safetensors", "logits.npy"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn an_exported_and_imported_model_has_the_accuracy_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = train(folder.path());
    let name = run_folder.to_str().unwrap();
    let expected = json(folder.path(), &["eval", name, "--json", "--no-latency"]);
    for layout in ["dense", "sparse"] {
        let printed = bidst(folder.path(), &["export", name, "--format", "safetensors", "--layout", layout]);
        let exported = run_folder.join(format!("model.{layout}.safetensors"));
        assert!(printed.starts_with(exported.to_str().unwrap()), "{printed}");
        let imported = ["import", exported.to_str().unwrap(), "--out", "imported.safetensors"];
        assert!(bidst(folder.path(), &imported).contains("zeros"));
        let found = json(folder.path(), &["eval", "imported.safetensors", "--json", "--no-latency"]);
        for key in ["accuracy", "images", "classes", "dense_bytes"] {
            assert_eq!(found[key], expected[key], "{layout} {key}");
        }
        // The batches differ, for the run's size of them is not in the model.
        let loss = |report: &Value| report["loss"].as_f64().unwrap();
        assert!((loss(&found) - loss(&expected)).abs() < 1e-12, "{found}");
    }
}

#[test]
fn eval_reports_classes_latency_bytes_and_logits() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = train(folder.path());
    let name = run_folder.to_str().unwrap();
    let report = json(folder.path(), &["eval", name, "--json", "--logits", "logits.npy"]);
    let classes = report["classes"].as_array().unwrap();
    let sum = |key: &str| classes.iter().map(|class| class[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((classes.len(), sum("images")), (10, 2_000));
    let accuracy = sum("correct") as f64 / 2_000.0;
    assert_eq!(report["accuracy"].as_f64(), Some(accuracy));
    let latency = report["latency"].as_array().unwrap();
    assert_eq!(latency.iter().map(|l| l["batch_size"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 128]);
    for pass in latency {
        assert!(pass["passes"].as_u64() >= Some(10), "{pass}");
        assert!(pass["median_ms"].as_f64() > Some(0.0) && pass["p90_ms"].as_f64() >= pass["median_ms"].as_f64());
    }
    let bytes = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(bytes("file_bytes"), fs::metadata(run_folder.join("model.safetensors")).unwrap().len());
    assert!(bytes("weight_bytes") < bytes("file_bytes") && bytes("weight_bytes") < bytes("dense_bytes"));
    assert_eq!(fs::metadata(folder.path().join("logits.npy")).unwrap().len(), 128 + 4 * 2_000 * 10);

    let text = bidst(folder.path(), &["eval", name]);
    for part in ["2,000 test images of fashion-mini", "class", "p90 ms", "as a dense model"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_export_does_not_overwrite_the_model_itself() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = train(folder.path());
    let model = run_folder.join("model.safetensors");
    let before = fs::read(&model).unwrap();
    let arguments = ["export", run_folder.to_str().unwrap(), "--format", "safetensors", "--out"];
    let (code, _, error) = run(folder.path(), &[&arguments[..], &[model.to_str().unwrap()]].concat());
    assert!(code == 2 && error.contains("is the model itself"), "{error}");
    assert!(fs::read(&model).unwrap() == before);
}
