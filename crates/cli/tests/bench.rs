//! What `bidst bench` prints, and what it refuses. Times themselves are nobody's promise.

mod common;

use std::path::Path;

use common::bidst;
use serde_json::Value;

const SMALL: [&str; 6] = ["--model", "small-cnn", "--width", "0.25", "--batch-size", "16"];

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = bidst(Path::new("."), ["bench"].iter().chain(arguments)).output();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs a bench and returns what it prints.
fn text(arguments: &[&str]) -> String {
    let (code, out, error) = run(arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    out
}

fn json(arguments: &[&str]) -> Value {
    let out = text(&[arguments, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn assert_refused(arguments: &[&str], part: &str) {
    let (code, _, message) = run(arguments);
    assert_eq!(code, 2, "{arguments:?}: {message}");
    assert!(message.contains(part) && !message.contains("panicked"), "{arguments:?} should say `{part}`: {message}");
}

/// Asserts that all of these fields are numbers above 0.
fn assert_positive(value: &Value, fields: &[&str]) {
    for field in fields {
        assert!(value[field].as_f64() > Some(0.0), "{field}: {value}");
    }
}

#[test]
fn a_step_with_a_loader_tells_how_long_it_waited() {
    let step = json(&[&["step"], &SMALL[..], &["--steps", "3", "--loader"]].concat());
    assert_positive(&step, &["median_ms", "min_ms", "forward_ms", "backward_ms", "optimizer_ms", "data_ms", "params"]);
    assert!(step["data_share"].as_f64() < Some(1.0) && step["loader"] == true, "{step}");
}

#[test]
fn layers_have_shape_density_times_and_shares_that_add_up() {
    let layers = json(&[&["layers"], &SMALL[..], &["--steps", "2", "--warmup", "0"]].concat());
    assert_positive(&layers, &["total_ms", "dense_total_ms", "nnz"]);
    let rows = layers["rows"].as_array().unwrap();
    let share: f64 = rows.iter().map(|row| row["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-9, "{share}");
    let (conv, optimiser) = (&rows[1], rows.iter().find(|row| row["name"] == "optimiser").unwrap());
    assert_eq!((&conv["name"], &conv["shape"]), (&Value::from("conv2"), &Value::from(vec![16, 8, 3, 3])));
    let fields = ["density", "forward_ms", "backward_ms", "ms", "forward_gflops", "backward_gflops"];
    assert_positive(conv, &[&fields[..], &["forward_times_dense", "backward_times_dense"]].concat());
    assert_positive(&conv["dense"], &["forward_ms", "backward_ms", "ms"]);
    assert!(optimiser["shape"].is_null() && optimiser["ms"].as_f64() > Some(0.0), "{optimiser}");
}

#[test]
fn updates_are_taken_apart_for_every_algorithm_with_a_mask() {
    let result = json(&[&["update"], &SMALL[..], &["--decisions", "1", "--interval", "8"]].concat());
    let rows = result["algorithms"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["algorithm"].as_str().unwrap()).collect();
    let listed = bidst_topology::algorithms::list().iter().filter(|entry| !entry.dense).map(|entry| entry.name);
    assert_eq!(names, listed.collect::<Vec<_>>());
    let set = rows.iter().find(|row| row["algorithm"] == "set").unwrap();
    assert_positive(set, &["static_step_ms", "select_ms", "apply_ms", "moved"]);
    assert_eq!((&set["interval"], &set["decisions"]), (&Value::from(8.0), &Value::from(1)));
    for field in ["decision_extra_ms", "next_step_extra_ms", "decision_in_steps", "per_step_extra_ms", "per_step_share"]
    {
        assert!(set[field].is_number(), "{field}: {set}");
    }
}

#[test]
fn inference_is_timed_at_every_batch_size_beside_the_dense_network() {
    let small = ["--model", "small-cnn", "--width", "0.25"];
    let result = json(&[&["inference"], &small[..], &["--batch-sizes", "1,20", "--seconds", "0"]].concat());
    let batches = result["batches"].as_array().unwrap();
    assert_eq!(batches.iter().map(|row| row["batch_size"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 20]);
    for row in batches {
        assert_positive(row, &["median_ms", "min_ms", "images_per_s", "times_dense"]);
        assert_positive(&row["dense"], &["median_ms", "min_ms", "images_per_s"]);
    }
}

#[test]
fn a_layer_alone_is_timed_at_every_sparsity() {
    let result =
        json(&["conv", "--shape", "8x4x3x3@6/2", "--sparsity", "0,0.5", "--batch-size", "16", "--rounds", "2"]);
    let rows = result["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["nnz"].as_u64().unwrap()).collect::<Vec<_>>(), [288, 144]);
    for row in rows {
        assert_positive(&row["forward"], &["median_ms", "min_ms", "gflops"]);
        assert_positive(&row["backward"], &["median_ms", "min_ms", "gflops"]);
    }
}

#[test]
fn tables_for_people_fit_a_hundred_columns() {
    let layers = [&["layers"], &SMALL[..], &["--steps", "1", "--warmup", "0"]].concat();
    let update = [&["update"], &SMALL[..], &["--decisions", "1", "--interval", "8"]].concat();
    for arguments in [layers, update, vec!["conv", "--shape", "8x8", "--rounds", "1"]] {
        let out = text(&arguments);
        assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
        assert!(out.lines().count() > 5, "{out}");
    }
}

/// A division by zero, and a terabyte of memory.
#[test]
fn strides_beyond_the_image_are_refused() {
    for stride in ["5", "100000", "4294967296"] {
        assert_refused(
            &["conv", "--shape", &format!("8x8x3x3@4/{stride}")],
            &format!("a stride of {stride} is larger"),
        );
    }
}

#[test]
fn bad_flags_are_usage_errors() {
    assert_refused(&["lairs"], "layers");
    assert_refused(&["layers", "--model", "resnet33"], "did you mean `resnet32`");
    assert_refused(&["layers", "--steps", "0"], "--steps");
    assert_refused(&["update", "--algorithm", "set,rigle"], "did you mean `rigl`");
    assert_refused(&["update", "--decisions", "0"], "--decisions");
    assert_refused(&["update", "--sparsity", "1.5"], "--sparsity");
    assert_refused(&["inference", "--batch-sizes", "1,x"], "--batch-sizes");
    assert_refused(&["inference", "--seconds", "many"], "--seconds");
    assert_refused(&["conv", "--shape", "8x8x3"], "OUTxIN");
    assert_refused(&["conv", "--shape", "9x8x3x3@8", "--groups", "2"], "groups");
    assert_refused(&["conv", "--sparsity", "0.5,1"], "--sparsity");
    assert_refused(&["step", "--batch-size", "0"], "--batch-size");
}
