//! Writing files so that a reader sees the old or the new one, never half of one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::TrainError;

/// A record of ours as JSON, on one line.
pub fn json_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("records have only string keys")
}

/// Replaces `path`, or what it is a link to, by `bytes`: a sibling, another one in every process, is written, flushed to the
/// disk and renamed over it.
///
/// # Errors
/// [`TrainError::Io`], also if there is something that is no file.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let path = &target(path).map_err(TrainError::io("write", path))?;
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

/// The file that is meant by `path`. A rename would put a file in the place of a link or a device.
fn target(path: &Path) -> io::Result<PathBuf> {
    let target = match fs::symlink_metadata(path) {
        Ok(about) if about.is_symlink() => fs::canonicalize(path)?,
        _ => path.to_owned(),
    };
    match fs::metadata(&target) {
        Ok(about) if !about.is_file() => Err(io::Error::other("it is not a regular file")),
        _ => Ok(target),
    }
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::process::Command;

    /// A file was put in the place of a link, of a pipe, and of a system's device.
    #[test]
    fn a_link_leads_to_its_file_and_what_is_no_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [real, link, pipe] = ["real", "link", "pipe"].map(|name| folder.path().join(name));
        fs::write(&real, "old").unwrap();
        symlink("real", &link).unwrap();
        write_atomically(&link, b"new").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());

        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&pipe, folder.path()] {
            let error = write_atomically(path, b"new").unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }
}
