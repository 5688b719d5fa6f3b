//! The run that another one is shown against: the same network, data, epochs and seed, trained dense or with a fixed
//! pattern.

use std::fs;
use std::path::{Path, PathBuf};

use super::records::Records;
use crate::config::Config;

/// Folders beside a run that are looked at.
const MAX_NEIGHBOURS: usize = 2_000;

/// Looks for the twin of a run among the folders beside it: a dense one before a static one, a later name before an
/// earlier one. Folders without a single epoch do not count.
pub fn find(run: &Records) -> Option<Records> {
    let config = run.config.as_ref()?;
    let full = fs::canonicalize(&run.path).ok()?;
    let entries = fs::read_dir(full.parent()?).ok()?.take(MAX_NEIGHBOURS);
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.reverse();
    let other = |path: &&PathBuf| **path != full && path.is_dir();
    let mut found: Vec<(u8, PathBuf)> =
        paths.iter().filter(other).filter_map(|path| Some((rank(config, path)?, path.clone()))).collect();
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, path)| Records::read(&path)).find(|twin| !twin.epochs.is_empty())
}

/// 0 for a dense twin, 1 for a static one, `None` for any other run.
fn rank(config: &Config, path: &Path) -> Option<u8> {
    let other = Records::config_of(path)?;
    let rank = match other.algorithm.name.as_str() {
        "dense" => 0,
        "static" if other.sparsity == config.sparsity => 1,
        _ => return None,
    };
    let key = |config: &Config| {
        let Config { data, model, train, run, .. } = config;
        (data.name.clone(), model.clone(), train.epochs, run.seed)
    };
    let is_itself = other.algorithm.name == config.algorithm.name;
    (key(&other) == key(config) && !is_itself).then_some(rank)
}
