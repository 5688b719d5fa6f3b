//! What the tests of hostile files share: the files beside this one, each read under watch.
#![allow(missing_docs)]

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One at a time: the allocator counts for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Reads `tests/hostile/FILE` and returns the refusal, which must contain `fragment`. `read` may allocate twice the file and 1 MiB.
/// With `BIDST_MAKE_HOSTILE` in the environment, a file that is missing is written.
#[allow(dead_code)]
pub fn refused<E: Display + 'static>(
    file: &str,
    make: impl FnOnce() -> Vec<u8>,
    read: fn(&[u8]) -> Result<(), E>,
    fragment: &str,
) -> String {
    refused_beside(0, file, make, read, fragment)
}

/// [`refused`], where `read` may allocate `beside` bytes more for what the file does not decide.
pub fn refused_beside<E: Display + 'static>(
    beside: usize,
    file: &str,
    make: impl FnOnce() -> Vec<u8>,
    read: fn(&[u8]) -> Result<(), E>,
    fragment: &str,
) -> String {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile").join(file);
    if std::env::var_os("BIDST_MAKE_HOSTILE").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, make()).unwrap();
    }
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(bytes.len() < 16 << 10, "{file} has {} bytes", bytes.len());
    let most = 2 * bytes.len() + (1 << 20) + beside;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let region = Region::new(ALLOCATOR);
        let result = read(&bytes);
        let allocated = region.change().bytes_allocated;
        let _ = sender.send((result.map_err(|error| error.to_string()), allocated));
    });
    // Long enough for a machine that is busy with other things: a hang never ends.
    let (result, allocated) = receiver.recv_timeout(Duration::from_secs(60)).expect("a panic or a hang");
    drop(alone);
    let message = result.expect_err("a hostile file was accepted");
    assert!(message.contains(fragment), "{file}: `{fragment}` not in: {message}");
    assert!(!message.chars().any(|c| c.is_control() && c != '\n'), "{message:?}");
    assert!(allocated <= most, "{file}: {allocated} bytes were allocated, {most} are allowed");
    message
}
