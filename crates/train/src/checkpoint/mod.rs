//! Complete states of a run, from which it continues bit for bit.
//!
//! A checkpoint is a folder `checkpoints/step-00000920` with two files. `state.safetensors` holds per weight `W`
//! `W/indices` (sparse ones only), `W/values` and `W/momentum`; per vector `V` `V/values` and, if it is trained,
//! `V/momentum`; and the named vectors of the algorithm and of the topology statistics. `meta.json` holds the counters,
//! the sums of the epoch under way, the record of the last epoch with the best so far, the losses that spikes are judged
//! by, the settings that decide a result, and sizes and digests of everything. No state of a random generator is stored,
//! because there is none: data order, augmentation and every draw are functions of (seed, purpose, layer, step).
//!
//! **Commit.** The files are written to `.tmp-step-N-PID`, `meta.json` last, and synced; then the folder is synced,
//! renamed to a name that was never there, and its parent synced. Only then are old checkpoints removed. So nothing is
//! ever replaced, and there is one moment at which a checkpoint begins to exist. What an interrupted save leaves is
//! removed by the next one.
//!
//! **Digests.** CRC-32C of each file and of each tensor, and `meta.json` is sealed by one of its own bytes. It guards
//! against accidents, not against people: a CRC-32C finds every burst of up to 32 bits and, up to 256 MB, every three
//! flipped bits; anything else passes once in 2³² times. File and tensor digests are checked both, the header
//! belongs to the file, so no byte is left out. A checkpoint that somebody forged with right digests still has to pass
//! every check of shape, order and range.

mod flaw;
mod meta;
mod state;
mod store;

use std::path::{Path, PathBuf};

use bidst_data::Splits;

use crate::config::Config;
use crate::error::TrainError;
use crate::storage::Disk;
use crate::trainer::Trainer;

pub use flaw::Flaw;
pub(crate) use meta::DataMark;
pub use store::{Checkpoints, Found, PassedOver, Saved};

/// Saves the state of `trainer` in the run folder `run` and returns the folder of the checkpoint.
///
/// # Errors
/// [`TrainError::Save`]; the earlier checkpoints are then still there.
pub fn save(trainer: &Trainer, run: &Path) -> Result<PathBuf, TrainError> {
    Ok(Checkpoints::new(&Disk, run).save(trainer)?.path)
}

/// The newest checkpoint of a run folder that is whole.
///
/// # Errors
/// [`TrainError::CannotResume`] if there is none, [`TrainError::NoneIsWhole`] if all are damaged.
pub fn latest(run: &Path) -> Result<PathBuf, TrainError> {
    Ok(Checkpoints::new(&Disk, run).newest(None)?.path)
}

/// Brings a run back to the state in the folder `path`.
///
/// # Errors
/// [`TrainError::Checkpoint`] and the like if it is damaged or was made with another configuration.
pub fn load(path: &Path, config: Config, data: Splits) -> Result<Trainer, TrainError> {
    Checkpoints::open(&Disk, path, &config)?.load(config, data)
}
