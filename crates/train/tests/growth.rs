//! A process of its own: memory must not grow with the steps.
#![cfg(target_os = "linux")]

mod common;

use bidst_train::trainer::{Event, Observer, Pause, Wish};
use bidst_train::{TrainError, Trainer, checkpoint};

/// Bytes of this process in memory.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<i64>().unwrap() * 1024
}

/// Counts decisions, and pauses after every fiftieth step.
#[derive(Default)]
struct Counter {
    steps: u64,
    decisions: u64,
}

impl Observer for Counter {
    fn on(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        match event {
            Event::Step { .. } => self.steps += 1,
            Event::Decision { .. } => self.decisions += 1,
            _ => {}
        }
        Ok(())
    }

    fn wish(&mut self) -> Wish {
        if self.steps.is_multiple_of(50) { Wish::Save } else { Wish::GoOn }
    }
}

#[test]
fn two_thousand_steps_with_forty_decisions_and_forty_checkpoints_do_not_grow() {
    let settings = ["train.epochs=400", "algorithm.update_interval=50", "algorithm.stop=1.0"];
    let mut trainer = Trainer::new(common::config("rigl", &settings), common::splits()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (mut counter, mut saves, mut warm) = (Counter::default(), 0, 0);
    while counter.steps < 2000 {
        if trainer.epoch(&mut counter).unwrap() == Pause::Step {
            checkpoint::save(&trainer, folder.path()).unwrap();
            saves += 1;
            if counter.steps == 500 {
                warm = resident();
            }
        }
    }
    assert!(counter.decisions >= 39 && saves == 40, "{} decisions, {saves} checkpoints", counter.decisions);
    let growth = resident() - warm;
    assert!(growth <= 1 << 20, "{growth} bytes more than after 500 steps");
}
