//! What a file claims must not decide how much memory is asked for. Alone in its file: it watches the whole process.
#![allow(missing_docs)]
#![cfg(target_os = "linux")]

mod support;

use bidst_data::{DataError, idx};
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use std::path::Path;

/// The most address space this process ever had, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPeak:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_claim_of_a_gibibyte_and_a_bomb_of_a_quarter_take_no_memory() {
    let path = Path::new("liar");
    let claim = support::idx(&[1 << 14, 1 << 8, 1 << 8], &[1; 100]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&support::images(1)).unwrap();
    for _ in 0..256 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() > 200_000, "no bomb: {} bytes", bomb.len());
    let before = peak();

    for bytes in [claim.clone(), support::gzip(&claim)] {
        let error = idx::parse_images(path, bytes.as_slice()).unwrap_err();
        assert!(matches!(error, DataError::Truncated { expected: 0x4000_0000, found: 100, .. }), "{error}");
    }
    let error = idx::parse_images(path, bomb.as_slice()).unwrap_err();
    assert!(matches!(error, DataError::TrailingBytes { expected: 784, .. }), "{error}");

    assert!(peak() - before < 64, "{} MiB were asked for", peak() - before);
}
