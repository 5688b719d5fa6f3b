//! Damaged checkpoints are refused by name, and the one before is taken.

use std::collections::BTreeSet;
use std::fs;

use bidst_train::checkpoint;
use bidst_train::storage::Storage;

use super::*;

/// A checkpoint in memory of about 64 KiB, and nothing else.
fn single() -> (FaultyDisk, PathBuf, Config) {
    let config = common::config("set", &["model.width=0.6"]);
    let (disk, path) = saved(&config, 3);
    (disk, path, config)
}

fn message(disk: &FaultyDisk, config: &Config) -> String {
    match newest(disk, config) {
        Ok(_) => panic!("a damaged checkpoint was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_checkpoint_cut_at_any_length_is_refused_by_name() {
    let (disk, path, config) = single();
    let files = files(&disk, &path);
    let bytes: usize = files.values().map(Vec::len).sum();
    assert!((48 << 10..96 << 10).contains(&bytes), "{bytes} bytes");
    for (name, whole) in &files {
        for length in 0..whole.len() {
            disk.replace(&path.join(name), &whole[..length]);
            let message = message(&disk, &config);
            assert!(message.contains(name) && message.contains("step-00000003"), "{name} cut to {length}: {message}");
        }
        disk.replace(&path.join(name), whole);
    }
    newest(&disk, &config).unwrap();
}

#[test]
fn every_flipped_bit_of_a_header_and_ten_thousand_of_the_data_are_found() {
    let (disk, path, config) = single();
    for (name, whole) in files(&disk, &path) {
        let header = match name {
            "meta.json" => whole.len(),
            _ => 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize,
        };
        let mut bytes = whole.clone();
        // A multiplier without a factor in common with the number of bits visits different ones.
        let data_bits = 8 * (whole.len() - header);
        let data = (0..10_000.min(data_bits)).map(|n| 8 * header + n * 7_919 % data_bits.max(1));
        for bit in (0..8 * header).chain(data) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            disk.replace(&path.join(name), &bytes);
            let message = message(&disk, &config);
            assert!(message.contains(name), "bit {bit} of {name}: {message}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        disk.replace(&path.join(name), &whole);
    }
    newest(&disk, &config).unwrap();
}

/// Copies a folder of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A run folder with a checkpoint after 3 and one after 5 steps, and the folder of the latter.
struct Folder {
    run: tempfile::TempDir,
    newest: PathBuf,
    older: PathBuf,
}

impl Folder {
    fn new(config: &Config) -> Folder {
        let run = tempfile::tempdir().unwrap();
        let mut trainer = trainer(config);
        train_to(&mut trainer, 3);
        let older = checkpoint::save(&trainer, run.path()).unwrap();
        train_to(&mut trainer, 5);
        let newest = checkpoint::save(&trainer, run.path()).unwrap();
        Folder { run, newest, older }
    }

    fn state(&self) -> PathBuf {
        self.newest.join("state.safetensors")
    }

    fn meta(&self) -> PathBuf {
        self.newest.join("meta.json")
    }
}

/// What is done to a folder; the other is of another seed.
type Damage = fn(&Folder, &Folder);

/// Twenty things that happen to folders, and what the message says of each.
const DAMAGE: [(&str, Damage); 20] = [
    ("meta.json is missing", |run, _| fs::remove_file(run.meta()).unwrap()),
    ("state.safetensors is missing", |run, _| fs::remove_file(run.state()).unwrap()),
    ("cannot read meta.json", |run, _| {
        fs::remove_file(run.meta()).unwrap();
        fs::create_dir(run.meta()).unwrap();
    }),
    ("cannot read state.safetensors", |run, _| {
        fs::remove_file(run.state()).unwrap();
        fs::create_dir(run.state()).unwrap();
    }),
    ("`notes.txt` does not belong", |run, _| fs::write(run.newest.join("notes.txt"), "mine").unwrap()),
    ("`step-00000003` does not belong", |run, _| fs::create_dir(run.newest.join("step-00000003")).unwrap()),
    ("it is a file, not a folder", |run, _| {
        fs::remove_dir_all(&run.newest).unwrap();
        fs::write(&run.newest, "").unwrap();
    }),
    ("meta.json is cut, or none of bidst (0 bytes)", |run, _| fs::write(run.meta(), "").unwrap()),
    ("meta.json is cut, or none of bidst (2 bytes)", |run, _| fs::write(run.meta(), "{}").unwrap()),
    ("meta.json has changed since it was written", |run, _| {
        let text = fs::read_to_string(run.meta()).unwrap();
        fs::write(run.meta(), text.replace("\"step\":5", "\"step\":6")).unwrap();
    }),
    ("it is of format 4, newer than 3", |run, _| {
        entries::rewrite_meta(&run.meta(), |meta| meta["format"] = 4.into());
    }),
    ("unknown field `colour`", |run, _| {
        entries::rewrite_meta(&run.meta(), |meta| meta["colour"] = "green".into());
    }),
    ("it holds step 3, not that of its name", |run, _| {
        fs::copy(run.older.join("meta.json"), run.meta()).unwrap();
        fs::copy(run.older.join("state.safetensors"), run.state()).unwrap();
    }),
    ("state.safetensors has 0 bytes instead of", |run, _| fs::write(run.state(), "").unwrap()),
    ("the header has changed", |run, _| {
        let mut bytes = fs::read(run.state()).unwrap();
        let at = bytes.windows(5).position(|part| part == b"conv2").unwrap();
        bytes[at + 4] = b'9';
        fs::write(run.state(), bytes).unwrap();
    }),
    ("tensor `", |run, _| {
        let mut bytes = fs::read(run.state()).unwrap();
        *bytes.last_mut().unwrap() ^= 128;
        fs::write(run.state(), bytes).unwrap();
    }),
    ("tensor `bn1.bias/", |run, _| {
        fs::copy(run.older.join("state.safetensors"), run.state()).unwrap();
    }),
    ("it was made with `run.seed` 1, the run says 0", |run, other| copy(&other.newest, &run.newest)),
    ("step 5 is not in epoch 2 of", |run, _| {
        entries::rewrite_meta(&run.meta(), |meta| meta["epoch"] = 2.into());
    }),
    ("format 1, before checkpoints had digests", |run, _| {
        fs::rename(&run.newest, run.newest.with_file_name("epoch-00001")).unwrap();
        fs::remove_dir_all(&run.older).unwrap();
    }),
];

#[test]
fn twenty_kinds_of_damage_are_told_apart() {
    let config = common::config("set", &[]);
    let other = Folder::new(&common::config("set", &["run.seed=1"]));
    let mut messages = BTreeSet::new();
    for (expected, damage) in DAMAGE {
        let folder = Folder::new(&config);
        damage(&folder, &other);
        let checkpoints = Checkpoints::new(&bidst_train::storage::Disk, folder.run.path());
        let message = match checkpoints.newest(Some(&config)) {
            // The older one is taken, and why is told.
            Ok(found) if !found.passed_over.is_empty() => {
                assert_eq!(found.path, folder.older, "{expected}");
                found.passed_over[0].flaw.to_string()
            }
            Ok(found) => match found.load(config.clone(), common::splits()) {
                Ok(_) => panic!("`{expected}`: it was taken"),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        assert!(message.contains(expected), "should say `{expected}`, but says: {message}");
        assert!(messages.insert(message.clone()), "said before: {message}");
    }
}

#[test]
fn a_name_with_control_characters_is_shown_escaped() {
    let (disk, path, config) = single();
    drop(disk.create(&path.join("a\nb\u{1b}[2J")).unwrap());
    let message = message(&disk, &config);
    assert!(message.contains("a\\nb\\u{1b}[2J") && !message.contains('\u{1b}'), "{message}");
}
