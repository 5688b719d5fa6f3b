//! The verbs, one file each.

pub mod algorithms;
pub mod bench;
pub mod compare;
pub mod completions;
pub mod config;
pub mod data;
pub mod demo;
pub mod eval;
pub mod export;
pub mod import;
pub mod inspect;
pub mod report;
pub mod settings;
pub mod train;

use std::fs;
use std::path::{Path, PathBuf};

use bidst_train::run_dir::RunDir;

use crate::exit::UsageError;

/// The model file that `path`, a run folder or such a file itself, stands for.
fn model_file(path: &Path) -> Result<PathBuf, UsageError> {
    let file = if path.is_dir() { RunDir::model_path(path) } else { path.to_owned() };
    if file.is_file() {
        return Ok(file);
    }
    let reason = match (path.is_dir(), path.join("config.toml").is_file()) {
        (true, true) => "holds no model.safetensors (the run is not finished; `bidst train --resume` continues it)",
        (true, false) => "is not a run folder: it holds neither config.toml nor model.safetensors",
        (false, _) if path.exists() => "is neither a run folder nor a regular file",
        (false, _) => "no such run folder or model file",
    };
    Err(UsageError(format!("{}: {reason}", path.display())))
}

/// Whether both paths lead to one file that is there.
fn is_same_file(a: &Path, b: &Path) -> bool {
    fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}
