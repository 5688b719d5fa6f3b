//! The folder of the checkpoints: writing one, finding the newest that is whole, removing old ones.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use bidst_data::Splits;

use super::flaw::Flaw;
use super::meta::{META, META_LIMIT, Meta, STATE};
use super::state::{decode, encode};
use crate::config::Config;
use crate::error::{SaveError, TrainError};
use crate::settings::{Settings, difference, of_the_state};
use crate::storage::Storage;
use crate::trainer::Trainer;

/// Newest checkpoints that are kept, beside that of the best epoch.
const KEEP: usize = 2;
/// How the names of folders begin that are no checkpoints yet, or no longer.
const PARTIAL: &str = ".tmp-";

/// The checkpoints of one run.
pub struct Checkpoints<'a> {
    storage: &'a dyn Storage,
    run: PathBuf,
    folder: PathBuf,
}

/// A checkpoint that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its folder.
    pub path: PathBuf,
    /// Bytes of its files.
    pub bytes: u64,
}

/// A checkpoint whose digests are right.
pub struct Found {
    /// Its folder.
    pub path: PathBuf,
    /// Newer ones that were not taken.
    pub passed_over: Vec<PassedOver>,
    meta: Meta,
    state: Vec<u8>,
}

/// A checkpoint that was not taken.
#[derive(Debug)]
pub struct PassedOver {
    /// Name of its folder.
    pub name: String,
    /// Why.
    pub flaw: Flaw,
}

/// An operation that failed.
struct Failure {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

type Done<T = ()> = Result<T, Failure>;

impl From<Failure> for TrainError {
    fn from(Failure { action, path, source }: Failure) -> TrainError {
        TrainError::Io { action, path, source }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure { action, path, source }
}

impl<'a> Checkpoints<'a> {
    /// Those of the run folder `run`, which must be there.
    pub fn new(storage: &'a dyn Storage, run: &Path) -> Checkpoints<'a> {
        Checkpoints { storage, run: run.to_owned(), folder: run.join("checkpoints") }
    }

    /// Saves the state of `trainer`, then removes older checkpoints, but for the last two and that of the best epoch.
    ///
    /// # Errors
    /// [`TrainError::Save`] with what was attempted, what is missing, and the newest checkpoint that is still there.
    pub fn save(&self, trainer: &Trainer) -> Result<Saved, TrainError> {
        let unfit = |reason| TrainError::ModelFile { path: self.folder.join(STATE), reason };
        let (meta, state) = encode(trainer).map_err(unfit)?;
        self.put(&meta, state)
    }

    fn put(&self, meta: &Meta, state: Vec<u8>) -> Result<Saved, TrainError> {
        let sealed = meta.to_bytes();
        let bytes = state.len().saturating_add(sealed.len()) as u64;
        let best = meta.last.as_ref().map(|last| last.run.best_epoch.saturating_add(1));
        let saved = self.commit(meta.step, &[(STATE, &state), (META, &sealed)]);
        // Older ones are read to know whether they are whole.
        drop(state);
        let pruned = saved.and_then(|name| self.prune(&name, best).map(|()| name));
        let name = pruned.map_err(|failure| self.explain(meta.step, bytes, failure))?;
        Ok(Saved { path: self.folder.join(name), bytes })
    }

    /// Makes sure that there is room for the checkpoints to come, if each takes so many bytes.
    ///
    /// # Errors
    /// [`TrainError::NoRoom`]
    pub fn reserve(&self, bytes: u64) -> Result<(), TrainError> {
        // The last ones, that of the best epoch, and one that is being written; one of them is there already.
        let wanted = (KEEP as u64).saturating_add(1).saturating_mul(bytes);
        match self.storage.free_space(&self.run).map_err(TrainError::io("ask for the free space of", &self.run))? {
            Some(free) if free < wanted => Err(TrainError::NoRoom { path: self.run.clone(), wanted, free }),
            _ => Ok(()),
        }
    }

    /// Removes all checkpoints, because the run begins anew.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn clear(&self) -> Result<(), TrainError> {
        // What is no checkpoint comes first, so that a name left over is free again.
        let mut names = self.names()?.unwrap_or_default().into_iter();
        names.try_for_each(|name| match position(&name) {
            Some(_) => self.retire(&name),
            None if name.starts_with(PARTIAL) => self.remove(&name),
            None => Ok(()),
        })?;
        Ok(())
    }

    /// The newest checkpoint that is whole and, if it is given, was made with this configuration.
    ///
    /// # Errors
    /// [`TrainError::CannotResume`] if there is none, [`TrainError::NoneIsWhole`] if there is something wrong with all.
    pub fn newest(&self, config: Option<&Config>) -> Result<Found, TrainError> {
        let settings = config.map(of_the_state);
        let names = self.names()?.unwrap_or_default();
        let mut passed_over = Vec::new();
        for name in names.iter().rev().filter(|name| position(name).is_some()) {
            match self.read(name, settings.as_ref()) {
                Ok((meta, state)) => return Ok(Found { path: self.folder.join(name), passed_over, meta, state }),
                Err(flaw) => passed_over.push(PassedOver { name: name.clone(), flaw }),
            }
        }
        let path = self.run.clone();
        if passed_over.is_empty() {
            let reason = "it has no checkpoint; if its `checkpoints` were moved, put them back, or train anew with its config.toml";
            return Err(TrainError::CannotResume { path, reason });
        }
        Err(TrainError::NoneIsWhole { path, passed_over })
    }

    /// The checkpoint in the folder `path`, if it is whole and was made with this configuration.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`]
    pub fn open(storage: &'a dyn Storage, path: &Path, config: &Config) -> Result<Found, TrainError> {
        let flawed = |flaw| TrainError::Checkpoint { path: path.to_owned(), flaw };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let checkpoints = Checkpoints { storage, run: folder.clone(), folder };
        let (meta, state) = checkpoints.read(name, Some(&of_the_state(config))).map_err(flawed)?;
        Ok(Found { path: path.to_owned(), passed_over: Vec::new(), meta, state })
    }

    /// Writes a checkpoint and returns its name.
    fn commit(&self, step: u64, files: &[(&str, &[u8])]) -> Done<String> {
        let names = self.names()?;
        if names.is_none() {
            self.storage.create_folder(&self.folder).map_err(failed("create", &self.folder))?;
            self.storage.sync_folder(&self.run).map_err(failed("flush", &self.run))?;
        }
        let mut names = names.unwrap_or_default();
        for left_over in names.extract_if(.., |name| name.starts_with(PARTIAL)) {
            self.remove(&left_over)?;
        }
        let name = unused_name(step, &names);
        let partial = format!("{PARTIAL}{name}-{}", std::process::id());
        let written = self.write(&self.folder.join(&partial), files);
        let named = written.and_then(|()| self.rename(&partial, &name));
        if named.is_err() {
            // The next save would do it too, but a full disk wants its space now. That this fails as well is no news.
            drop(self.remove(&partial));
        }
        named?;
        self.storage.sync_folder(&self.folder).map_err(failed("flush", &self.folder))?;
        Ok(name)
    }

    fn write(&self, folder: &Path, files: &[(&str, &[u8])]) -> Done {
        self.storage.create_folder(folder).map_err(failed("create", folder))?;
        for (name, bytes) in files {
            let path = folder.join(name);
            let mut file = self.storage.create(&path).map_err(failed("create", &path))?;
            file.write_all(bytes).map_err(failed("write", &path))?;
            file.sync().map_err(failed("flush", &path))?;
        }
        self.storage.sync_folder(folder).map_err(failed("flush", folder))
    }

    /// Removes what is neither among the newest nor of the best epoch. The one just saved always stays, and so does what
    /// could not be read for a reason that may pass, or is not ours.
    fn prune(&self, saved: &str, best: Option<u64>) -> Done {
        let mut kept: usize = 1;
        let names = self.names()?.unwrap_or_default();
        for name in names.iter().rev().filter(|name| *name != saved && position(name).is_some()) {
            // Only what is whole counts as kept, down to its last byte; for the rest `meta.json` says enough.
            if kept < KEEP && self.read(name, None).is_ok() {
                kept = kept.saturating_add(1);
                continue;
            }
            let keep = match self.read_meta(name) {
                Ok(_) if kept < KEEP => true,
                Ok(meta) => Some(meta.epoch) == best && meta.tally.is_empty(),
                Err(Flaw::Missing { .. } | Flaw::Unsealed { .. } | Flaw::SealBroken { .. } | Flaw::Meta(_)) => false,
                Err(_) => true,
            };
            if !keep {
                self.retire(name)?;
            }
        }
        Ok(())
    }

    /// Removes a checkpoint. It gets another name first, so that no half of one is ever seen.
    fn retire(&self, name: &str) -> Done {
        let retired = format!("{PARTIAL}old-{name}");
        self.rename(name, &retired)?;
        self.remove(&retired)
    }

    fn rename(&self, from: &str, to: &str) -> Done {
        let [from, to] = [from, to].map(|name| self.folder.join(name));
        self.storage.rename(&from, &to).map_err(failed("rename", &from))
    }

    /// Removes a folder and the files in it.
    fn remove(&self, name: &str) -> Done {
        let path = self.folder.join(name);
        for file in self.storage.list(&path).map_err(failed("read", &path))? {
            let file = path.join(file);
            self.storage.remove_file(&file).map_err(failed("remove", &file))?;
        }
        self.storage.remove_folder(&path).map_err(failed("remove", &path))
    }

    /// Names in the folder: what is no checkpoint, then checkpoints from the oldest on; `None` if there is no such folder.
    fn names(&self) -> Done<Option<Vec<String>>> {
        match self.storage.list(&self.folder) {
            Ok(mut names) => {
                names.sort_by_key(|name| position(name));
                Ok(Some(names))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &self.folder)(error)),
        }
    }

    fn read_meta(&self, name: &str) -> Result<Meta, Flaw> {
        let path = self.folder.join(name);
        let unreadable = |file| {
            move |source: io::Error| match source.kind() {
                ErrorKind::NotFound => Flaw::Missing { file },
                _ => Flaw::Unreadable { file, source },
            }
        };
        if position(name).is_some_and(|(_, attempt)| attempt == 0) {
            return Err(Flaw::Outdated);
        }
        let files = self.storage.list(&path).map_err(|source| match source.kind() {
            ErrorKind::NotADirectory => Flaw::NotAFolder,
            _ => Flaw::Unreadable { file: "the folder", source },
        })?;
        if let Some(file) = files.iter().find(|file| ![META, STATE].contains(&file.as_str())) {
            return Err(Flaw::Foreign { file: file.clone() });
        }
        if let Some(file) = [META, STATE].into_iter().find(|file| !files.iter().any(|name| name == file)) {
            return Err(Flaw::Missing { file });
        }
        let meta = self.storage.read(&path.join(META), META_LIMIT).map_err(unreadable(META))?;
        let meta = Meta::from_bytes(&meta)?;
        match position(name) {
            Some((step, _)) if step != meta.step => Err(Flaw::Renamed { found: meta.step }),
            _ => Ok(meta),
        }
    }

    /// Reads a checkpoint and compares it with its digests.
    fn read(&self, name: &str, settings: Option<&Settings>) -> Result<(Meta, Vec<u8>), Flaw> {
        let meta = self.read_meta(name)?;
        let limit = meta.files.get(STATE).map_or(0, |file| file.bytes).saturating_add(1);
        let state = self.storage.read(&self.folder.join(name).join(STATE), limit);
        let state = state.map_err(|source| Flaw::Unreadable { file: STATE, source })?;
        meta.check(&state)?;
        match settings.and_then(|settings| difference(&meta.settings, settings)) {
            None => Ok((meta, state)),
            Some(other) => Err(Flaw::Settings { key: other.key, was: other.was, now: other.now }),
        }
    }

    fn explain(&self, step: u64, wanted: u64, failure: Failure) -> TrainError {
        let Failure { action, path, source } = failure;
        let free = self.storage.free_space(&self.run).ok().flatten();
        let intact = self.newest(None).ok().map(|found| found.path);
        TrainError::Save(Box::new(SaveError { step, action, path, source, wanted, free, intact }))
    }
}

impl Found {
    /// Bytes of its files, but for those of `meta.json`.
    pub fn bytes(&self) -> u64 {
        self.state.len() as u64
    }

    /// Steps that were done.
    pub fn step(&self) -> u64 {
        self.meta.step
    }

    /// A trainer in this state.
    ///
    /// # Errors
    /// If the state does not fit the configuration and the data.
    pub fn load(self, config: Config, data: Splits) -> Result<Trainer, TrainError> {
        decode(&self.path, self.meta, &self.state, config, data)
    }
}

/// Step and attempt that a folder's name says: `step-00000920` is the first attempt, `step-00000920-2` the second. Attempt 0
/// stands for the layout before this one, `epoch-00003`.
fn position(name: &str) -> Option<(u64, u64)> {
    let number = |digits: &str| digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    if let Some(epoch) = name.strip_prefix("epoch-") {
        return number(epoch).map(|_| (0, 0));
    }
    let rest = name.strip_prefix("step-")?;
    match rest.split_once('-') {
        None => Some((number(rest)?, 1)),
        Some((step, attempt)) => Some((number(step)?, number(attempt).filter(|&attempt| attempt > 1)?)),
    }
}

/// The name of a checkpoint of `step` that is not among `names`: a damaged one may have it already.
fn unused_name(step: u64, names: &[String]) -> String {
    let taken = names.iter().filter_map(|name| position(name)).filter(|&(other, attempt)| other == step && attempt > 0);
    match taken.map(|(_, attempt)| attempt).max() {
        None => format!("step-{step:08}"),
        Some(last) => format!("step-{step:08}-{}", last.saturating_add(1)),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]
#[path = "retention_tests.rs"]
mod retention_tests;
