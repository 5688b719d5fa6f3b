//! Processes that want one run folder: one gets it, the others leave at once and say who has it.
#![cfg(unix)]

mod common;

use std::path::Path;

use common::{Running, bidst, end_of, records, run_in, until, write_data};
use serde_json::Value;

const RACES: usize = 50;

/// A run without end that has a checkpoint.
fn begin(folder: &Path) -> Running {
    let base = ["train", "--dataset", "fashion-mnist", "--data-dir", "data", "--model", "mlp", "--width", "0.03"];
    let length = ["--epochs", "100000", "--batch-size", "20", "--threads", "1", "--progress", "none"];
    let first = bidst(folder, [&base[..], &length, &["--set", "run.log_interval=1"]].concat()).spawn();
    let saved = |run: &Path| run.join("checkpoints/step-00000020").is_dir();
    until("the first run saves", || run_in(&folder.join("runs")).is_some_and(|run| saved(&run)));
    first
}

#[test]
fn in_fifty_races_for_one_run_there_is_one_writer_and_the_others_name_it() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let mut winner = begin(folder.path());
    let run = run_in(&folder.path().join("runs")).unwrap();
    for race in 0..RACES {
        // Killed in the middle of its work: the lock dies with it, its note stays.
        winner.kill();
        assert_eq!(end_of(winner).0, None, "race {race}");
        let resume =
            || bidst(folder.path(), ["train", "--resume", run.to_str().unwrap(), "--progress", "none"]).spawn();
        let mut racers: Vec<Running> = std::iter::repeat_with(resume).take(2 + race % 3).collect();
        until("all but one give up", || {
            racers.iter_mut().filter_map(|racer| racer.is_alive().then_some(())).count() < 2
        });
        let at = racers.iter_mut().position(Running::is_alive).expect("nobody got the run");
        winner = racers.swap_remove(at);
        for loser in racers {
            let (code, message) = end_of(loser);
            assert_eq!(code, Some(1), "race {race}: {message}");
            let name = format!("process {} since 2", winner.id());
            assert!(message.contains(&name), "race {race}: `{name}` not in: {message}");
        }
        // A loss that stands out has a line of its own beside that of its step.
        let is_step = |line: &&Value| line["kind"] == "step";
        let records = records(&run.join("metrics.jsonl"));
        let steps: Vec<u64> = records.iter().filter(is_step).map(|line| line["step"].as_u64().unwrap()).collect();
        assert!(steps.is_sorted_by(|a, b| a < b), "race {race}: two have written");
    }
    winner.kill();
    assert_eq!(end_of(winner).0, None);
}
