//! A real disk that becomes full while a run writes to it. Needs the right to mount one; otherwise it says so and is left out.
#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Running, bidst, end_of, records, run_in, send, until_an_epoch_is_done, write_data};
use serde_json::Value;

/// A file system of 4 MiB in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(at).output().ok()?;
        output.status.success().then(|| SmallDisk(at.to_owned()))
    }

    /// Leaves no room on it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        let error = std::iter::repeat_with(|| file.write_all(&[7; 512])).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

fn arguments(output: &str) -> Vec<&str> {
    let base = ["train", "--dataset", "fashion-mnist", "--data-dir", "data", "--model", "mlp", "--width", "0.03"];
    let length = ["--epochs", "30", "--batch-size", "20", "--threads", "1", "--progress", "none"];
    [&base[..], &length, &["--output", output]].concat()
}

const QUIET: [&str; 4] = ["--set", "run.log_interval=1000", "--set", "run.tensorboard=false"];

/// Tells the test to say so past the capture of its harness.
fn left_out() -> io::Result<()> {
    writeln!(io::stderr(), "LEFT OUT: no small disk could be mounted (that needs root)")
}

/// Waits for the first epoch of a run on the disk, and fills it.
fn fill_after_an_epoch(child: &mut Running, disk: &SmallDisk) -> PathBuf {
    until_an_epoch_is_done(child, &disk.0.join("runs"));
    send("-STOP", child);
    let filler = disk.fill();
    send("-CONT", child);
    filler
}

#[test]
fn a_run_on_a_disk_that_becomes_full_stops_with_its_checkpoints_and_ends_the_same_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(disk) = SmallDisk::mount(&folder.join("disk")) else {
        return left_out().unwrap();
    };
    write_data(folder);
    let mut child = bidst(folder, [&arguments("disk/runs")[..], &QUIET].concat()).spawn();
    let filler = fill_after_an_epoch(&mut child, &disk);
    let (code, message) = end_of(child);
    assert_eq!(code, Some(1), "{message}");
    let run = run_in(&disk.0.join("runs")).unwrap();
    let names = |part: &&str| message.contains(part);
    assert!(["No space left on device", "disk/runs/"].iter().all(names), "{message}");

    fs::remove_file(filler).unwrap();
    let resumed = bidst(folder, ["train", "--resume", run.to_str().unwrap(), "--progress", "none"]).spawn();
    assert_eq!(end_of(resumed), (Some(0), String::new()));
    let whole = whole(folder, &QUIET);
    let [whole, cut] = [whole, run].map(|run| fs::read(run.join("model.safetensors")).unwrap());
    assert!(whole == cut, "other weights");
}

/// The same run where there is room.
fn whole(folder: &Path, more: &[&str]) -> PathBuf {
    assert_eq!(end_of(bidst(folder, [&arguments("whole")[..], more].concat()).spawn()).0, Some(0));
    run_in(&folder.join("whole")).unwrap()
}

/// `run.on_save_error = "warn"` was of checkpoints only: the first record that could not be written ended the run.
#[test]
fn a_run_that_is_to_wait_for_room_outlives_a_full_disk_and_records_everything() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(disk) = SmallDisk::mount(&folder.join("disk")) else {
        return left_out().unwrap();
    };
    write_data(folder);
    let patient = ["--set", "run.on_save_error=warn", "--set", "run.report=false"];
    let json = ["--progress", "json"];
    let arguments: Vec<&str> =
        arguments("disk/runs").into_iter().filter(|word| !["--progress", "none"].contains(word)).collect();
    let mut child = bidst(folder, [&arguments[..], &patient, &json].concat()).spawn();
    let output = BufReader::new(child.stdout());
    let mut filler = Some(fill_after_an_epoch(&mut child, &disk));
    for line in output.lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let waits = event["text"].as_str().is_some_and(|text| text.contains("wait in memory"));
        filler.take_if(|_| waits).into_iter().for_each(|filler| fs::remove_file(filler).unwrap());
    }
    let (code, message) = end_of(child);
    assert_eq!((code, filler), (Some(0), None), "{message}");
    let [run, whole] = [run_in(&disk.0.join("runs")).unwrap(), whole(folder, &patient)];
    for file in ["metrics.jsonl", "topology.jsonl"] {
        assert_eq!(records(&run.join(file)), records(&whole.join(file)), "{file}");
    }
    let [whole, cut] = [whole, run].map(|run| fs::read(run.join("model.safetensors")).unwrap());
    assert!(whole == cut, "other weights");
}
