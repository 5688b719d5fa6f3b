//! The lock of a run folder: a lock of the operating system on the file `lock`, which dies with its process.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::error::TrainError;
use crate::time;

/// Most bytes that are read of what the holder wrote.
const LIMIT: u64 = 200;
/// How often, and after what time each, we look again for a note that is not there yet.
const PATIENCE: usize = 50;
const MOMENT: Duration = Duration::from_millis(10);

/// Held for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks the folder `run` and notes who did, for the message that others get.
    ///
    /// # Errors
    /// [`TrainError::Locked`] if somebody else has it, [`TrainError::Io`]
    pub fn take(run: &Path) -> Result<Lock, TrainError> {
        let path = run.join("lock");
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(TrainError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(TrainError::Locked { path: run.to_owned(), holder: holder(file) });
            }
            Err(TryLockError::Error(source)) => return Err(TrainError::io("lock", &path)(source)),
        }
        let note = format!("process {} since {}\n", std::process::id(), time::iso(time::now()));
        file.set_len(0).and_then(|()| file.write_all(note.as_bytes())).map_err(TrainError::io("write", &path))?;
        Ok(Lock { _file: file })
    }
}

/// What the holder noted. It may be about to: what stands there until then is of one that is gone.
fn holder(mut file: File) -> String {
    for _ in 0..PATIENCE {
        match note(&mut file) {
            Some((process, note)) if is_alive(process) => return note,
            _ => sleep(MOMENT),
        }
    }
    // Perhaps it is on another machine that shares the disk.
    note(&mut file).map_or_else(|| "a process that has just started".to_owned(), |(_, note)| note)
}

/// A note that is whole, and the process that it names.
fn note(file: &mut File) -> Option<(i32, String)> {
    let mut note = String::new();
    file.rewind().and_then(|()| file.take(LIMIT).read_to_string(&mut note)).ok()?;
    let note = note.strip_suffix('\n')?;
    let process = note.strip_prefix("process ")?.split(' ').next()?.parse().ok()?;
    Some((process, note.escape_debug().to_string()))
}

#[cfg(unix)]
fn is_alive(process: i32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    // One of another user is alive too.
    Pid::from_raw(process).is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(not(unix))]
fn is_alive(_process: i32) -> bool {
    true
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn of_two_holders_the_second_is_told_of_the_first_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let message = Lock::take(folder.path()).unwrap_err().to_string();
        let year = &time::iso(time::now())[..4];
        assert!(message.contains(&format!("process {} since {year}", std::process::id())), "{message}");
        drop(first);
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_note_of_a_process_that_is_gone_is_not_taken_for_that_of_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        std::fs::write(&path, format!("process {} since 2001\n", gone.id())).unwrap();
        // Somebody has the lock and has not yet said so.
        let mut holder = OpenOptions::new().write(true).open(&path).unwrap();
        holder.try_lock().unwrap();
        let message = std::thread::scope(|scope| {
            let other = scope.spawn(|| Lock::take(folder.path()).unwrap_err().to_string());
            sleep(3 * MOMENT);
            holder.set_len(0).unwrap();
            holder.write_all(format!("process {} since 2026\n", std::process::id()).as_bytes()).unwrap();
            other.join().unwrap()
        });
        assert!(message.contains(&format!("process {} since 2026", std::process::id())), "{message}");
    }

    #[test]
    fn in_fifty_races_of_four_there_is_one_holder_each() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..50 {
            let (start, end) = (std::sync::Barrier::new(4), std::sync::Barrier::new(4));
            let race = || {
                start.wait();
                let lock = Lock::take(folder.path());
                end.wait();
                usize::from(lock.is_ok())
            };
            let holders: usize = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).sum()
            });
            assert_eq!(holders, 1);
        }
    }
}
