//! Acceptance: every listed algorithm, with its defaults, trains the small network about as well as RigL does.
//!
//! Minutes, so on request only: `./check.sh peers`.

mod common;

use std::fs;

use bidst_topology::algorithms;
use common::bidst;
use serde_json::Value;

/// Percentage points that an algorithm may be behind RigL.
const MARGIN: f64 = 3.0;
/// The same for those that never move a weight, or only by chance.
const WIDE_MARGIN: f64 = 6.0;
const WIDE: &[&str] = &["deep-r", "static", "snip", "synflow"];

#[test]
#[ignore = "minutes: ./check.sh peers"]
fn every_algorithm_comes_close_to_rigl_on_the_embedded_images() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<&str> = algorithms::list().iter().map(|entry| entry.name).collect();
    let grid = format!("[grid]\nsparsity = [0.9]\nseed = [0]\nalgorithm = {names:?}\n");
    fs::write(folder.path().join("peers.toml"), grid).unwrap();
    let arguments = ["compare", "peers.toml", "--out", "peers", "--jobs", "2", "--progress", "plain"];
    let output = bidst(folder.path(), arguments).output();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success());

    let accuracies: Vec<f64> = names.iter().map(|name| accuracy(&folder.path().join("peers/runs"), name)).collect();
    let rigl = accuracies[names.iter().position(|name| *name == "rigl").unwrap()];
    let behind = names.iter().zip(&accuracies).map(|(name, accuracy)| (name, 100.0 * (rigl - accuracy)));
    let margin = |name: &&str| if WIDE.contains(name) { WIDE_MARGIN } else { MARGIN };
    let far: Vec<_> = behind.filter(|(name, points)| *points > margin(name)).collect();
    assert!(far.is_empty(), "behind RigL, in percentage points: {far:?}");
}

/// Test accuracy after the last epoch of the run of `algorithm`.
fn accuracy(runs: &std::path::Path, algorithm: &str) -> f64 {
    let folders = fs::read_dir(runs).unwrap().map(|entry| entry.unwrap());
    let prefix = format!("{algorithm}_");
    let run = folders.into_iter().find(|folder| folder.file_name().to_string_lossy().starts_with(&prefix)).unwrap();
    let result: Value = serde_json::from_slice(&fs::read(run.path().join("result.json")).unwrap()).unwrap();
    result["last"]["test_accuracy"].as_f64().unwrap()
}
