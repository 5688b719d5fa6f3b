//! Checkpoints on disks that fail, in folders that are damaged, and of runs that end anywhere.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod entries;
mod faults;
mod faulty;
mod resume;
mod storage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bidst_topology::algorithms;
use bidst_train::checkpoint::{Checkpoints, Found};
use bidst_train::trainer::{Event, Observer, Pause, Wish};
use bidst_train::{Config, TrainError, Trainer};
use faulty::FaultyDisk;
use serde_json::Value;

/// The run folder on a disk in memory.
fn run() -> &'static Path {
    Path::new("/run")
}

fn trainer(config: &Config) -> Trainer {
    Trainer::new(config.clone(), common::splits()).unwrap()
}

fn newest(disk: &FaultyDisk, config: &Config) -> Result<Found, TrainError> {
    Checkpoints::new(disk, run()).newest(Some(config))
}

fn load(disk: &FaultyDisk, config: &Config) -> Trainer {
    newest(disk, config).unwrap().load(config.clone(), common::splits()).unwrap()
}

fn save(disk: &FaultyDisk, trainer: &Trainer) -> Result<PathBuf, TrainError> {
    Ok(Checkpoints::new(disk, run()).save(trainer)?.path)
}

/// Options that make every algorithm decide several times within 15 steps.
fn often(algorithm: &str) -> Config {
    let defaults = (algorithms::find(algorithm).unwrap().defaults)();
    let wanted = [("update_interval", "3"), ("window", "2"), ("average_window", "2"), ("stop", "1.0"), ("rounds", "5")];
    let known = wanted.iter().filter(|(key, _)| defaults.contains_key(*key));
    let settings: Vec<String> = known.map(|(key, value)| format!("algorithm.{key}={value}")).collect();
    common::config(algorithm, &settings.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Keeps what a run records, without times, and pauses before a step.
#[derive(Default)]
struct Recorder {
    records: Vec<Value>,
    decisions: Vec<u64>,
    step: u64,
    pause_at: Option<u64>,
}

impl Observer for Recorder {
    fn on(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        let record = match event {
            Event::Step { record, .. } => {
                self.step = record.step + 1;
                serde_json::to_value(record)
            }
            Event::Decision { records, .. } => {
                self.decisions.push(records[0].step);
                serde_json::to_value(records)
            }
            Event::Spike { record } => serde_json::to_value(record),
            Event::Epoch { record } => serde_json::to_value(record),
            Event::Note { .. } => return Ok(()),
        };
        self.records.push(without_times(record.unwrap()));
        Ok(())
    }

    fn wish(&mut self) -> Wish {
        if self.pause_at == Some(self.step) { Wish::Save } else { Wish::GoOn }
    }
}

fn without_times(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.remove("timing");
    }
    value
}

/// Trains until `steps` steps are done, without the evaluation that may follow the last of them.
fn train_to(trainer: &mut Trainer, steps: u64) -> Recorder {
    let mut recorder = Recorder { pause_at: Some(steps), ..Recorder::default() };
    while trainer.epoch(&mut recorder).unwrap() == Pause::Epoch {}
    recorder
}

/// A disk with one checkpoint, of a run of `config` after so many steps, and where that is.
fn saved(config: &Config, steps: u64) -> (FaultyDisk, PathBuf) {
    let (mut trainer, disk) = (trainer(config), FaultyDisk::new());
    train_to(&mut trainer, steps);
    let path = save(&disk, &trainer).unwrap();
    (disk, path)
}

/// Trains so many epochs to their ends, that under way included.
fn train_epochs(trainer: &mut Trainer, epochs: usize) -> Recorder {
    let mut recorder = Recorder::default();
    (0..epochs).for_each(|_| assert_eq!(trainer.epoch(&mut recorder).unwrap(), Pause::Epoch));
    recorder
}

/// Everything that the next step depends on: the files of a checkpoint, times aside.
fn state(trainer: &Trainer) -> (Vec<u8>, Value) {
    let disk = FaultyDisk::new();
    let path = save(&disk, trainer).unwrap();
    let meta: Value = serde_json::from_slice(&disk.contents(&path.join("meta.json"))).unwrap();
    let mut meta = meta["meta"].clone();
    for timing in ["train_s", "data_s", "topology_s", "held_bytes"] {
        meta["tally"].as_object_mut().unwrap().remove(timing);
    }
    if let Some(last) = meta["last"].as_object_mut() {
        last.remove("timing");
    }
    meta["start"]["bytes"].as_object_mut().unwrap().remove("held_bytes");
    (disk.contents(&path.join("state.safetensors")), meta)
}

/// The files of a checkpoint by name.
fn files(disk: &FaultyDisk, path: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    ["meta.json", "state.safetensors"].into_iter().map(|name| (name, disk.contents(&path.join(name)))).collect()
}
