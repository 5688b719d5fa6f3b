//! Complete states of a run, from which it continues bit for bit.
//!
//! A checkpoint is a folder `checkpoints/epoch-00003` with two files. `state.safetensors` holds per weight `W`
//! `W/indices` (sparse ones only), `W/values` and `W/momentum`; per vector `V` `V/values` and, if it is trained,
//! `V/momentum`; and the named vectors of the algorithm and of the topology statistics. `meta.json` says how far the run was.
//!
//! The folder is written under another name, flushed to the disk, and renamed: it is there in whole or not at all. No
//! state of a random generator is stored, because there is none: data order, augmentation and every draw are functions
//! of (seed, purpose, layer, step).

use std::fs;
use std::path::{Path, PathBuf};

use bidst_data::Splits;
use bidst_topology::State;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::{ModelFileError, TrainError};
use crate::files::{sync_folder, write_synced};
use crate::metrics::EpochRecord;
use crate::setup;
use crate::sparsity::Allocation;
use crate::tensors::{TensorReader, TensorWriter};
use crate::trainer::Trainer;

/// Version of the layout.
const VERSION: u32 = 1;
/// Checkpoints that are kept; older ones are removed after a new one is complete.
const KEEP: usize = 2;

/// How far the run was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Meta {
    version: u32,
    steps: u64,
    epochs: u64,
    last: Option<EpochRecord>,
}

/// Saves the state of `trainer` in the run folder `run` and returns the folder of the checkpoint.
///
/// # Errors
/// [`TrainError::Io`]; the earlier checkpoints are then still there.
pub fn save(trainer: &Trainer, run: &Path) -> Result<PathBuf, TrainError> {
    let folder = run.join("checkpoints");
    let path = folder.join(format!("epoch-{:05}", trainer.epoch));
    let partial = folder.join(".partial");
    let invalid = |reason: ModelFileError| TrainError::ModelFile { path: path.clone(), reason };
    let meta = Meta { version: VERSION, steps: trainer.step, epochs: trainer.epoch, last: trainer.last.clone() };
    let meta = serde_json::to_string(&meta).expect("a record has only string keys");

    remove_if_there(&partial)?;
    fs::create_dir_all(&partial).map_err(TrainError::io("create", &partial))?;
    write_synced(&partial.join("state.safetensors"), &encode(trainer).finish(&meta).map_err(invalid)?)?;
    write_synced(&partial.join("meta.json"), meta.as_bytes())?;
    sync_folder(&partial)?;
    remove_if_there(&path)?;
    fs::rename(&partial, &path).map_err(TrainError::io("rename", &partial))?;
    sync_folder(&folder)?;

    let complete = list(run)?;
    for old in complete.iter().rev().skip(KEEP) {
        remove_if_there(old)?;
    }
    Ok(path)
}

/// The newest checkpoint of a run folder.
///
/// # Errors
/// [`TrainError::CannotResume`] if there is none, [`TrainError::Io`].
pub fn latest(run: &Path) -> Result<PathBuf, TrainError> {
    let reason = "it has no checkpoint (one is written after every epoch); train anew with its config.toml";
    list(run)?.pop().ok_or_else(|| TrainError::CannotResume { path: run.to_owned(), reason })
}

/// Brings a run back to the state in `path`.
///
/// # Errors
/// [`TrainError::Checkpoint`] and the like if it is damaged or was made with another configuration.
pub fn load(path: &Path, config: Config, data: Splits) -> Result<Trainer, TrainError> {
    let file = path.join("state.safetensors");
    let bytes = fs::read(&file).map_err(TrainError::io("read", &file))?;
    let invalid = |reason| TrainError::ModelFile { path: file.clone(), reason };
    let mut reader = TensorReader::new(&bytes).map_err(invalid)?;
    let meta: Meta = serde_json::from_str(&reader.metadata).map_err(|error| invalid(error.into()))?;
    if meta.version != VERSION {
        return Err(invalid(ModelFileError::Version { found: meta.version, known: VERSION }));
    }

    let graph = setup::graph(&config, &data.train)?;
    let allocation = Allocation::new(&graph, &config.sparsity)?;
    let patterns = patterns(&mut reader, &allocation).map_err(invalid)?;
    let mut trainer = Trainer::with_patterns(config, data, graph, allocation, patterns)?;
    decode(&mut reader, &mut trainer).map_err(invalid)?;
    let unfit = |source| TrainError::State { path: path.to_owned(), source };
    let algorithm = state(&mut reader, "algorithm").map_err(invalid)?;
    trainer.algorithm.load(&algorithm).map_err(unfit)?;
    let stats = state(&mut reader, "stats").map_err(invalid)?;
    trainer.stats.load(&stats).map_err(unfit)?;
    reader.finish().map_err(invalid)?;
    (trainer.step, trainer.epoch, trainer.last) = (meta.steps, meta.epochs, meta.last);
    if trainer.step != trainer.epoch * trainer.train.batches_per_epoch() as u64 {
        let reason = format!("{} steps are not {} epochs of this data set", meta.steps, meta.epochs);
        return Err(TrainError::Checkpoint { path: path.to_owned(), reason });
    }
    Ok(trainer)
}

/// Complete checkpoints, oldest first.
fn list(run: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let folder = run.join("checkpoints");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(TrainError::io("read", &folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("epoch-") && path.join("meta.json").is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn remove_if_there(path: &Path) -> Result<(), TrainError> {
    if path.exists() { fs::remove_dir_all(path).map_err(TrainError::io("remove", path)) } else { Ok(()) }
}

fn encode(trainer: &Trainer) -> TensorWriter {
    let mut writer = TensorWriter::default();
    for (at, tensor) in trainer.network.weights().iter().enumerate() {
        let (name, nnz) = (tensor.name(), [tensor.nnz()]);
        if trainer.sparse.contains(&at) {
            writer.add(format!("{name}/indices"), &nnz, tensor.index());
        }
        writer.add(format!("{name}/values"), &nnz, tensor.values());
        writer.add(format!("{name}/momentum"), &nnz, tensor.momentum());
    }
    for vector in trainer.network.vectors() {
        writer.add(format!("{}/values", vector.name), &[vector.values.len()], &vector.values);
        if vector.trainable {
            writer.add(format!("{}/momentum", vector.name), &[vector.momentum.len()], &vector.momentum);
        }
    }
    for (owner, state) in [("algorithm", trainer.algorithm.save()), ("stats", trainer.stats.save())] {
        let State { f32s, u32s, u64s } = state;
        f32s.iter().for_each(|(name, values)| writer.add(format!("{owner}/f32/{name}"), &[values.len()], values));
        u32s.iter().for_each(|(name, values)| writer.add(format!("{owner}/u32/{name}"), &[values.len()], values));
        u64s.iter().for_each(|(name, values)| writer.add(format!("{owner}/u64/{name}"), &[values.len()], values));
    }
    writer
}

fn patterns(reader: &mut TensorReader<'_>, allocation: &Allocation) -> Result<Vec<Option<Vec<u32>>>, ModelFileError> {
    let pattern = |(weight, nnz): (&bidst_model::WeightSpec, &Option<usize>)| {
        nnz.map(|_| reader.indices(&format!("{}/indices", weight.name), weight.len())).transpose()
    };
    allocation.weights.iter().zip(&allocation.nnz).map(pattern).collect()
}

fn decode(reader: &mut TensorReader<'_>, trainer: &mut Trainer) -> Result<(), ModelFileError> {
    for tensor in trainer.network.weights_mut() {
        let (name, nnz) = (tensor.name().to_owned(), [tensor.nnz()]);
        tensor.values_mut().copy_from_slice(&reader.finite(&format!("{name}/values"), &nnz)?);
        tensor.momentum_mut().copy_from_slice(&reader.finite(&format!("{name}/momentum"), &nnz)?);
    }
    for vector in trainer.network.vectors_mut() {
        let len = [vector.values.len()];
        vector.values = reader.finite(&format!("{}/values", vector.name), &len)?;
        if vector.trainable {
            vector.momentum = reader.finite(&format!("{}/momentum", vector.name), &len)?;
        }
    }
    Ok(())
}

fn state(reader: &mut TensorReader<'_>, owner: &str) -> Result<State, ModelFileError> {
    let mut state = State::default();
    for name in reader.names(&format!("{owner}/")) {
        let place = name.strip_prefix(owner).and_then(|rest| rest.get(1..));
        match place.and_then(|place| place.split_once('/')) {
            Some(("f32", key)) => drop(state.f32s.insert(key.to_owned(), reader.vector(&name)?)),
            Some(("u32", key)) => drop(state.u32s.insert(key.to_owned(), reader.vector(&name)?)),
            Some(("u64", key)) => drop(state.u64s.insert(key.to_owned(), reader.vector(&name)?)),
            _ => return Err(ModelFileError::Unexpected { name }),
        }
    }
    Ok(state)
}
