//! A small data set on disk, and the binary as a child.

// Every test takes what it needs.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// Writes 400 training and 100 test images of ten classes as IDX files, and returns their folder.
pub fn write_data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let header = |kind: u8, sizes: &[u32]| {
        let sizes = sizes.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, kind].into_iter().chain(sizes).collect::<Vec<u8>>()
    };
    let mut seed = 1_u32;
    let mut noise = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    for (split, count) in [("train", 400_u32), ("t10k", 100)] {
        let mut images = header(3, &[count, 28, 28]);
        let mut labels = header(1, &[count]);
        for image in 0..count {
            let class = (image % 10) as u8;
            let bright = |position: u32| position % 28 / 2 == u32::from(class);
            images.extend((0..28 * 28).map(|position| noise() / 4 + if bright(position) { 120 } else { 0 }));
            labels.push(class);
        }
        fs::write(data.join(format!("{split}-images-idx3-ubyte")), images).unwrap();
        fs::write(data.join(format!("{split}-labels-idx1-ubyte")), labels).unwrap();
    }
    data
}

/// `bidst`, silent, with piped output.
pub fn bidst(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("bidst"));
    command.current_dir(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code (`None` after a signal) and standard error.
pub fn end_of(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_ne!(output.status.code(), Some(101), "a panic: {message}");
    (output.status.code(), message)
}

/// Sends a signal to a child.
pub fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// The only run folder in `folder`, if one is there yet.
pub fn run_in(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.next().map(|entry| entry.unwrap().path())
}

/// Lines of a JSONL file without their times; a half-written last one is left out.
pub fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let parse = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        value.as_object_mut().unwrap().remove("timing");
        value
    };
    whole.map(parse).collect()
}
