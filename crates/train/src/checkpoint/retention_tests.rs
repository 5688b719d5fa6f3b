//! Whatever is saved, damaged and lost in between: the newest checkpoint that is whole stays, and that of the best epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use proptest::prelude::*;

use super::*;
use crate::checkpoint::meta::{DataMark, FORMAT};
use crate::metrics::{EpochRecord, EpochTiming, PatternRecord, RunTotals, StartCost, Tally};
use crate::settings::Settings;
use crate::storage::{Disk, Output};
use crate::tensors::TensorWriter;

/// The file system, without waiting for it to flush.
struct Hasty;

struct HastyFile(Box<dyn Output>);

impl io::Write for HastyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for HastyFile {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Storage for Hasty {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        Disk.create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        Ok(Box::new(HastyFile(Disk.create(path)?)))
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Disk.list(path)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        Disk.read(path, limit)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Disk.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        Disk.remove_folder(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<Option<u64>> {
        Disk.free_space(path)
    }
}

const STEPS_PER_EPOCH: u64 = 3;

fn epoch_record(epoch: u64, best_epoch: u64) -> EpochRecord {
    EpochRecord {
        epoch,
        steps: (epoch + 1) * STEPS_PER_EPOCH,
        train_loss: 0.5,
        train_accuracy: 0.5,
        test_loss: 0.5,
        test_accuracy: 0.5,
        decisions: 0,
        swaps: 0,
        flops: Default::default(),
        pattern: PatternRecord::default(),
        run: RunTotals { best_epoch, ..RunTotals::default() },
        timing: EpochTiming::default(),
    }
}

/// A state after `step` steps of a run whose best epoch so far is the given one.
fn state(step: u64, best_epoch: u64) -> (Meta, Vec<u8>) {
    let mut writer = TensorWriter::default();
    let step_alone = [step];
    writer.add("step".to_owned(), &[1], &step_alone);
    let bytes = writer.finish("checkpoint").unwrap();
    let (epoch, under_way) = (step / STEPS_PER_EPOCH, step % STEPS_PER_EPOCH);
    let tally = serde_json::json!({
        "loss": 0.0, "correct": 0.0, "images": under_way, "decisions": 0, "swaps": 0,
        "flops": { "training": 0, "probes": 0 }, "train_s": 0.0, "data_s": 0.0, "topology_s": 0.0,
        "parameter_bytes": 0, "held_bytes": 0,
    });
    let mut meta = Meta {
        format: FORMAT,
        step,
        epoch,
        last: (epoch > 0).then(|| epoch_record(epoch - 1, best_epoch)),
        tally: serde_json::from_value::<Tally>(tally).unwrap(),
        start: StartCost::default(),
        losses: Vec::new(),
        data: DataMark::default(),
        settings: Settings::new(),
        files: BTreeMap::new(),
        tensors: BTreeMap::new(),
    };
    meta.digest(&bytes);
    (meta, bytes)
}

#[derive(Clone, Debug)]
enum Event {
    /// A step is done and saved; at the end of an epoch it may be the best so far.
    Save { is_best: bool },
    /// A file of a checkpoint is cut, flipped or removed.
    Damage { which: usize, file: usize, how: usize },
    /// A whole checkpoint is lost.
    Lose { which: usize },
    /// The run is resumed from what there is.
    Resume,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => any::<bool>().prop_map(|is_best| Event::Save { is_best }),
        2 => (0..8_usize, 0..2_usize, 0..3_usize).prop_map(|(which, file, how)| Event::Damage { which, file, how }),
        1 => (0..8_usize).prop_map(|which| Event::Lose { which }),
        1 => Just(Event::Resume),
    ]
}

fn damage(path: &Path, how: usize) {
    let mut bytes = fs::read(path).unwrap();
    match how {
        0 => fs::remove_file(path).unwrap(),
        1 => fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
        _ => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(path, bytes).unwrap();
        }
    }
}

/// Names of the checkpoints that are whole, oldest first.
fn whole(checkpoints: &Checkpoints<'_>) -> Vec<String> {
    let names = checkpoints.names().ok().flatten().unwrap_or_default();
    names.into_iter().filter(|name| checkpoints.read(name, None).is_ok()).collect()
}

fn carry_out(events: &[Event]) {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(&Hasty, folder.path());
    let (mut step, mut best_epoch) = (0, 0);
    for event in events {
        let before = whole(&checkpoints);
        match *event {
            Event::Save { is_best } => {
                step += 1;
                if is_best && step % STEPS_PER_EPOCH == 0 {
                    best_epoch = step / STEPS_PER_EPOCH - 1;
                }
                let (meta, bytes) = state(step, best_epoch);
                let saved = checkpoints.put(&meta, bytes).unwrap();
                let after = whole(&checkpoints);
                let name = saved.path.file_name().unwrap().to_str().unwrap().to_owned();
                assert!(after.contains(&name), "{name} in {after:?}");
                let best = (best_epoch + 1) * STEPS_PER_EPOCH;
                let is_best = |name: &&String| position(name).is_some_and(|(step, _)| step == best);
                let [had, has] = [&before, &after].map(|names| names.iter().filter(is_best).count());
                assert!(had == 0 || has > 0 || step < best, "the best, step {best}, of {before:?} is not in {after:?}");
                let newest = before.iter().rev().find(|other| **other != name);
                assert!(newest.is_none_or(|newest| after.contains(newest)), "{newest:?} in {after:?}");
                let all: BTreeSet<String> = checkpoints.names().ok().flatten().unwrap().into_iter().collect();
                assert!(all.len() <= KEEP + 4, "{all:?}");
            }
            Event::Damage { which, file, how } if !before.is_empty() => {
                let name = &before[which % before.len()];
                damage(&checkpoints.folder.join(name).join([STATE, META][file]), how);
            }
            Event::Lose { which } if !before.is_empty() => {
                fs::remove_dir_all(checkpoints.folder.join(&before[which % before.len()])).unwrap();
            }
            Event::Damage { .. } | Event::Lose { .. } => {}
            Event::Resume => match checkpoints.newest(None) {
                Ok(found) => {
                    assert_eq!(found.path.file_name().unwrap().to_str(), before.last().map(String::as_str));
                    step = found.step();
                    best_epoch = found.meta.last.map_or(0, |last| last.run.best_epoch);
                }
                Err(error) => {
                    assert!(before.is_empty(), "{error}");
                    checkpoints.clear().unwrap();
                    (step, best_epoch) = (0, 0);
                }
            },
        }
    }
}

fn cases() -> u32 {
    if std::env::var_os("BIDST_LONG").is_some() { 10_000 } else { 256 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_newest_whole_checkpoint_and_the_best_are_never_removed(events in prop::collection::vec(event(), 1..30)) {
        carry_out(&events);
    }
}
