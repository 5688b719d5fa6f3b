//! A disk in memory that knows what would survive a loss of power, and fails at a chosen operation in a chosen way.
//!
//! Every file and folder is an entry with two contents: what a process sees, and what has been synced. Loss of power
//! takes the second for the first.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Error, ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use bidst_train::storage::{Output, Storage};

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends before it.
    Kill,
    /// The process ends in the middle of it: half of a write, all of anything else. All data survives.
    PowerCutKeeping,
    /// As before, and data and names that were not synced are lost.
    PowerCutLosing,
    /// As before, but names survive without the contents they stand for.
    PowerCutKeepingNames,
    /// No space left: also for everything that needs space afterwards.
    NoSpace,
    /// Quota exceeded: also for everything that needs space afterwards.
    Quota,
    /// Read-only file system: also for every change afterwards.
    ReadOnly,
    /// No permission for this operation.
    NoPermission,
    /// An error of the device in this operation.
    Device,
    /// A write takes half of its bytes and says so.
    ShortWrite,
}

impl Fault {
    pub const ENDS: [Fault; 4] =
        [Fault::Kill, Fault::PowerCutKeeping, Fault::PowerCutLosing, Fault::PowerCutKeepingNames];
    pub const ERRORS: [Fault; 5] = [Fault::NoSpace, Fault::Quota, Fault::ReadOnly, Fault::NoPermission, Fault::Device];

    /// The system's number on Linux.
    fn number(self) -> i32 {
        match self {
            Fault::NoSpace => 28,
            Fault::Quota => 122,
            Fault::ReadOnly => 30,
            Fault::NoPermission => 13,
            _ => 5,
        }
    }

    /// Whether operations of the `kind` fail too once the fault has come.
    fn lasts_for(self, kind: Kind) -> bool {
        match self {
            Fault::NoSpace | Fault::Quota => kind == Kind::Needs,
            Fault::ReadOnly => kind != Kind::Looks,
            _ => self.ends(),
        }
    }

    fn ends(self) -> bool {
        Fault::ENDS.contains(&self)
    }
}

/// What an operation does to the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Takes space.
    Needs,
    /// Changes names or flushes.
    Changes,
    /// Changes nothing.
    Looks,
}

#[derive(Clone, Default)]
struct Entry {
    /// Names and entries of a folder; `None` for a file.
    names: Option<BTreeMap<String, usize>>,
    synced_names: BTreeMap<String, usize>,
    bytes: Vec<u8>,
    synced_bytes: Vec<u8>,
}

impl Entry {
    fn folder() -> Entry {
        Entry { names: Some(BTreeMap::new()), ..Entry::default() }
    }
}

/// What is on the disk, and what is to come over it.
#[derive(Clone)]
struct State {
    /// The first is the root.
    entries: Vec<Entry>,
    operations: usize,
    fault: Option<(usize, Fault)>,
    free: u64,
}

/// The disk; clones are the same disk.
#[derive(Clone)]
pub struct FaultyDisk(Arc<Mutex<State>>);

impl FaultyDisk {
    /// An empty disk without faults, with a folder `/run` in it.
    pub fn new() -> FaultyDisk {
        let disk = FaultyDisk(Arc::new(Mutex::new(State {
            entries: vec![Entry::folder()],
            operations: 0,
            fault: None,
            free: 1 << 30,
        })));
        disk.create_folder(Path::new("/run")).unwrap();
        disk.sync_folder(Path::new("/")).unwrap();
        disk
    }

    /// Another disk with the same contents that fails at its operation number `at`, counted from 0.
    pub fn failing(&self, at: usize, fault: Fault) -> FaultyDisk {
        let state = State { operations: 0, fault: Some((at, fault)), ..self.state().clone() };
        FaultyDisk(Arc::new(Mutex::new(state)))
    }

    /// What the next process finds: after the end of the one before, if that was the fault, and without faults to come.
    pub fn afterwards(&self) -> FaultyDisk {
        let mut state = self.state().clone();
        match state.fault {
            Some((at, fault)) if state.operations > at => state.lose(fault),
            _ => {}
        }
        FaultyDisk(Arc::new(Mutex::new(State { operations: 0, fault: None, ..state })))
    }

    /// Operations so far.
    pub fn operations(&self) -> usize {
        self.state().operations
    }

    /// Says how much space is left.
    pub fn set_free_space(&self, bytes: u64) {
        self.state().free = bytes;
    }

    /// The bytes of a file.
    pub fn contents(&self, path: &Path) -> Vec<u8> {
        self.read(path, u64::MAX).unwrap()
    }

    /// Puts other bytes into a file.
    pub fn replace(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let at = state.find(path).unwrap();
        bytes.clone_into(&mut state.entries[at].bytes);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn write(&self, file: usize, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let half = bytes.len().div_ceil(2);
        let (taken, result) = match state.fault_now(Kind::Needs) {
            None => (bytes.len(), Ok(())),
            Some(Fault::ShortWrite) => (half, Ok(())),
            Some(Fault::Kill) => (0, Err(gone())),
            Some(fault) if fault.ends() => (half, Err(gone())),
            Some(fault) => (half, Err(Error::from_raw_os_error(fault.number()))),
        };
        state.entries[file].bytes.extend_from_slice(&bytes[..taken]);
        result.map(|()| taken)
    }
}

fn gone() -> Error {
    Error::other("the process is gone")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl State {
    /// Counts an operation, and says what comes over it.
    fn fault_now(&mut self, kind: Kind) -> Option<Fault> {
        let number = self.operations;
        self.operations += 1;
        let (at, fault) = self.fault?;
        // The end comes once: what follows it happens to nobody.
        match number == at {
            true => Some(fault),
            false if number > at && fault.ends() => Some(Fault::Kill),
            false => (number > at && fault.lasts_for(kind)).then_some(fault),
        }
    }

    /// Does an operation that has no halves, unless a fault comes over it.
    fn run<T>(&mut self, kind: Kind, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        match self.fault_now(kind) {
            None | Some(Fault::ShortWrite) => work(self),
            Some(Fault::Kill) => Err(gone()),
            Some(fault) if fault.ends() => work(self).and(Err(gone())),
            Some(fault) => Err(Error::from_raw_os_error(fault.number())),
        }
    }

    fn lose(&mut self, fault: Fault) {
        for entry in &mut self.entries {
            if fault == Fault::PowerCutLosing && entry.names.is_some() {
                entry.names = Some(entry.synced_names.clone());
            }
            if matches!(fault, Fault::PowerCutLosing | Fault::PowerCutKeepingNames) {
                entry.bytes.clone_from(&entry.synced_bytes);
            }
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for part in path.iter().filter(|part| *part != OsStr::new("/")) {
            let names = self.entries[at].names.as_ref().ok_or(ErrorKind::NotADirectory)?;
            at = *names.get(part.to_str().unwrap()).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn names(&mut self, folder: &Path) -> io::Result<&mut BTreeMap<String, usize>> {
        let at = self.find(folder)?;
        self.entries[at].names.as_mut().ok_or(ErrorKind::NotADirectory.into())
    }

    fn add(&mut self, path: &Path, entry: Entry) -> io::Result<usize> {
        let number = self.entries.len();
        let names = self.names(path.parent().unwrap())?;
        if names.contains_key(&name(path)) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        names.insert(name(path), number);
        self.entries.push(entry);
        Ok(number)
    }

    fn remove(&mut self, path: &Path, is_folder: bool) -> io::Result<()> {
        let at = self.find(path)?;
        match &self.entries[at].names {
            Some(names) if is_folder && !names.is_empty() => return Err(ErrorKind::DirectoryNotEmpty.into()),
            names if names.is_some() != is_folder => return Err(ErrorKind::IsADirectory.into()),
            _ => {}
        }
        self.names(path.parent().unwrap())?.remove(&name(path));
        Ok(())
    }
}

impl Storage for FaultyDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.state().run(Kind::Needs, |state| state.add(path, Entry::folder()).map(drop))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let entry = self.state().run(Kind::Needs, |state| state.add(path, Entry::default()))?;
        Ok(Box::new(OpenFile { disk: self.clone(), entry }))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.state().run(Kind::Changes, |state| {
            let names = state.names(path)?.clone();
            let at = state.find(path)?;
            state.entries[at].synced_names = names;
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().run(Kind::Changes, |state| {
            let entry = state.find(from)?;
            if state.find(to).is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.names(from.parent().unwrap())?.remove(&name(from));
            state.names(to.parent().unwrap())?.insert(name(to), entry);
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.state().run(Kind::Looks, |state| Ok(state.names(path)?.keys().cloned().collect()))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.state().run(Kind::Looks, |state| {
            let entry = &state.entries[state.find(path)?];
            match entry.names {
                Some(_) => Err(ErrorKind::IsADirectory.into()),
                None => Ok(entry.bytes[..entry.bytes.len().min(limit as usize)].to_vec()),
            }
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state().run(Kind::Changes, |state| state.remove(path, false))
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.state().run(Kind::Changes, |state| state.remove(path, true))
    }

    fn free_space(&self, _path: &Path) -> io::Result<Option<u64>> {
        self.state().run(Kind::Looks, |state| Ok(Some(state.free)))
    }
}

struct OpenFile {
    disk: FaultyDisk,
    entry: usize,
}

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.write(self.entry, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for OpenFile {
    fn sync(&mut self) -> io::Result<()> {
        let entry = self.entry;
        self.disk.state().run(Kind::Changes, |state| {
            let bytes = state.entries[entry].bytes.clone();
            state.entries[entry].synced_bytes = bytes;
            Ok(())
        })
    }
}
