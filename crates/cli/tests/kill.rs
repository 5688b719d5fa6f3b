//! SIGKILL at random moments: the next `--resume` needs no help, and the end is the same bit for bit.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use bidst_topology::algorithms;
use common::{bidst, end_of, records, run_in, send, write_data};

/// The longest time that a process lives, in milliseconds: some steps, some saves.
const LIFE: u64 = 700;

/// A sequence of numbers that depends on the seed alone.
struct Moments(u64);

impl Moments {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn arguments<'a>(algorithm: &'a str, output: &'a str) -> Vec<&'a str> {
    let base = ["train", "--dataset", "fashion-mnist", "--data-dir", "data", "--model", "mlp", "--width", "0.03"];
    let length = ["--epochs", "20", "--batch-size", "20", "--threads", "1", "--progress", "none"];
    let sets = ["--set", "run.checkpoint_interval=3", "--set", "run.log_interval=1"];
    [&base[..], &length, &sets, &["--algorithm", algorithm, "--output", output]].concat()
}

/// What a run comes to.
fn end_state(run: &Path) -> (Vec<u8>, Vec<u8>, [Vec<serde_json::Value>; 2]) {
    let state = fs::read(run.join("checkpoints/step-00000400/state.safetensors"));
    (
        fs::read(run.join("model.safetensors")).unwrap(),
        state.unwrap(),
        ["metrics.jsonl", "topology.jsonl"].map(|name| records(&run.join(name))),
    )
}

/// Starts a run, or goes on with it, and kills it after a while, if one is given. Returns whether it has come to its end.
fn live_for(life: Option<Duration>, folder: &Path, algorithm: &str) -> bool {
    let mut run = run_in(&folder.join("cut"));
    // A folder in which nothing is yet is no run: the next start makes another.
    if let Some(empty) = run.take_if(|run| !run.join("config.toml").is_file()) {
        fs::remove_dir_all(empty).unwrap();
    }
    let mut command = match &run {
        Some(run) => {
            bidst(folder, ["train", "--resume", run.to_str().unwrap(), "--threads", "1", "--progress", "none"])
        }
        None => bidst(folder, arguments(algorithm, "cut")),
    };
    let mut child = command.spawn();
    if let Some(life) = life {
        std::thread::sleep(life);
        if child.is_alive() {
            send("-KILL", &child);
        }
    }
    let (code, message) = end_of(child);
    let is_finished = code == Some(2) && message.contains("it is finished");
    assert!(matches!(code, None | Some(0)) || is_finished, "{algorithm}, {run:?}: exit code {code:?}: {message}");
    code.is_some()
}

#[test]
fn a_run_that_is_killed_again_and_again_comes_to_the_same_end() {
    let kills = if std::env::var_os("BIDST_LONG").is_some() { 500 } else { 25 };
    let mut moments = Moments(1);
    let mut killed = 0;
    for algorithm in algorithms::list().iter().rev().map(|entry| entry.name).cycle() {
        if killed >= kills {
            break;
        }
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write_data(folder);
        let whole = bidst(folder, arguments(algorithm, "whole")).spawn();
        assert_eq!(end_of(whole).0, Some(0), "{algorithm}");
        loop {
            let life = (killed < kills).then(|| Duration::from_millis(moments.below(LIFE)));
            if live_for(life, folder, algorithm) {
                break;
            }
            killed += 1;
        }
        let [whole, cut] = ["whole", "cut"].map(|name| end_state(&run_in(&folder.join(name)).unwrap()));
        assert_eq!(cut.2, whole.2, "{algorithm} after {killed} kills");
        assert!(cut.0 == whole.0 && cut.1 == whole.1, "{algorithm} after {killed} kills: other weights or state");
    }
}
