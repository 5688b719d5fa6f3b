//! Resized images in one file, read one at a time.
//!
//! The file is, in this order: the pixels of every image, `[3, height, width]`; an index of [`ENTRY`] bytes an image; a list
//! of what was damaged, as text; and a footer of [`FOOTER`] bytes that says what the file was made from and where the index
//! is. Checksums (CRC-32C) cover the footer, the index with the list, and each image; all numbers are little-endian. The
//! footer is written last and the file then renamed, so that half a file is never taken for a whole one. One process at a
//! time writes it; the others wait and find it there.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use crate::DataError;
use crate::dataset::Stored;
use crate::folder::MAX_SIDE;
use crate::resize::{MAX_ASPECT, Ready};
use crc32c::{crc32c, crc32c_append};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const MAGIC: [u8; 8] = *b"bidst-im";
const VERSION: u32 = 1;
/// Bytes of an entry: offset `u64`, checksum `u32`, height, width and label `u16`.
const ENTRY: usize = 18;
/// Bytes of the footer: magic, version, key, count `u64`, bytes of pixels `u64`, damaged `u64`, bytes of the list `u32`,
/// checksum of index and list, checksum of the footer.
const FOOTER: usize = 52;
/// Channels of an image.
const CHANNELS: usize = 3;
/// Images that a file may have.
const MAX_IMAGES: u64 = 1 << 26;
/// What stands between the name of a file and the number of the process that has not finished it.
const PARTIAL: &str = ".partial-";
/// Bytes of the list of damage.
const MAX_LIST: usize = 256 << 10;

/// One image in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    offset: u64,
    checksum: u32,
    height: u16,
    width: u16,
    label: u16,
}

impl Entry {
    fn len(self) -> usize {
        CHANNELS.saturating_mul(usize::from(self.height)).saturating_mul(usize::from(self.width))
    }
}

/// An open file of resized images.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    file: Mutex<File>,
    entries: Vec<Entry>,
    key: u32,
    damaged: usize,
    list: String,
}

impl PartialEq for Cache {
    fn eq(&self, other: &Cache) -> bool {
        (&self.path, self.key, &self.entries) == (&other.path, other.key, &other.entries)
    }
}

impl Cache {
    /// Opens the file if it is whole and was made from what `key` stands for; `None` if it has to be made anew.
    ///
    /// # Errors
    /// [`DataError::Io`] if it is there but cannot be read.
    pub(crate) fn open(path: &Path, key: u32) -> Result<Option<Cache>, DataError> {
        let failure = |reason| DataError::Io { path: path.into(), reason };
        let is_file = match fs::metadata(path) {
            Ok(metadata) => metadata.is_file(),
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(failure(reason)),
        };
        if !is_file {
            return Err(DataError::NotAFile { path: path.into() });
        }
        let mut file = File::open(path).map_err(failure)?;
        match Index::read(&mut file).map_err(failure)? {
            Some(Index { entries, key: found, damaged, list }) if found == key => {
                Ok(Some(Cache { path: path.into(), file: Mutex::new(file), entries, key, damaged, list }))
            }
            _ => Ok(None),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that it holds in memory.
    pub fn memory(&self) -> usize {
        self.entries.len().saturating_mul(size_of::<Entry>()).saturating_add(self.list.len())
    }

    /// CRC-32C of the checksums and sizes of its images, in their order.
    pub(crate) fn digest(&self) -> u32 {
        self.entries.iter().fold(0, |digest, entry| {
            let (checksum, [height, width]) = (entry.checksum, [entry.height, entry.width].map(u16::to_le_bytes));
            crc32c_append(crc32c_append(crc32c_append(digest, &checksum.to_le_bytes()), &height), &width)
        })
    }

    /// How many images were damaged when it was made, and the first of them.
    pub(crate) fn damage(&self) -> (usize, impl Iterator<Item = String>) {
        (self.damaged, self.list.lines().map(str::to_owned))
    }

    /// The label of every image.
    pub(crate) fn labels(&self) -> Vec<u16> {
        self.entries.iter().map(|entry| entry.label).collect()
    }

    /// Whether it has `count` images of so many channels, each at least `height` x `width`.
    pub(crate) fn fits(&self, count: usize, channels: usize, height: usize, width: usize) -> bool {
        let large = |entry: &Entry| usize::from(entry.height) >= height && usize::from(entry.width) >= width;
        count == self.entries.len() && channels == CHANNELS && self.entries.iter().all(large)
    }

    /// Reads an image into `buffer`.
    ///
    /// # Errors
    /// [`DataError::Io`], and [`DataError::CacheDamaged`] if it is not what was written.
    pub(crate) fn read<'a>(&self, index: usize, buffer: &'a mut Vec<u8>) -> Result<Stored<'a>, DataError> {
        let damaged = || DataError::CacheDamaged { path: self.path.clone(), image: index };
        let entry = self.entries.get(index).copied().ok_or_else(damaged)?;
        buffer.resize(entry.len(), 0);
        let read = {
            let mut file = self.file.lock().map_err(|_| damaged())?;
            file.seek(SeekFrom::Start(entry.offset)).and_then(|_| file.read_exact(buffer))
        };
        match read {
            Err(reason) if reason.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged()),
            Err(reason) => return Err(DataError::Io { path: self.path.clone(), reason }),
            Ok(()) if crc32c(buffer) != entry.checksum => return Err(damaged()),
            Ok(()) => {}
        }
        Ok(Stored { pixels: buffer, height: usize::from(entry.height), width: usize::from(entry.width) })
    }
}

/// What stands at the end of a file.
struct Index {
    entries: Vec<Entry>,
    key: u32,
    damaged: usize,
    list: String,
}

impl Index {
    /// `None` if the file is not whole.
    fn read(file: &mut File) -> io::Result<Option<Index>> {
        let size = file.metadata()?.len();
        let Some(before_footer) = size.checked_sub(FOOTER as u64) else { return Ok(None) };
        let mut footer = [0; FOOTER];
        file.seek(SeekFrom::Start(before_footer))?;
        file.read_exact(&mut footer)?;
        let Some(footer) = Footer::decode(&footer) else { return Ok(None) };
        // Compared with the size of the file before anything is allocated.
        let length = footer.count.checked_mul(ENTRY as u64).and_then(|index| index.checked_add(u64::from(footer.list)));
        let Some(length) = length.filter(|&length| footer.pixels.checked_add(length) == Some(before_footer)) else {
            return Ok(None);
        };
        if footer.count > MAX_IMAGES || footer.list as usize > MAX_LIST {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.seek(SeekFrom::Start(footer.pixels))?;
        file.read_exact(&mut bytes)?;
        Ok(footer.index(&bytes))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Footer {
    key: u32,
    count: u64,
    pixels: u64,
    damaged: u64,
    list: u32,
    checksum: u32,
}

impl Footer {
    fn encode(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.key.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.pixels.to_le_bytes());
        bytes.extend(self.damaged.to_le_bytes());
        bytes.extend(self.list.to_le_bytes());
        bytes.extend(self.checksum.to_le_bytes());
        bytes.extend(crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; FOOTER]) -> Option<Footer> {
        let mut fields = Fields(bytes);
        let (magic, version) = (fields.next::<8>()?, fields.u32()?);
        let (key, count, pixels, damaged) = (fields.u32()?, fields.u64()?, fields.u64()?, fields.u64()?);
        let (list, checksum) = (fields.u32()?, fields.u32()?);
        let before = bytes.get(..FOOTER.checked_sub(4)?)?;
        let whole = magic == MAGIC && version == VERSION && fields.u32()? == crc32c(before);
        whole.then_some(Footer { key, count, pixels, damaged, list, checksum })
    }

    /// The entries in `bytes`, if they have sides that images have here, and fill the pixels one after the other.
    fn index(self, bytes: &[u8]) -> Option<Index> {
        if crc32c(bytes) != self.checksum {
            return None;
        }
        let (index, list) = bytes.split_at_checked(bytes.len().checked_sub(self.list as usize)?)?;
        let (mut entries, mut end) = (Vec::with_capacity(index.len() / ENTRY), 0);
        for fields in index.chunks_exact(ENTRY) {
            let mut fields = Fields(fields);
            let (offset, checksum) = (fields.u64()?, fields.u32()?);
            let entry = Entry { offset, checksum, height: fields.u16()?, width: fields.u16()?, label: fields.u16()? };
            let (short, long) = (entry.height.min(entry.width), entry.height.max(entry.width));
            if offset != end
                || short == 0
                || usize::from(short) > MAX_SIDE
                || usize::from(long) > MAX_SIDE.saturating_mul(MAX_ASPECT)
            {
                return None;
            }
            end = end.checked_add(entry.len() as u64)?;
            entries.push(entry);
        }
        if end != self.pixels {
            return None;
        }
        let list = String::from_utf8(list.to_vec()).ok()?;
        Some(Index { entries, key: self.key, damaged: usize::try_from(self.damaged).ok()?, list })
    }
}

/// Little-endian numbers, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u16(&mut self) -> Option<u16> {
        self.next().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.next().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.next().map(u64::from_le_bytes)
    }
}

/// Whoever has this writes the file `path`; another one waits until it is dropped. On systems without locks nobody waits.
pub(crate) struct Turn {
    _lock: Option<File>,
}

impl Turn {
    /// Waits for the turn, and removes what writers that were killed have left.
    pub fn take(path: &Path) -> Result<Turn, DataError> {
        let failure = |reason| DataError::CacheUnwritable { path: path.to_owned(), reason };
        let folder = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder).map_err(failure)?;
        let (lock, partial) = (beside(path, ".lock"), beside(path, PARTIAL));
        // Never made where a link leads.
        let made = OpenOptions::new().write(true).create_new(true).open(&lock);
        let lock = made.or_else(|_| File::open(&lock)).map_err(failure)?;
        if lock.lock().is_err() {
            return Ok(Turn { _lock: None });
        }
        let partial = partial.file_name().unwrap_or_default().as_encoded_bytes();
        for entry in fs::read_dir(folder).map_err(failure)?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(partial) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Turn { _lock: Some(lock) })
    }
}

/// The file whose name is that of `path` and something more.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// Writes a file of images; it appears under its name when [`Writer::finish`] has been called.
pub(crate) struct Writer {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    written: u64,
    index: Vec<u8>,
    count: u64,
    list: String,
    damaged: u64,
}

impl Writer {
    /// Begins the file `path`. What has the name of the unfinished one, a link for instance, is not written to.
    pub fn create(path: &Path, _turn: &Turn) -> Result<Writer, DataError> {
        let partial = beside(path, &format!("{PARTIAL}{}", std::process::id()));
        let failure = |reason| DataError::CacheUnwritable { path: partial.clone(), reason };
        let _ = fs::remove_file(&partial);
        let file = OpenOptions::new().write(true).create_new(true).open(&partial).map_err(failure)?;
        let file = BufWriter::with_capacity(1 << 20, file);
        let (list, index) = (String::new(), Vec::new());
        Ok(Writer { path: path.into(), partial, file, written: 0, index, count: 0, list, damaged: 0 })
    }

    /// Appends an image.
    pub fn push(&mut self, image: &Ready) -> Result<(), DataError> {
        let Ready { pixels, height, width, label } = image;
        // Sides are far below 2^16: `folder::MAX_SIDE` times the largest aspect.
        let side = |side: &usize| u16::try_from(*side).unwrap_or(u16::MAX);
        self.write(pixels)?;
        self.index.extend(self.written.to_le_bytes());
        self.index.extend(crc32c(pixels).to_le_bytes());
        for field in [side(height), side(width), *label] {
            self.index.extend(field.to_le_bytes());
        }
        self.written = self.written.saturating_add(pixels.len() as u64);
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// Remembers a file that was left out.
    pub fn left_out(&mut self, damage: &str) {
        self.damaged = self.damaged.saturating_add(1);
        if self.list.len().saturating_add(damage.len()) < MAX_LIST {
            self.list.push_str(&damage.replace('\n', " "));
            self.list.push('\n');
        }
    }

    /// Completes the file.
    pub fn finish(mut self, key: u32) -> Result<(), DataError> {
        let (index, list) = (std::mem::take(&mut self.index), std::mem::take(&mut self.list));
        let footer = Footer {
            key,
            count: self.count,
            pixels: self.written,
            damaged: self.damaged,
            list: u32::try_from(list.len()).unwrap_or(0),
            checksum: crc32c_append(crc32c(&index), list.as_bytes()),
        };
        self.write(&index)?;
        self.write(list.as_bytes())?;
        self.write(&footer.encode())?;
        let done = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        done.and_then(|()| fs::rename(&self.partial, &self.path)).map_err(|reason| self.failure(reason))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file.write_all(bytes).map_err(|reason| self.failure(reason))
    }

    fn failure(&self, reason: io::Error) -> DataError {
        DataError::CacheUnwritable { path: self.partial.clone(), reason }
    }
}

impl Drop for Writer {
    /// Removes what was not completed; after the renaming there is nothing of that name.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.partial);
    }
}
