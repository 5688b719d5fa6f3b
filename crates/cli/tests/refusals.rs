//! Runs that do not start, or end early, say why, with the exit code that stands for it.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{bidst, end_of, run_in, write_data};
use serde_json::Value;

const SMALL: [&str; 14] = [
    "train",
    "--dataset",
    "fashion-mnist",
    "--data-dir",
    "data",
    "--model",
    "mlp",
    "--width",
    "0.03",
    "--batch-size",
    "20",
    "--threads",
    "1",
    "--progress=none",
];

#[test]
fn a_run_that_would_take_more_memory_than_it_may_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let run = |more: &[&str]| end_of(bidst(folder.path(), [&SMALL[..], more].concat()).spawn());
    let (code, message) = run(&["--epochs", "1", "--max-memory", "1MB"]);
    assert_eq!(code, Some(2), "{message}");
    for part in ["1.0 MB of --max-memory", "data ", "activations ", "parameters "] {
        assert!(message.contains(part), "should say `{part}`: {message}");
    }
    assert!(!folder.path().join("runs").exists());
    let (code, message) = run(&["--epochs", "1", "--max-memory", "lots"]);
    assert!(code == Some(2) && message.contains("--max-memory") && message.contains("2GB"), "{message}");

    assert_eq!(run(&["--epochs", "1", "--max-memory", "4GB"]).0, Some(0));
    let result = fs::read(run_in(&folder.path().join("runs")).unwrap().join("result.json")).unwrap();
    let memory = &serde_json::from_slice::<Value>(&result).unwrap()["timing"];
    let [predicted, measured] = ["predicted_bytes", "measured_bytes"].map(|name| memory[name].as_u64().unwrap());
    assert!(predicted > 0 && measured <= predicted * 11 / 10, "{measured} measured, {predicted} predicted");
    assert!(measured > 0 || !cfg!(target_os = "linux"));
}

/// It took the memory first, and was refused after that, or killed.
#[test]
#[cfg(target_os = "linux")]
fn a_network_that_cannot_fit_is_refused_before_its_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    // Ten gigabytes of activations; the system lets the process have four.
    let wide = ["train", "--dataset", "fashion-mnist", "--data-dir", "data", "--model", "resnet20", "--width", "8"];
    let arguments = [&wide[..], &["--batch-size", "65536", "--max-memory", "2GB", "--progress=none"]].concat();
    let (code, message) = end_of(bidst(folder.path(), arguments).with_at_most(4_000_000).spawn());
    assert!(code == Some(2) && message.contains("activations "), "{code:?}: {message}");
}

#[test]
fn of_two_runs_in_one_folder_the_second_is_told_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let mut first = bidst(folder.path(), [&SMALL[..], &["--epochs", "100000"]].concat()).spawn();
    let begun = Instant::now();
    let saved = |run: &std::path::Path| run.join("checkpoints/step-00000000").is_dir();
    while !run_in(&folder.path().join("runs")).is_some_and(|run| saved(&run)) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the first did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    let run = run_in(&folder.path().join("runs")).unwrap();
    let resume = || bidst(folder.path(), ["train", "--resume", run.to_str().unwrap(), "--progress", "none"]).spawn();
    let (code, message) = end_of(resume());
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains(&format!("process {} since 2", first.id())), "{message}");

    // The lock dies with its process.
    first.kill();
    assert_eq!(end_of(first).0, None);
    let mut third = resume();
    std::thread::sleep(Duration::from_millis(300));
    third.kill();
    let (_, message) = end_of(third);
    assert!(!message.contains("another bidst"), "{message}");
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged_is_a_data_error_that_lists_them() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    assert_eq!(end_of(bidst(folder.path(), [&SMALL[..], &["--epochs", "2"]].concat()).spawn()).0, Some(0));
    let run = run_in(&folder.path().join("runs")).unwrap();
    fs::remove_file(run.join("manifest.json")).unwrap();
    let resume = || end_of(bidst(folder.path(), ["train", "--resume", run.to_str().unwrap()]).spawn());
    fs::write(run.join("checkpoints/step-00000040/meta.json"), "").unwrap();
    assert_eq!(resume().0, Some(0));
    fs::remove_file(run.join("manifest.json")).unwrap();
    for entry in fs::read_dir(run.join("checkpoints")).unwrap() {
        fs::write(entry.unwrap().path().join("state.safetensors"), "").unwrap();
    }
    let (code, message) = resume();
    assert_eq!(code, Some(4), "{message}");
    assert!(message.contains("none of its checkpoints is whole") && message.contains("step-00000020"), "{message}");
}
