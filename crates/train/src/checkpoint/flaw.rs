//! What can be wrong with a checkpoint folder.

use std::io;

use crate::text::plain;

/// Why a checkpoint is not used. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It is a file.
    #[error("it is a file, not a folder")]
    NotAFolder,
    /// The name is one of the layout before this one.
    #[error("it is of format 1, before checkpoints had digests; only the bidst that wrote it can resume it")]
    Outdated,
    /// A file is missing.
    #[error("{file} is missing")]
    Missing {
        /// The file.
        file: &'static str,
    },
    /// There is something that does not belong there.
    #[error("`{}` does not belong to a checkpoint; move it away", file.escape_debug())]
    Foreign {
        /// Its name.
        file: String,
    },
    /// The system cannot read it.
    #[error("cannot read {file}: {source}")]
    Unreadable {
        /// The file, or the folder.
        file: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// `meta.json` does not begin and end as it should.
    #[error("meta.json is cut, or none of bidst ({bytes} bytes)")]
    Unsealed {
        /// Its length.
        bytes: usize,
    },
    /// `meta.json` is not what was written.
    #[error("meta.json has changed since it was written: its digest is {found}, the bytes have {actual}")]
    SealBroken {
        /// The digest it states.
        found: String,
        /// The digest of its bytes.
        actual: String,
    },
    /// Written by a newer program.
    #[error("it is of format {found}, newer than {known}, the newest this program reads; use a newer bidst")]
    Newer {
        /// Its format.
        found: u32,
        /// Newest format known.
        known: u32,
    },
    /// `meta.json` lacks an entry, or has one of another kind.
    #[error("meta.json: {0}")]
    Meta(#[from] serde_json::Error),
    /// The folder's name does not fit its contents.
    #[error("it holds step {found}, not that of its name; name it as it was")]
    Renamed {
        /// Step of the contents.
        found: u64,
    },
    /// The data set has changed.
    #[error(
        "it was made with {was}; the data set now has {now}: restore the data, or train anew with the run's config.toml"
    )]
    Data {
        /// What the data set was.
        was: String,
        /// What it is.
        now: String,
    },
    /// Step and epoch do not fit the data set.
    #[error("step {step} is not in epoch {epoch} of a data set with {steps_per_epoch} steps per epoch")]
    Position {
        /// Steps done.
        step: u64,
        /// Epochs done.
        epoch: u64,
        /// Steps in an epoch.
        steps_per_epoch: u64,
    },
    /// A file is shorter or longer than it was.
    #[error("{file} has {found} bytes instead of {expected}")]
    Length {
        /// The file.
        file: &'static str,
        /// Its bytes; one more than expected stands for any number.
        found: u64,
        /// The bytes written.
        expected: u64,
    },
    /// A tensor is not what was written.
    #[error("{file}: tensor `{name}` has changed since it was written")]
    Tensor {
        /// The file.
        file: &'static str,
        /// The tensor.
        name: String,
    },
    /// The header of a file is not what was written.
    #[error("{file}: the header has changed since it was written, or the file is of another checkpoint")]
    Header {
        /// The file.
        file: &'static str,
    },
    /// It belongs to a run with other settings.
    #[error("it was made with `{}` {}, the run says {now}", key.escape_debug(), plain(was, 100))]
    Settings {
        /// The setting that differs.
        key: String,
        /// Its value in the checkpoint.
        was: String,
        /// Its value in the run.
        now: String,
    },
}
