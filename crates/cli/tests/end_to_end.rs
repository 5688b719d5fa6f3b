//! Train, evaluate, inspect, resume: what a person does.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Runs `bidst` with `arguments` in `folder` and returns standard output.
fn bidst(folder: &Path, arguments: &[&str]) -> String {
    let output = common::bidst(folder, arguments).output();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    stdout
}

/// Trains a small network for two epochs into `output` and returns the run folder.
fn train(folder: &Path, output: &str, more: &[&str]) -> PathBuf {
    let base = ["train", "--width", "0.25", "--epochs", "2", "--batch-size", "100", "--progress", "none"];
    let steps = ["--set", "run.log_interval=1", "--set", "algorithm.update_interval=20", "--output", output];
    bidst(folder, &[&base[..], &steps[..], more].concat());
    only_entry(&folder.join(output))
}

fn only_entry(folder: &Path) -> PathBuf {
    let entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

/// Lines of a JSONL file without their times.
fn records(path: &Path) -> Vec<Value> {
    let parse = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("timing");
        value
    };
    fs::read_to_string(path).unwrap().lines().map(parse).collect()
}

#[test]
fn a_run_is_trained_evaluated_and_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let run = train(folder.path(), "runs", &["--algorithm", "set"]);
    let name = run.file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with("_fashion-mini_small-cnn-w0.25_set_s90_seed0"), "{name}");

    let metrics = records(&run.join("metrics.jsonl"));
    let epochs: Vec<&Value> = metrics.iter().filter(|line| line["kind"] == "epoch").collect();
    assert_eq!((epochs.len(), metrics.len()), (2, 202));
    let topology = records(&run.join("topology.jsonl"));
    assert!(topology.iter().any(|line| line["grown"].as_u64() > Some(0)));
    let manifest: Value = serde_json::from_slice(&fs::read(run.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["status"], "finished");

    let run_name = run.to_str().unwrap();
    let evaluation: Value = serde_json::from_str(&bidst(folder.path(), &["eval", run_name, "--json"])).unwrap();
    assert_eq!(evaluation["accuracy"], epochs[1]["test_accuracy"]);
    assert_eq!(evaluation["images"], 2_000);
    assert!(evaluation["accuracy"].as_f64() > Some(0.4), "{evaluation}");
    let file = run.join("model.safetensors");
    let by_file = bidst(folder.path(), &["eval", file.to_str().unwrap(), "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&by_file).unwrap()["accuracy"], evaluation["accuracy"]);
    assert!(bidst(folder.path(), &["eval", run_name]).contains("2,000 test images"));

    let inspection: Value = serde_json::from_str(&bidst(folder.path(), &["inspect", run_name, "--json"])).unwrap();
    let sparsity = inspection["sparsity_sparsified"].as_f64().unwrap();
    assert!((sparsity - 0.9).abs() < 0.001, "{sparsity}");
    assert!(inspection["sparsity_overall"].as_f64().unwrap() < sparsity);
    let layers = inspection["layers"].as_array().unwrap();
    let is_sparse = |name: &str| layers.iter().find(|layer| layer["name"] == name).unwrap()["sparse"] == true;
    assert!(!is_sparse("conv1.weight") && is_sparse("conv2.weight") && !is_sparse("fc.weight"));
    assert!(bidst(folder.path(), &["inspect", run_name]).contains("conv2.weight"));
}

#[test]
fn the_same_seed_gives_the_same_metrics_and_model_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let one = train(folder.path(), "one", &["--threads", "1"]);
    let three = train(folder.path(), "three", &["--threads", "3"]);
    let other = train(folder.path(), "other", &["--threads", "1", "--seed", "1"]);
    for file in ["metrics.jsonl", "topology.jsonl"] {
        assert_eq!(records(&one.join(file)), records(&three.join(file)));
    }
    let model = |run: &Path| fs::read(run.join("model.safetensors")).unwrap();
    assert!(model(&one) == model(&three));
    assert!(model(&one) != model(&other));
}

#[test]
fn the_effective_configuration_repeats_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let first = train(folder.path(), "first", &["--lr", "0.05"]);
    let config = first.join("config.toml");
    let config = config.to_str().unwrap();
    bidst(folder.path(), &["train", config, "--output", "second", "--progress", "none"]);
    let second = only_entry(&folder.path().join("second"));
    assert_eq!(records(&first.join("metrics.jsonl")), records(&second.join("metrics.jsonl")));
}

#[test]
fn an_interrupted_run_is_resumed_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let whole = train(folder.path(), "whole", &[]);
    let cut = train(folder.path(), "cut", &[]);
    fs::remove_file(cut.join("model.safetensors")).unwrap();
    fs::remove_dir_all(cut.join("checkpoints/step-00000200")).unwrap();
    fs::remove_file(cut.join("manifest.json")).unwrap();
    bidst(folder.path(), &["train", "--resume", cut.to_str().unwrap(), "--progress", "none"]);
    for file in ["metrics.jsonl", "topology.jsonl"] {
        assert_eq!(records(&whole.join(file)), records(&cut.join(file)));
    }
    let model = |run: &Path| fs::read(run.join("model.safetensors")).unwrap();
    assert!(model(&whole) == model(&cut));

    let again = common::bidst(folder.path(), ["train", "--resume", cut.to_str().unwrap()]).output();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8(again.stderr).unwrap().contains("finished"));
}

#[test]
fn measured_kernels_are_kept_and_repeat_the_run_and_its_resumption() {
    let folder = tempfile::tempdir().unwrap();
    let whole = train(folder.path(), "whole", &["--kernels", "auto"]);
    let kernels = whole.join("kernels.json");
    let choices: Value = serde_json::from_slice(&fs::read(&kernels).unwrap()).unwrap();
    let choices = choices.as_array().unwrap();
    assert!(choices.iter().any(|choice| choice["layer"] == "conv1.weight"));
    assert!(choices.iter().all(|choice| choice["measured"]["backward_dense_ms"].as_f64() > Some(0.0)));

    let cut = train(folder.path(), "cut", &["--kernels", kernels.to_str().unwrap()]);
    let bytes = |file: &str| [&whole, &cut].map(|run| fs::read(run.join(file)).unwrap());
    let [model, again] = bytes("model.safetensors");
    assert!(model == again);
    fs::remove_file(cut.join("model.safetensors")).unwrap();
    fs::remove_dir_all(cut.join("checkpoints/step-00000200")).unwrap();
    fs::remove_file(cut.join("manifest.json")).unwrap();
    fs::remove_file(kernels).unwrap();
    bidst(folder.path(), &["train", "--resume", cut.to_str().unwrap(), "--progress", "none"]);
    let resumed = fs::read(cut.join("model.safetensors")).unwrap();
    assert!(model == resumed);
}

/// The network that is trained was another one than that which was given its kernels.
#[test]
fn kernels_are_those_asked_for_also_where_a_dense_network_chooses_the_first_mask() {
    let folder = tempfile::tempdir().unwrap();
    let run = train(folder.path(), "runs", &["--algorithm", "top-kast", "--kernels", "dense"]);
    let choices: Value = serde_json::from_slice(&fs::read(run.join("kernels.json")).unwrap()).unwrap();
    let is_dense = |choice: &Value| choice["forward"] == "dense" && choice["backward"] == "dense";
    assert!(choices.as_array().unwrap().iter().all(is_dense), "{choices}");
}

#[test]
fn json_progress_is_one_object_per_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = bidst(
        folder.path(),
        &["train", "--model", "mlp", "--width", "0.05", "--epochs", "1", "--batch-size", "1000", "--progress", "json"],
    );
    let kinds: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((kinds.first().unwrap().as_str(), kinds.last().unwrap().as_str()), ("start", "finish"));
    assert_eq!(kinds.iter().filter(|kind| *kind == "step").count(), 10);
}

#[test]
fn bench_step_prints_one_object_with_the_promised_fields() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "step", "--model", "small-cnn", "--width", "0.25", "--sparsity", "0.95"];
    let more = ["--distribution", "uniform", "--batch-size", "32", "--threads", "2", "--steps", "3", "--json"];
    let text = bidst(folder.path(), &[&arguments[..], &more[..]].concat());
    let result: Value = serde_json::from_str(&text).unwrap();
    for field in ["median_ms", "min_ms", "forward_ms", "backward_ms", "optimizer_ms", "nnz", "params"] {
        assert!(result[field].as_f64() > Some(0.0), "{field}: {text}");
    }
    if cfg!(target_os = "linux") {
        assert!(result["median_cpu_ms"].as_f64() > Some(0.0) && result["peak_rss_mb"].as_f64() > Some(0.0), "{text}");
    }
    assert_eq!((&result["threads"], &result["batch_size"]), (&Value::from(2), &Value::from(32)));
}

#[test]
fn the_list_of_algorithms_has_papers_parameters_and_sources() {
    let folder = tempfile::tempdir().unwrap();
    let list: Value = serde_json::from_str(&bidst(folder.path(), &["algorithms", "--json"])).unwrap();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), bidst_topology::algorithms::list().len());
    for entry in list {
        assert!(entry["source"].as_str().unwrap().ends_with(".rs") && entry["parameters"].is_object(), "{entry}");
        let page = bidst(folder.path(), &["algorithms", entry["name"].as_str().unwrap()]);
        assert!(page.contains(entry["source"].as_str().unwrap()), "{page}");
    }
}
