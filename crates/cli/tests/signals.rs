//! SIGINT and SIGTERM finish the step, save and stop; SIGUSR1 saves and goes on; a second signal stops at once.
#![cfg(unix)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use common::{Bidst, Running, bidst, records, run_in, send, until, write_data, write_data_with};
use serde_json::Value;

const STEPS_PER_EPOCH: u64 = 20;
/// So many that an evaluation takes longer than it takes to see that it has begun.
const TEST_IMAGES: u32 = 20_000;

/// A run so long that no signal comes too late; without checkpoints but at the ends of epochs and after so many steps.
fn start_saving(folder: &Path, checkpoint_interval: u64) -> Bidst {
    let base = ["train", "--dataset", "fashion-mnist", "--data-dir", "data", "--model", "mlp", "--width", "0.03"];
    let length = ["--epochs", "2000", "--batch-size", "20", "--threads", "1", "--progress", "json"];
    let algorithm = ["--algorithm", "set", "--set", "algorithm.update_interval=7"];
    let saves = format!("run.checkpoint_interval={checkpoint_interval}");
    bidst(folder, [&base[..], &length, &algorithm, &["--set", "run.log_interval=1", "--set", &saves]].concat())
}

fn start(folder: &Path) -> Bidst {
    start_saving(folder, 0)
}

fn resume(folder: &Path, run: &Path) -> Bidst {
    bidst(folder, ["train", "--resume", run.to_str().unwrap(), "--threads", "1", "--progress", "json"])
}

/// Reads what a child says until an object fits, lets `then` act, and reads the rest.
fn when(mut child: Running, fits: impl Fn(&Value) -> bool, then: impl FnOnce(&Running)) -> (ExitStatus, String) {
    let lines = BufReader::new(child.stdout()).lines();
    let mut objects = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert!(objects.any(|object| fits(&object)), "the run ended before its time");
    then(&child);
    objects.for_each(drop);
    let output = child.output();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

fn step(object: &Value) -> Option<u64> {
    (object["kind"] == "step").then(|| object["record"]["step"].as_u64().unwrap())
}

/// Moments of a run at which a signal comes, as seen from outside.
type Phase = (&'static str, fn(&Value) -> bool);
const PHASES: [Phase; 5] = [
    ("before the first step", |object| object["kind"] == "start"),
    ("in an epoch", |object| step(object).is_some_and(|step| step % STEPS_PER_EPOCH == 9)),
    ("at a decision", |object| object["kind"] == "decision"),
    ("in an evaluation", |object| step(object).is_some_and(|step| step % STEPS_PER_EPOCH == 19)),
    ("after an evaluation", |object| object["kind"] == "epoch"),
];

/// Waits for what a phase needs beyond what the child says.
fn come_to(phase: &str) {
    if phase == "in an evaluation" {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Steps of the checkpoints in a run folder.
fn saved_steps(run: &Path) -> Vec<u64> {
    let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect()
}

/// Whether a save is under way.
fn is_saving(run: &Path) -> bool {
    let mut entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten();
    entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".tmp-step")))
}

fn manifest(run: &Path) -> String {
    fs::read_to_string(run.join("manifest.json")).unwrap()
}

#[test]
fn a_first_signal_saves_and_stops_in_every_phase_and_the_run_goes_on_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data_with(folder, TEST_IMAGES);
    let mut command = start(folder);
    let mut run = None;
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        for (phase, fits) in PHASES {
            let (status, message) = when(command.spawn(), fits, |child| {
                come_to(phase);
                send(signal, child);
            });
            assert_eq!(status.code(), Some(code), "{signal} {phase}: {message}");
            assert!(
                message.contains("stopped by a signal") && message.contains("--resume"),
                "{signal} {phase}: {message}"
            );
            let path = run.insert(run_in(&folder.join("runs")).unwrap());
            assert!(manifest(path).contains("\"stopped\""), "{signal} {phase}: {}", manifest(path));
            command = resume(folder, path);
        }
    }
    let steps: Vec<u64> =
        records(&run.unwrap().join("metrics.jsonl")).iter().filter_map(|line| line["step"].as_u64()).collect();
    assert!(steps.len() > 20 && steps.iter().copied().eq(0..steps.len() as u64), "no step is missing or there twice");
}

#[test]
fn a_signal_during_a_save_lets_it_come_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let mut command = start_saving(folder, 1);
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-INT", 130), ("-TERM", 143)] {
        let (status, message) = when(
            command.spawn(),
            |object| step(object).is_some(),
            |child| {
                let run = run_in(&folder.join("runs")).unwrap();
                until("a save", || is_saving(&run));
                send(signal, child);
            },
        );
        assert_eq!(status.code(), Some(code), "{signal}: {message}");
        let run = run_in(&folder.join("runs")).unwrap();
        assert!(!is_saving(&run), "{signal}: a save was left half done");
        let done = records(&run.join("metrics.jsonl")).iter().filter_map(|line| line["step"].as_u64()).max().unwrap();
        assert!(saved_steps(&run).contains(&(done + 1)), "{signal}: step {done} is not in {:?}", saved_steps(&run));
        command = resume(folder, &run);
    }
}

#[test]
fn sigusr1_saves_and_goes_on_in_every_phase() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data_with(folder, TEST_IMAGES);
    for (phase, fits) in PHASES {
        drop(fs::remove_dir_all(folder.join("runs")));
        let (status, message) = when(start(folder).spawn(), fits, |child| {
            let run = run_in(&folder.join("runs")).unwrap();
            let before = saved_steps(&run);
            come_to(phase);
            // What was asked for between two steps does not wait for the end of the epoch.
            let ends_epoch = |step: &u64| step.is_multiple_of(STEPS_PER_EPOCH);
            let may_wait = phase == "in an evaluation";
            let is_new = |step: &u64| !before.contains(step) && (may_wait || !ends_epoch(step));
            until(phase, || {
                // A save that fell on the end of an epoch, or made room for others before it was seen, shows nothing, and the
                // run stands still once its output is not read for long: so it is asked again and again.
                send("-USR1", child);
                std::thread::sleep(Duration::from_millis(4));
                saved_steps(&run).iter().any(is_new)
            });
            let lines = || records(&run.join("metrics.jsonl")).len();
            let so_far = lines();
            until("the run goes on", || lines() > so_far + 1);
            send("-TERM", child);
        });
        assert_eq!(status.code(), Some(143), "{phase}: {message}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn sigusr1_while_the_data_are_read_does_not_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data_with(folder, TEST_IMAGES);
    let child = start(folder).spawn();
    let status = format!("/proc/{}/status", child.id());
    let listens = || {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() >> 9 & 1 == 1)
    };
    until("it listens", listens);
    send("-USR1", &child);
    let (status, message) = when(
        child,
        |object| step(object) == Some(5),
        |child| {
            let run = run_in(&folder.join("runs")).unwrap();
            until("the first step is saved", || saved_steps(&run).contains(&1));
            send("-TERM", child);
        },
    );
    assert_eq!(status.code(), Some(143), "{message}");
}

#[test]
fn a_second_signal_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let child = start(folder.path()).spawn();
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
