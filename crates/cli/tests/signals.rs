//! SIGINT and SIGTERM finish the step, save and stop; SIGUSR1 saves and goes on; a second signal stops at once.
#![cfg(unix)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use common::{bidst, records, run_in, send, write_data};
use serde_json::Value;

const STEPS_PER_EPOCH: u64 = 20;

/// A run so long that no signal comes too late; without checkpoints but at the ends of epochs.
fn start(folder: &Path, batch_size: &str) -> Command {
    let base = ["train", "--dataset", "fashion-mnist", "--data-dir", "data", "--model", "mlp", "--width", "0.03"];
    let length = ["--epochs", "2000", "--batch-size", batch_size, "--threads", "1", "--progress", "json"];
    let algorithm = ["--algorithm", "set", "--set", "algorithm.update_interval=7"];
    let sets = ["--set", "run.log_interval=1", "--set", "run.checkpoint_interval=0"];
    bidst(folder, &[&base[..], &length, &algorithm, &sets].concat())
}

fn resume(folder: &Path, run: &Path) -> Command {
    bidst(folder, &["train", "--resume", run.to_str().unwrap(), "--threads", "1", "--progress", "json"])
}

/// Reads what a child says until an object fits, lets `then` act, and reads the rest.
fn when(mut child: Child, fits: impl Fn(&Value) -> bool, then: impl FnOnce(&Child)) -> (ExitStatus, String) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut objects = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert!(objects.any(|object| fits(&object)), "the run ended before its time");
    then(&child);
    objects.for_each(drop);
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

fn step(object: &Value) -> Option<u64> {
    (object["kind"] == "step").then(|| object["record"]["step"].as_u64().unwrap())
}

/// Moments of a run at which a signal comes, as seen from outside.
type Phase = (&'static str, fn(&Value) -> bool);
const PHASES: [Phase; 5] = [
    ("at the start", |object| object["kind"] == "start"),
    ("in an epoch", |object| step(object).is_some_and(|step| step % STEPS_PER_EPOCH == 9)),
    ("at a decision", |object| object["kind"] == "decision"),
    ("before an evaluation", |object| step(object).is_some_and(|step| step % STEPS_PER_EPOCH == 19)),
    ("after an evaluation", |object| object["kind"] == "epoch"),
];

#[test]
fn a_first_signal_saves_and_stops_in_every_phase_and_the_run_goes_on_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let mut command = start(folder, "20");
    let mut run = None;
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        for (phase, fits) in PHASES {
            let (status, message) = when(command.spawn().unwrap(), fits, |child| send(signal, child));
            assert_eq!(status.code(), Some(code), "{signal} {phase}: {message}");
            assert!(
                message.contains("stopped by a signal") && message.contains("--resume"),
                "{signal} {phase}: {message}"
            );
            let path = run.insert(run_in(&folder.join("runs")).unwrap());
            let manifest = fs::read_to_string(path.join("manifest.json")).unwrap();
            assert!(manifest.contains("\"stopped\""), "{signal} {phase}: {manifest}");
            command = resume(folder, path);
        }
    }
    let steps: Vec<u64> =
        records(&run.unwrap().join("metrics.jsonl")).iter().filter_map(|line| line["step"].as_u64()).collect();
    assert!(steps.len() > 20 && steps.iter().copied().eq(0..steps.len() as u64), "no step is missing or there twice");
}

#[test]
fn sigusr1_saves_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let has_saved = || {
        let checkpoints = run_in(&folder.join("runs")).unwrap().join("checkpoints");
        let names = fs::read_dir(checkpoints).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let steps = names.filter_map(|name| name.strip_prefix("step-")?.parse::<u64>().ok());
        steps.into_iter().any(|step| step % 200 != 0)
    };
    let mut command = start(folder, "2");
    for (phase, fits) in PHASES.into_iter().filter(|(phase, _)| phase.contains("epoch") || phase.contains("decision")) {
        drop(fs::remove_dir_all(folder.join("runs")));
        let (status, message) = when(command.spawn().unwrap(), fits, |child| {
            send("-USR1", child);
            let saved = (0..600).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(50));
                has_saved()
            });
            assert!(saved, "{phase}: nothing was saved");
            send("-TERM", child);
        });
        assert_eq!(status.code(), Some(143), "{phase}: {message}");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let child = start(folder.path(), "20").spawn().unwrap();
    let (status, message) = when(
        child,
        |object| step(object) == Some(30),
        |child| {
            // Both wait until the process goes on, and then come before its next step.
            ["-STOP", "-INT", "-TERM", "-CONT"].into_iter().for_each(|signal| send(signal, child));
        },
    );
    assert!(matches!(status.signal(), Some(2 | 15)), "{status}: {message}");
}
