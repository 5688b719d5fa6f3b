//! A file that grows, and loses nothing while its disk is full.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use crate::error::TrainError;

/// What is appended and cannot be written waits, and goes first when the next is. A file that has taken half of something gets
/// the other half, so what has waited never shows.
#[derive(Debug)]
pub(crate) struct Appender<F = std::fs::File> {
    path: PathBuf,
    file: F,
    waiting: Vec<u8>,
}

impl<F: Write> Appender<F> {
    /// Writes at the end of `file`, which is at `path`.
    pub fn new(path: PathBuf, file: F) -> Appender<F> {
        Appender { path, file, waiting: Vec::new() }
    }

    /// Appends `bytes`, after what waits.
    ///
    /// # Errors
    /// [`TrainError::Io`]; what is not written yet waits.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        self.waiting.extend_from_slice(bytes);
        self.flush()
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// [`TrainError::Io`]; what is not written yet waits.
    pub fn flush(&mut self) -> Result<(), TrainError> {
        while !self.waiting.is_empty() {
            match self.file.write(&self.waiting) {
                Ok(0) => return Err(self.error(ErrorKind::WriteZero.into())),
                Ok(written) => drop(self.waiting.drain(..written.min(self.waiting.len()))),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(error)),
            }
        }
        Ok(())
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn error(&self, source: std::io::Error) -> TrainError {
        TrainError::io("write", &self.path)(source)
    }
}

impl Appender {
    /// Writes what waits, and all of it through to the disk.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn sync(&mut self) -> Result<(), TrainError> {
        self.flush()?;
        self.file.sync_all().map_err(TrainError::io("flush", &self.path))
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A disk with so many bytes of room, which takes three at a time.
    struct Disk {
        written: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let count = bytes.len().min(self.room).min(3);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room = self.room.saturating_sub(count);
            self.written.extend(bytes.iter().take(count));
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_that_took_half_a_line_gets_the_other_half_once_there_is_room() {
        let mut file = Appender::new("records".into(), Disk { written: Vec::new(), room: 10 });
        file.append(b"first\n").unwrap();
        let error = file.append(b"second\n").unwrap_err().to_string();
        assert!(error.contains("cannot write records"), "{error}");
        assert_eq!((&file.file.written[..], file.waiting()), (&b"first\nseco"[..], 3));
        assert!(file.append(b"third\n").is_err());
        file.file.room = 100;
        file.append(b"fourth\n").unwrap();
        assert_eq!((&file.file.written[..], file.waiting()), (&b"first\nsecond\nthird\nfourth\n"[..], 0));
    }
}
