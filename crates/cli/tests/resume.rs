//! What may be otherwise when a run goes on, and what may not.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{bidst, end_of, run_in, send, until_an_epoch_is_done, write_data};
use serde_json::Value;

/// A run that was killed after its first epoch, in `folder`.
fn killed(folder: &Path) -> PathBuf {
    write_data(folder);
    let base = ["train", "--dataset", "fashion-mnist", "--data-dir", "data", "--model", "mlp", "--width", "0.03"];
    let length = ["--epochs", "40", "--batch-size", "20", "--threads", "1", "--progress", "none"];
    let mut child = bidst(folder, [&base[..], &length].concat()).spawn();
    let runs = folder.join("runs");
    until_an_epoch_is_done(&mut child, &runs);
    send("-STOP", &child);
    child.kill();
    assert_eq!(end_of(child).0, None, "it was over before it was killed");
    run_in(&runs).unwrap()
}

fn resume(folder: &Path, run: &Path, more: &[&str]) -> (Option<i32>, String) {
    let base = ["train", "--resume", run.to_str().unwrap(), "--progress", "plain"];
    end_of(bidst(folder, [&base[..], more].concat()).spawn())
}

/// The advice was to pass a flag that a resumed run refused.
#[test]
fn a_run_whose_data_have_moved_goes_on_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = killed(folder);
    fs::rename(folder.join("data"), folder.join("moved")).unwrap();
    let (code, message) = resume(folder, &run, &[]);
    assert!(code == Some(4) && message.contains("--data-dir"), "{code:?}: {message}");
    let (code, message) = resume(folder, &run, &["--data-dir", "moved", "--epochs", "3"]);
    assert!(code == Some(2) && message.contains("--epochs"), "{code:?}: {message}");
    assert_eq!(resume(folder, &run, &["--data-dir", "moved"]).0, Some(0));
}

/// Only counts and labels were compared.
#[test]
fn a_run_does_not_go_on_with_other_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = killed(folder);
    let images = folder.join("data/train-images-idx3-ubyte");
    let mut bytes = fs::read(&images).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&images, bytes).unwrap();
    let (code, message) = resume(folder, &run, &[]);
    assert!(code == Some(4) && message.contains("pixels"), "{code:?}: {message}");
}

/// The manifest went on to name the first.
#[test]
fn another_instruction_set_is_said_and_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = killed(folder);
    let manifest = || serde_json::from_slice::<Value>(&fs::read(run.join("manifest.json")).unwrap()).unwrap();
    let first = manifest();
    if first["instruction_set"] == "scalar" {
        return println!("left out: this machine has no other");
    }
    let arguments = ["train", "--resume", run.to_str().unwrap(), "--progress", "plain", "--threads", "2"];
    let output = bidst(folder, arguments).with("BIDST_SIMD", "scalar").output();
    let message = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && message.contains("on scalar goes on"), "{message}");
    let last = manifest();
    assert_eq!((&last["instruction_set"], &last["threads"]), (&"scalar".into(), &2.into()));
    assert_eq!(last["earlier"][0]["instruction_set"], first["instruction_set"]);
    assert_eq!(last["earlier"][0]["threads"], 1);
}
