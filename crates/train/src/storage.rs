//! The file operations of a save, as a seam: [`Disk`] does them, a test puts a disk in its place that fails.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// What a save does with files and folders. Every call either has its whole effect or says why not, except that a write
/// that fails may have written a part. Nothing survives a loss of power before it was synced: contents by
/// [`Output::sync`], names by [`Storage::sync_folder`].
pub trait Storage: Send + Sync {
    /// Makes a folder. Its parent must be there, and nothing of its name.
    ///
    /// # Errors
    /// What the system says; so everywhere below.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes a file to write to. Nothing of its name may be there.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>>;

    /// Flushes the names in a folder to the disk.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or folder another name on the same disk. Nothing of that name may be there.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// The names in a folder, sorted. Names that are not Unicode are left out.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// The bytes of a file, but at most `limit` of them.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// What the system says.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Bytes that may still be written to the disk that `path` is on, where the system tells.
    ///
    /// # Errors
    /// What the system says.
    fn free_space(&self, path: &Path) -> io::Result<Option<u64>>;
}

/// A file that is being written. A write may take a part of the bytes, as [`Write`] says.
pub trait Output: Write {
    /// Flushes everything written to the disk.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        Ok(Box::new(File::create_new(path)?))
    }

    /// Only Unix can flush a folder; elsewhere there is nothing to do.
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        let mut names: Vec<String> = names.filter_map(io::Result::transpose).collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        // A pipe would keep its reader waiting.
        let about = fs::metadata(path)?;
        if !about.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        // A buffer that grows while it is read would take twice the memory.
        let mut bytes = Vec::with_capacity(usize::try_from(about.len().min(limit)).unwrap_or(0));
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    #[cfg(unix)]
    fn free_space(&self, path: &Path) -> io::Result<Option<u64>> {
        let disk = rustix::fs::statvfs(path)?;
        Ok(Some(disk.f_bavail.saturating_mul(disk.f_frsize)))
    }

    #[cfg(not(unix))]
    fn free_space(&self, _path: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

impl Output for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
