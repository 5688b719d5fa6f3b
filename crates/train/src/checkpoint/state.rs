//! From a trainer to bytes and back.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::path::Path;

use bidst_data::Splits;
use bidst_model::WeightSpec;
use bidst_topology::State;

use super::flaw::Flaw;
use super::meta::{FORMAT, Meta, STATE};
use crate::config::Config;
use crate::error::{ModelFileError, TrainError};
use crate::settings;
use crate::setup;
use crate::sparsity::Allocation;
use crate::tensors::{TensorReader, TensorWriter};
use crate::trainer::Trainer;

/// The state of a trainer between two steps. Every field is named, so that a new one cannot be forgotten.
pub(super) fn encode(trainer: &Trainer) -> Result<(Meta, Vec<u8>), ModelFileError> {
    let Trainer {
        config,
        network,
        algorithm,
        sparse,
        stats,
        step,
        epoch,
        last,
        tally,
        start,
        spikes,
        data,
        // Functions of configuration and data.
        train: _,
        test: _,
        graph: _,
        allocation: _,
        layers: _,
        cost: _,
        rate: _,
        // Set anew in every step.
        probes: _,
        mask_time: _,
        guard: _,
        spike: _,
        // A function of (seed, epoch, index).
        running: _,
        // Of this process.
        scoring: _,
    } = trainer;
    let mut writer = TensorWriter::default();
    for (at, tensor) in network.weights().iter().enumerate() {
        let (name, nnz) = (tensor.name(), [tensor.nnz()]);
        if sparse.contains(&at) {
            writer.add(format!("{name}/indices"), &nnz, tensor.index());
        }
        writer.add(format!("{name}/values"), &nnz, tensor.values());
        writer.add(format!("{name}/momentum"), &nnz, tensor.momentum());
    }
    for vector in network.vectors() {
        writer.add(format!("{}/values", vector.name), &[vector.values.len()], &vector.values);
        if vector.trainable {
            writer.add(format!("{}/momentum", vector.name), &[vector.momentum.len()], &vector.momentum);
        }
    }
    let states = [("algorithm", algorithm.save()), ("stats", stats.save())];
    for (owner, State { f32s, u32s, u64s }) in &states {
        f32s.iter().for_each(|(name, values)| writer.add(format!("{owner}/f32/{name}"), &[values.len()], values));
        u32s.iter().for_each(|(name, values)| writer.add(format!("{owner}/u32/{name}"), &[values.len()], values));
        u64s.iter().for_each(|(name, values)| writer.add(format!("{owner}/u64/{name}"), &[values.len()], values));
    }
    let state = writer.finish("checkpoint")?;
    let mut meta = Meta {
        format: FORMAT,
        step: *step,
        epoch: *epoch,
        last: last.clone(),
        tally: tally.clone(),
        start: *start,
        losses: spikes.losses().collect(),
        settings: settings::of_the_state(config),
        data: *data,
        files: BTreeMap::new(),
        tensors: BTreeMap::new(),
    };
    meta.digest(&state);
    Ok((meta, state))
}

/// A trainer with the state in `bytes`, which were read from the folder `path`.
pub(super) fn decode(
    path: &Path,
    meta: Meta,
    bytes: &[u8],
    config: Config,
    data: Splits,
) -> Result<Trainer, TrainError> {
    let file = path.join(STATE);
    let invalid = |reason| TrainError::ModelFile { path: file.clone(), reason };
    let mut reader = TensorReader::new(bytes).map_err(invalid)?;
    let graph = setup::graph(&config, &data.train)?;
    let allocation = Allocation::new(&graph, &config.sparsity)?;
    let patterns = patterns(&mut reader, &allocation).map_err(invalid)?;
    let mut trainer = Trainer::with_patterns(config, data, graph, allocation, patterns)?;
    parameters(&mut reader, &mut trainer).map_err(invalid)?;
    let unfit = |source| TrainError::State { path: path.to_owned(), source };
    let algorithm = state(&mut reader, "algorithm").map_err(invalid)?;
    trainer.algorithm.load(&algorithm).map_err(unfit)?;
    let stats = state(&mut reader, "stats").map_err(invalid)?;
    trainer.stats.load(&stats).map_err(unfit)?;
    reader.finish().map_err(invalid)?;

    let (was, now) = (meta.data, trainer.data);
    if was != now {
        let flaw = Flaw::Data { was: was.to_string(), now: now.to_string() };
        return Err(TrainError::Checkpoint { path: path.to_owned(), flaw });
    }
    let (step, epoch) = (meta.step, meta.epoch);
    let steps_per_epoch = trainer.train.batches_per_epoch() as u64;
    let under_way = epoch.checked_mul(steps_per_epoch).and_then(|done| step.checked_sub(done));
    if under_way.is_none_or(|steps| steps > steps_per_epoch) || epoch > trainer.config.train.epochs {
        let flaw = Flaw::Position { step, epoch, steps_per_epoch };
        return Err(TrainError::Checkpoint { path: path.to_owned(), flaw });
    }
    (trainer.step, trainer.epoch, trainer.last) = (step, epoch, meta.last);
    (trainer.tally, trainer.start) = (meta.tally, meta.start);
    trainer.spikes.set_losses(meta.losses);
    Ok(trainer)
}

fn patterns(reader: &mut TensorReader<'_>, allocation: &Allocation) -> Result<Vec<Option<Vec<u32>>>, ModelFileError> {
    let pattern = |(weight, nnz): (&WeightSpec, &Option<usize>)| {
        nnz.map(|_| reader.indices(&format!("{}/indices", weight.name), weight.len())).transpose()
    };
    allocation.weights.iter().zip(&allocation.nnz).map(pattern).collect()
}

fn parameters(reader: &mut TensorReader<'_>, trainer: &mut Trainer) -> Result<(), ModelFileError> {
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
