//! The lock of a run folder: a lock of the operating system on the file `lock`, which dies with its process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::TrainError;
use crate::time;

/// Most bytes that are read of what the holder wrote.
const LIMIT: u64 = 200;

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

/// What the holder noted. It may be about to.
fn holder(file: File) -> String {
    let mut note = String::new();
    match file.take(LIMIT).read_to_string(&mut note) {
        Ok(1..) => note.trim().escape_debug().to_string(),
        _ => "a process that has just started".to_owned(),
    }
}

#[cfg(test)]
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
