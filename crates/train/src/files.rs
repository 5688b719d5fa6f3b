//! Writing files so that a reader sees the old or the new one, never half of one.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::error::TrainError;

/// A record of ours as JSON, on one line.
pub fn json_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("records have only string keys")
}

/// Replaces `path` by `bytes`: a sibling, another one in every process, is written, flushed to the disk and renamed over it.
///
/// # Errors
/// [`TrainError::Io`]
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let written = write_synced(&partial, bytes)
        .and_then(|()| fs::rename(&partial, path).map_err(TrainError::io("rename", &partial)));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))
}

/// Replaces `path` by a record of ours as JSON, on as many lines as it has entries.
///
/// # Errors
/// [`TrainError::Io`]
pub fn write_json(path: &Path, value: &(impl Serialize + ?Sized)) -> Result<(), TrainError> {
    let mut json = serde_json::to_vec_pretty(value).expect("records have only string keys");
    json.push(b'\n');
    write_atomically(path, &json)
}

/// Writes a file and flushes it to the disk.
///
/// # Errors
/// [`TrainError::Io`]
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let mut file = File::create(path).map_err(TrainError::io("create", path))?;
    file.write_all(bytes).map_err(TrainError::io("write", path))?;
    file.sync_all().map_err(TrainError::io("flush", path))
}

/// Flushes the entries of a folder to the disk, so that a rename survives a power loss. Only Unix can.
///
/// # Errors
/// [`TrainError::Io`]
pub fn sync_folder(path: &Path) -> Result<(), TrainError> {
    if cfg!(unix) {
        let folder = File::open(path).map_err(TrainError::io("open", path))?;
        folder.sync_all().map_err(TrainError::io("flush", path))?;
    }
    Ok(())
}
