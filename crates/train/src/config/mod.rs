//! The configuration of a run: one schema, read from TOML, flags and `--set`, every key with a default.
//!
//! The defaults are the demo: BiDST at 90% on the embedded data with the small convolutional network. Layers of
//! settings are merged by [`Builder`]; what comes out is *effective*: every value is written out and
//! [`Config::to_toml`] repeats the run.

mod augment;
mod builder;
mod check;
mod key;
mod options;
mod problem;
mod schema;
mod sections;
mod show;
mod tables;

use std::collections::BTreeMap;

use bidst_data::Augment;
use bidst_engine::Storage;
use bidst_topology::algorithms;
use serde::{Deserialize, Serialize};

pub use crate::kernels::KernelSetting;
pub use crate::lr::Schedule;
pub use crate::spikes::OnSpike;
pub(crate) use builder::merge;
pub use builder::{Builder, MAX_BYTES};
pub use key::{Bounds, Key, Kind};
pub(crate) use options::any_run;
pub use options::{AlgorithmOption, OptionKind, options};
pub use problem::{ConfigError, Origin, Origins, Problem};
pub use schema::json_schema;
pub use sections::{Algorithm, Data, Engine, Model, Optim, Run, SECTIONS, Section, Sparsity, Train, keys};
pub use show::Effective;
pub use tables::tables;

/// Everything that decides a run, but for the version of the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where and how the run is carried out.
    pub run: Run,
    /// What it learns from.
    pub data: Data,
    /// The network.
    pub model: Model,
    /// The length of training and the loss.
    pub train: Train,
    /// Stochastic gradient descent and its learning rate.
    pub optim: Optim,
    /// How many weights exist, and in which layers.
    pub sparsity: Sparsity,
    /// How steps are computed.
    pub engine: Engine,
    /// How the pattern of non-zeros is learned.
    pub algorithm: Algorithm,
}

/// What a checkpoint that cannot be written leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSaveError {
    /// The run ends; what was saved before is still there.
    #[default]
    Stop,
    /// A note; the run goes on and tries again with the next checkpoint.
    Warn,
}

/// A number format of activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activations {
    /// 32 bits.
    #[default]
    F32,
    /// The upper 16 of them, rounded to nearest even.
    Bf16,
}

impl From<Activations> for Storage {
    fn from(activations: Activations) -> Storage {
        match activations {
            Activations::F32 => Storage::F32,
            Activations::Bf16 => Storage::Bf16,
        }
    }
}

impl Config {
    /// The configuration as TOML; [`Builder::file`] reads it back to an equal one.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration has only string keys and finite tables")
    }

    /// Writes out what was left to the data set and the algorithm, so that the result says everything. An algorithm that
    /// trains every weight sets the sparsity to 0.
    pub(crate) fn fill_in(&mut self) {
        if self.data.augment.is_none()
            && let Some(source) = bidst_data::list().iter().find(|source| source.name == self.data.name)
        {
            self.data.augment = Some(augment::words(source.augment));
        }
        if let Ok(entry) = algorithms::find(&self.algorithm.name) {
            if entry.dense {
                self.sparsity = Sparsity { level: 0.0, overrides: BTreeMap::new(), ..self.sparsity.clone() };
            }
            let mut parameters = (entry.defaults)();
            builder::merge(&mut parameters, self.algorithm.parameters.clone());
            self.algorithm.parameters = parameters;
        }
    }

    /// The augmentation that `[data] augment` asks for; `NONE` when it is left out.
    pub fn augment(&self) -> Augment {
        augment::read(self.data.augment.iter().flatten().map(String::as_str))
    }
}
