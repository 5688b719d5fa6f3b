//! Every file operation of a save, failed in every way: the newest checkpoint loads, and a message says what to do.

use bidst_train::storage::Storage;

use super::faulty::Fault;
use super::*;

/// A disk with checkpoints after 3 and 7 steps, the state after 7, and a trainer after 9, whose save removes the first.
struct Scene {
    config: Config,
    disk: FaultyDisk,
    old: (Vec<u8>, Value),
    next: Trainer,
    new: (Vec<u8>, Value),
}

impl Scene {
    fn new() -> Scene {
        let config = often("set");
        let (disk, mut trainer) = (FaultyDisk::new(), trainer(&config));
        for step in [1, 3, 7] {
            train_to(&mut trainer, step);
            save(&disk, &trainer).unwrap();
        }
        let old = state(&trainer);
        train_to(&mut trainer, 9);
        let new = state(&trainer);
        Scene { config, disk, old, next: trainer, new }
    }

    /// Operations of a save without faults.
    fn operations(&self) -> usize {
        let disk = self.disk.failing(usize::MAX, Fault::Device);
        save(&disk, &self.next).unwrap();
        disk.operations()
    }

    /// What the next process makes of the disk: the newest checkpoint is the old or the new one, whole; a save works, and
    /// nothing of the interrupted one is left. Returns whether it is the new one.
    fn assert_usable(&self, disk: &FaultyDisk, place: &str) -> bool {
        let found = load(disk, &self.config);
        let found = state(&found);
        assert!(found == self.old || found == self.new, "{place}: neither the old state nor the new one");
        let path = save(disk, &self.next).unwrap_or_else(|error| panic!("{place}: {error}"));
        let names = Storage::list(disk, path.parent().unwrap()).unwrap();
        assert!(
            names.iter().all(|name| name.starts_with("step-")) && (2..=3).contains(&names.len()),
            "{place}: {names:?}"
        );
        assert!(state(&load(disk, &self.config)) == self.new, "{place}");
        found == self.new
    }
}

#[test]
fn a_crash_at_any_operation_of_a_save_leaves_a_newest_checkpoint_that_loads() {
    let scene = Scene::new();
    let operations = scene.operations();
    assert!(operations >= 20, "{operations}");
    for fault in Fault::ENDS {
        let mut is_new = Vec::new();
        for at in 0..operations {
            let disk = scene.disk.failing(at, fault);
            drop(save(&disk, &scene.next));
            is_new.push(scene.assert_usable(&disk.afterwards(), &format!("{fault:?} at operation {at}")));
        }
        assert!(is_new.is_sorted() && !is_new[0] && is_new[operations - 1], "{fault:?}: {is_new:?}");
    }
}

#[test]
fn the_first_save_of_a_run_is_there_in_whole_or_not_at_all() {
    let Scene { config, next, new, .. } = Scene::new();
    let probe = FaultyDisk::new().failing(usize::MAX, Fault::Device);
    save(&probe, &next).unwrap();
    for fault in Fault::ENDS {
        for at in 0..probe.operations() {
            let disk = FaultyDisk::new().failing(at, fault);
            drop(save(&disk, &next));
            let after = disk.afterwards();
            match newest(&after, &config) {
                Ok(found) => assert!(state(&found.load(config.clone(), common::splits()).unwrap()) == new),
                Err(error) => assert!(matches!(error, TrainError::CannotResume { .. }), "{fault:?} at {at}: {error}"),
            }
            save(&after, &next).unwrap();
            assert!(state(&load(&after, &config)) == new, "{fault:?} at {at}");
        }
    }
}

#[test]
fn an_error_at_any_operation_of_a_save_names_path_and_remedy_and_loses_nothing() {
    let scene = Scene::new();
    for fault in Fault::ERRORS {
        for at in 0..scene.operations() {
            let place = format!("{fault:?} at operation {at}");
            let disk = scene.disk.failing(at, fault);
            let Err(error) = save(&disk, &scene.next) else {
                // An older checkpoint could not be read while it was decided which to keep: all of them stay.
                assert!(scene.assert_usable(&disk.afterwards(), &place), "{place}");
                continue;
            };
            let message = error.to_string();
            let remedy = match fault {
                Fault::NoSpace => "Free some space",
                Fault::Quota => "quota",
                Fault::ReadOnly => "writable",
                Fault::NoPermission => "permission",
                _ => "Check the disk",
            };
            for part in ["step 9", "/run/checkpoints", remedy, "wanted", "--resume"] {
                assert!(message.contains(part), "{place} should say `{part}`: {message}");
            }
            let TrainError::Save(error) = error else { panic!("{place}: {message}") };
            let intact = error.intact.unwrap_or_else(|| panic!("{place}: {message}"));
            let expected = newest(&disk.afterwards(), &scene.config).unwrap().path;
            assert_eq!(intact, expected, "{place}");
            scene.assert_usable(&disk.afterwards(), &place);
        }
    }
}

#[test]
fn short_writes_are_carried_on() {
    let scene = Scene::new();
    for at in 0..scene.operations() {
        let disk = scene.disk.failing(at, Fault::ShortWrite);
        save(&disk, &scene.next).unwrap_or_else(|error| panic!("at {at}: {error}"));
        assert!(state(&load(&disk.afterwards(), &scene.config)) == scene.new, "at {at}");
    }
}

#[test]
fn too_little_room_for_the_checkpoints_to_come_is_said_at_the_start() {
    let disk = FaultyDisk::new();
    let trainer = trainer(&often("set"));
    let checkpoints = Checkpoints::new(&disk, run());
    let saved = checkpoints.save(&trainer).unwrap();
    disk.set_free_space(3 * saved.bytes);
    checkpoints.reserve(saved.bytes).unwrap();
    disk.set_free_space(3 * saved.bytes - 1);
    let message = checkpoints.reserve(saved.bytes).unwrap_err().to_string();
    assert!(message.contains("/run") && message.contains("free some space"), "{message}");
}

#[test]
fn a_save_that_cannot_remove_an_old_checkpoint_says_so_and_has_saved() {
    let scene = Scene::new();
    let last = scene.operations() - 1;
    let disk = scene.disk.failing(last, Fault::Device);
    let message = save(&disk, &scene.next).unwrap_err().to_string();
    assert!(message.contains("cannot remove") && message.contains("step-00000009 is intact"), "{message}");
}
