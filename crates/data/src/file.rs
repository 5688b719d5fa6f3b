//! Opening files that may be anything.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use crate::DataError;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The most bytes that a file may have, or claim to unpack to: 1 GiB, several times the largest file read here.
pub(crate) const LIMIT: u64 = 1 << 30;

/// Opens a regular, non-empty file within the limit; gives its size too.
pub(crate) fn open(path: &Path) -> Result<(File, u64), DataError> {
    let failure = |reason| DataError::Io { path: path.into(), reason };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let metadata = fs::metadata(path).map_err(failure)?;
    if !metadata.is_file() {
        return Err(DataError::NotAFile { path: path.into() });
    }
    match metadata.len() {
        0 => Err(DataError::Empty { path: path.into() }),
        size if size > LIMIT => {
            Err(DataError::TooLarge { path: path.into(), claim: format!("it has {size} bytes"), limit: LIMIT })
        }
        size => Ok((File::open(path).map_err(failure)?, size)),
    }
}

/// All bytes of a regular, non-empty file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let (file, size) = open(path)?;
    if size > limit {
        return Err(DataError::TooLarge { path: path.into(), claim: format!("it has {size} bytes"), limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // A file that grows meanwhile is read as far as it was.
    file.take(size).read_to_end(&mut bytes).map_err(|reason| DataError::Io { path: path.into(), reason })?;
    Ok(bytes)
}
