//! No test overlooks a panic of the binary.

use std::fs;
use std::path::Path;

#[test]
fn every_test_starts_the_binary_by_the_helper_that_looks_for_panics() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = fs::read_dir(tests).unwrap().map(|entry| entry.unwrap().path());
    let sources: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    assert!(sources.len() > 15, "{} files only", sources.len());
    // In two halves, so that this file is not found.
    let names = [concat!("cargo_", "bin"), concat!("CARGO_", "BIN")];
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        assert!(names.iter().all(|name| !text.contains(name)), "{}: use common::bidst", path.display());
    }
}

/// The modules that read files nobody vouches for.
const READERS: [&str; 27] = [
    "data/src/cache.rs",
    "data/src/cifar.rs",
    "data/src/damage.rs",
    "data/src/file.rs",
    "data/src/folder.rs",
    "data/src/idx.rs",
    "data/src/mnist.rs",
    "data/src/picture.rs",
    "data/src/python/array.rs",
    "data/src/python/mod.rs",
    "data/src/python/pickle.rs",
    "data/src/python/value.rs",
    "data/src/text.rs",
    "train/src/checkpoint/meta.rs",
    "train/src/checkpoint/state.rs",
    "train/src/checkpoint/store.rs",
    "train/src/compare/standing.rs",
    "train/src/config/builder.rs",
    "train/src/container.rs",
    "train/src/export/read.rs",
    "train/src/import.rs",
    "train/src/kernels.rs",
    "train/src/lock.rs",
    "train/src/report/records.rs",
    "train/src/run_dir.rs",
    "train/src/storage.rs",
    "train/src/tensors.rs",
];

/// What clippy denies in a module that reads.
const DENIED: [&str; 4] = ["indexing_slicing", "unwrap_used", "expect_used", "arithmetic_side_effects"];
/// What may panic although clippy does not deny it.
const PANICS: [&str; 9] = [
    "panic!(",
    "unreachable!(",
    "todo!(",
    "assert!(",
    "assert_eq!(",
    "copy_from_slice(",
    "split_at(",
    "split_at_mut(",
    "#[allow(clippy::",
];

#[test]
fn modules_that_read_files_have_fewer_than_two_possible_panics_in_a_thousand_lines() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut lines, mut possible) = (0, Vec::new());
    for reader in READERS {
        let text = fs::read_to_string(crates.join(reader)).unwrap();
        let denies = |lint: &&str| text.contains(&format!("clippy::{lint}"));
        assert!(text.contains("#![deny(") && DENIED.iter().all(denies), "{reader} does not deny what clippy finds");
        let code = text.split("#[cfg(test)]").next().unwrap();
        lines += code.lines().count();
        let may = |line: &&str| !line.trim().starts_with("//") && PANICS.iter().any(|word| line.contains(word));
        possible.extend(code.lines().filter(may).map(|line| format!("{reader}: {}", line.trim())));
    }
    println!("{} in {lines} lines: {possible:#?}", possible.len());
    assert!(possible.len() * 500 < lines, "{} in {lines} lines: {possible:#?}", possible.len());
}
