//! What a run takes at its peak is what was said before its first step.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Running, bidst, run_in, write_cifar};
use serde_json::Value;

/// Networks with a width and a batch size at which the constants of the prediction are not most of it.
const NETWORKS: [[&str; 3]; 6] = [
    ["mlp", "1", "256"],
    ["small-cnn", "1", "256"],
    ["resnet20", "1", "64"],
    ["resnet32", "1", "64"],
    ["vgg19", "0.5", "64"],
    ["mobilenet-v2", "0.5", "32"],
];
const SPARSITIES: [&str; 4] = ["0.5", "0.9", "0.95", "0"];
const ALGORITHMS: [&str; 3] = ["rigl", "bidst", "rigl-candidates"];

/// Looks at a process until it ends, and returns the most memory that it ever had.
fn peak(mut child: Running) -> f64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.is_alive() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        peak = kilobytes.map_or(peak, |kilobytes| kilobytes * 1024);
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.output();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    peak as f64
}

/// Trains for two epochs with decisions and checkpoints in them; returns what was said and what was taken.
fn said_and_taken(folder: &Path, [network, width, batch]: [&str; 3], algorithm: &str, sparsity: &str) -> [f64; 2] {
    let what =
        ["train", "--dataset", "cifar10", "--data-dir", "data", "--algorithm", algorithm, "--sparsity", sparsity];
    let size = ["--model", network, "--width", width, "--batch-size", batch, "--epochs", "2", "--output", "runs"];
    let how = ["--threads", "1", "--progress", "none", "--lr", "0.001", "--set", "run.checkpoint_interval=3"];
    let decisions = match algorithm {
        "snip" | "grasp" | "synflow" | "top-kast" => &[][..],
        _ => &["--set", "algorithm.update_interval=2"],
    };
    let child = bidst(folder, [&what[..], &size, &how, decisions].concat()).spawn();
    let taken = peak(child);
    let run = run_in(&folder.join("runs")).unwrap();
    let result: Value = serde_json::from_slice(&fs::read(run.join("result.json")).unwrap()).unwrap();
    fs::remove_dir_all(folder.join("runs")).unwrap();
    [result["timing"]["predicted_bytes"].as_f64().unwrap(), taken]
}

fn predictions_hold(cases: impl Iterator<Item = ([&'static str; 3], &'static str, &'static str)>) {
    let folder = tempfile::tempdir().unwrap();
    write_cifar(folder.path());
    let mut wrong = Vec::new();
    for (network, algorithm, sparsity) in cases {
        let [said, taken] = said_and_taken(folder.path(), network, algorithm, sparsity);
        let [name, width, batch] = network;
        let case = format!("{name} ×{width}, batch {batch}, {algorithm} at {sparsity}");
        let line = format!("{case}: {:.1} MB said, {:.1} MB taken", said / 1e6, taken / 1e6);
        println!("{line}, {:.3}", taken / said);
        if !(0.9..=1.1).contains(&(taken / said)) {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// VGG-19 at half density with BiDST among them, which once took a third more than was said: the sums of its scoring window were
/// missing, and its decisions copied scores twice.
#[test]
fn the_peak_of_every_network_is_within_a_tenth_of_the_prediction() {
    let (algorithms, sparsities) = (ALGORITHMS.iter().cycle(), SPARSITIES.iter().cycle());
    predictions_hold(NETWORKS.into_iter().zip(algorithms).zip(sparsities).map(|((n, a), s)| (n, *a, *s)));
}

/// Only the sparse network was reckoned with: a seventh of the peak.
#[test]
fn the_dense_network_that_is_scored_for_a_first_mask_is_predicted_too() {
    let algorithms = ["snip", "grasp", "synflow", "top-kast"].into_iter();
    predictions_hold(algorithms.map(|algorithm| (["mlp", "1", "64"], algorithm, "0.98")));
}

/// With `--nocapture` it shows all of them.
#[test]
fn the_peak_of_six_networks_at_four_densities_is_within_a_tenth_of_the_prediction() {
    if std::env::var_os("BIDST_LONG").is_none() {
        return println!("left to BIDST_LONG=1");
    }
    for algorithm in ALGORITHMS {
        predictions_hold(NETWORKS.into_iter().flat_map(|n| SPARSITIES.map(|s| (n, algorithm, s))));
    }
}
