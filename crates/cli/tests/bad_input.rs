//! Bad input gets an exit code and a message that says what, where, and what to do; never a panic.

mod common;

use std::fs;
use std::path::Path;

use common::bidst;

/// Runs `bidst` with `arguments` in an empty folder; returns the exit code and standard error.
fn run_in(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = bidst(folder, arguments).output();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn assert_fails(arguments: &[&str], code: i32, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (found, message) = run_in(folder.path(), arguments);
    assert_eq!(found, code, "{arguments:?}: {message}");
    assert!(!message.contains("panicked"), "{message}");
    for part in parts {
        assert!(message.contains(part), "{arguments:?} should say `{part}`, but says: {message}");
    }
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "{arguments:?} left something behind");
}

#[test]
fn unknown_verbs_and_flags_are_usage_errors() {
    assert_fails(&["trian"], 2, &["trian", "train"]);
    assert_fails(&["train", "--epoch", "3"], 2, &["--epoch", "--epochs"]);
    assert_fails(&["train", "--epochs", "many"], 2, &["--epochs", "many"]);
    assert_fails(&["train", "--progress", "loud"], 2, &["loud", "plain"]);
    assert_fails(&["bench", "step", "--steps", "0"], 2, &["--steps"]);
    assert_fails(&["train", "--resume", "runs/x", "--lr", "0.1"], 2, &["--resume", "--lr"]);
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    assert_fails(&["train", "--dataset", "cifar"], 2, &["--dataset", "cifar", "cifar10", "fashion-mini"]);
    assert_fails(&["train", "--model", "resnet-32"], 2, &["--model", "did you mean `resnet32`"]);
    assert_fails(&["train", "--algorithm", "rigle"], 2, &["--algorithm", "did you mean `rigl`"]);
    assert_fails(&["train", "--distribution", "er"], 2, &["--distribution", "did you mean `erk`"]);
    assert_fails(&["train", "--kernels", "dens"], 2, &["engine.kernels", "did you mean `dense`"]);
    assert_fails(&["train", "--set", "optim.lrr=1"], 2, &["--set optim.lrr=1", "did you mean `lr`"]);
    assert_fails(&["train", "--set", "sparsity.dense_layers=[\"conv9\"]"], 2, &["dense_layers", "did you mean `conv"]);
    assert_fails(&["algorithms", "bdst"], 2, &["did you mean `bidst`"]);
    assert_fails(&["bench", "step", "--model", "resnet33"], 2, &["did you mean `resnet32`"]);
}

#[test]
fn values_out_of_range_are_named() {
    assert_fails(&["train", "--sparsity", "1.5"], 2, &["--sparsity", "sparsity.level", "1.5"]);
    assert_fails(&["train", "--batch-size", "0"], 2, &["--batch-size"]);
    assert_fails(&["train", "--width", "-1"], 2, &["--width"]);
    assert_fails(&["train", "--lr", "nan"], 2, &["--lr"]);
    let options = ["train", "--algorithm", "set", "--set", "algorithm.drop_fraction=2.0"];
    assert_fails(&options, 2, &["algorithm.drop_fraction"]);
}

#[test]
fn a_file_of_kernels_that_is_none_or_of_another_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.json");
    let arguments = ["train", "--kernels", "mine.json", "--progress", "none"];
    for (text, code, part) in [
        ("{\"layer\": 1}", 4, "mine.json"),
        (
            r#"[{"layer": "head", "density": 1, "forward": "dense", "backward": "sparse", "measured": null}]"#,
            2,
            "conv1.weight",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let (found, message) = run_in(folder.path(), &arguments);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn missing_data_is_a_data_error() {
    assert_fails(&["train", "--dataset", "cifar10"], 4, &["cifar10", "--data-dir"]);
    assert_fails(&["train", "--dataset", "cifar10", "--data-dir", "nowhere"], 4, &["nowhere", "--data-dir"]);
    assert_fails(&["train", "--dataset", "cifar10", "--data-dir", "."], 4, &["data_batch_1.bin"]);
}

/// These were data errors.
#[test]
fn data_that_cannot_be_asked_for_are_usage_errors() {
    let crop = ["train", "--set", "data.augment=[\"crop:30\"]", "--progress", "none"];
    assert_fails(&crop, 2, &["crop padding of 30", "28x28"]);
    let folder = tempfile::tempdir().unwrap();
    for class in ["train/cat", "val/cat"] {
        fs::create_dir_all(folder.path().join(class)).unwrap();
        fs::write(folder.path().join(class).join("tom.png"), "no picture").unwrap();
    }
    let (code, message) = run_in(folder.path(), &["data", "check", ".", "--size", "40", "--resize", "36"]);
    assert_eq!(code, 2, "{message}");
    assert!(message.contains("40x40") && message.contains("36"), "{message}");
}

#[test]
fn missing_configurations_and_runs_are_usage_errors() {
    assert_fails(&["train", "nowhere.toml"], 2, &["nowhere.toml"]);
    assert_fails(&["train", "--resume", "nowhere"], 2, &["nowhere", "not a run folder"]);
    assert_fails(&["eval", "nowhere"], 2, &["nowhere", "no such run folder or model file"]);
    assert_fails(&["train", "--kernels", "."], 2, &["engine.kernels", "is a folder"]);
}

/// They were called unfinished runs.
#[test]
fn folders_of_something_else_are_no_run_folders() {
    for verb in [&["inspect", "."][..], &["eval", "."], &["export", ".", "--format", "npz"]] {
        assert_fails(verb, 2, &["is not a run folder", "config.toml", "model.safetensors"]);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), "").unwrap();
    let (code, message) = run_in(folder.path(), &["inspect", "."]);
    assert_eq!(code, 2, "{message}");
    assert!(message.contains("the run is not finished") && message.contains("--resume"), "{message}");
}

#[test]
fn a_bad_configuration_file_is_answered_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    for (text, parts) in [
        ("[train]\nepochs = = 3\n", ["my.toml:2:", "not valid TOML"]),
        ("[train]\nepochz = 3\n", ["my.toml:2:", "did you mean `epochs`"]),
        ("[train]\nepochs = \"x\"\n", ["my.toml:2:", "expected an integer"]),
        ("\n\n[sparsity]\nlevel = 1\n", ["my.toml:4:", "sparsity.level"]),
        ("[algorithm]\nname = \"rigl\"\nalpha = 1\n", ["my.toml:3:", "algorithm.alpha"]),
    ] {
        fs::write(&path, text).unwrap();
        let (code, message) = run_in(folder.path(), &["train", "my.toml"]);
        assert_eq!(code, 2, "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn a_corrupt_model_file_is_a_data_error() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("empty", &b""[..]), ("noise", &[0xff; 64][..]), ("text", &b"not a model at all"[..])] {
        fs::write(folder.path().join(name), bytes).unwrap();
        for verb in ["eval", "inspect"] {
            let (code, message) = run_in(folder.path(), &[verb, name]);
            assert_eq!(code, 4, "{message}");
            assert!(message.contains(name) && message.contains("safetensors"), "{message}");
        }
    }
}

#[test]
fn divergence_has_its_own_exit_code_and_names_step_and_learning_rate() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["train", "--model", "mlp", "--width", "0.05", "--epochs", "1", "--lr", "1e30", "--progress", "none"];
    let (code, message) = run_in(folder.path(), &arguments);
    assert_eq!(code, 3, "{message}");
    assert!(message.contains("diverged") && message.contains("step") && message.contains("learning rate"), "{message}");
    let run = fs::read_dir(folder.path().join("runs")).unwrap().next().unwrap().unwrap().path();
    let manifest = fs::read_to_string(run.join("manifest.json")).unwrap();
    assert!(manifest.contains("\"diverged\""), "{manifest}");
}
