//! How a run stands, as its folder says.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::path::Path;

use serde::Serialize;

use super::Run;
use crate::checkpoint;
use crate::config::Builder;
use crate::error::TrainError;
use crate::run_dir::{Manifest, RunDir, Status};
use crate::session::Outcome;
use crate::settings::{deciding, difference};
use crate::time;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not begun, or not as far as its first checkpoint.
    New,
    /// Under way or interrupted, with a checkpoint to continue from.
    Begun,
    /// Done.
    Finished,
    /// The loss was no number; it would be again.
    Diverged,
    /// Ended by another error; it will be tried again.
    Failed,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// How far it has come.
    pub state: State,
    /// Whether there is a state to continue from.
    pub has_checkpoint: bool,
    /// Its result, if it is finished.
    pub outcome: Option<Outcome>,
    /// Its circumstances, if it was begun.
    pub manifest: Option<Manifest>,
}

impl Standing {
    /// Reads the folder of a run, which need not be there.
    pub fn of(folder: &Path) -> Standing {
        let manifest = RunDir::read_manifest(folder);
        let status = manifest.as_ref().map(|manifest| manifest.status);
        let has_checkpoint = checkpoint::latest(folder).is_ok();
        let outcome = Outcome::read(folder).filter(|_| status == Some(Status::Finished));
        let state = match status {
            Some(Status::Finished) if outcome.is_some() => State::Finished,
            Some(Status::Diverged) => State::Diverged,
            Some(Status::Failed) => State::Failed,
            _ if has_checkpoint => State::Begun,
            _ => State::New,
        };
        Standing { state, has_checkpoint, outcome, manifest }
    }

    /// Whether training it (again, or on) could come to anything.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::New | State::Begun | State::Failed)
    }

    /// The error that ended it, if one did.
    pub fn reason(&self) -> Option<&str> {
        let manifest = self.manifest.as_ref().filter(|_| matches!(self.state, State::Diverged | State::Failed));
        manifest.and_then(|manifest| manifest.reason.as_deref())
    }
}

/// Notes in the manifest of a folder that its run ended with an error that the run itself could not note.
///
/// # Errors
/// [`TrainError::Io`]
pub(super) fn note_failure(folder: &Path, threads: usize, reason: String) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
    let manifest = RunDir::read_manifest(folder).unwrap_or_else(|| Manifest::new("unknown", threads));
    let ended = Some(time::iso(time::now()));
    RunDir::write_manifest_at(folder, &Manifest { ended, status: Status::Failed, reason: Some(reason), ..manifest })
}

/// Makes sure that a folder, if it is there, was made with the settings of `run`.
///
/// # Errors
/// [`TrainError::RunChanged`] with the first setting that differs; [`TrainError::Config`] if the folder's settings cannot be
/// read.
pub(super) fn check_unchanged(run: &Run, folder: &Path) -> Result<(), TrainError> {
    let path = folder.join("config.toml");
    if !path.is_file() {
        return Ok(());
    }
    let was = Builder::new().file(&path).finish()?;
    match difference(&deciding(&was), &deciding(&run.config)) {
        None => Ok(()),
        Some(other) => Err(TrainError::RunChanged {
            run: run.name.clone(),
            path: folder.to_owned(),
            key: other.key,
            was: other.was,
            now: other.now,
        }),
    }
}
