//! The configuration of a run: one schema, read from TOML, flags and `--set`, every key with a default.
//!
//! The defaults are the demo: BiDST at 90% on the embedded data with the small convolutional network. Layers of
//! settings are merged by [`Builder`]; what comes out is *effective*: every value is written out and
//! [`Config::to_toml`] repeats the run.

mod builder;
mod check;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bidst_data::Augment;
use bidst_engine::Storage;
use bidst_topology::{Distribution, algorithms};
use serde::{Deserialize, Serialize};

pub use crate::kernels::KernelSetting;
pub use crate::lr::Schedule;
pub use builder::Builder;
pub(crate) use builder::merge;
pub use check::{ConfigError, Origin, Problem};

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

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// Seed of every random number (0).
    pub seed: u64,
    /// Folder in which the run folder is made (`runs`).
    pub output: PathBuf,
    /// Threads; 0, the default, means one per core. The result is the same for any number.
    pub threads: usize,
    /// A line in `metrics.jsonl` every this many steps (10).
    pub log_interval: u64,
    /// Whether TensorBoard's event files are written to `tb/` in the run folder (true).
    pub tensorboard: bool,
    /// Whether `report.html` and `report.png` are written to the run folder at the end (true).
    pub report: bool,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Name of the data set (`fashion-mini`, which is embedded).
    pub name: String,
    /// Folder of its files; data sets that are not embedded need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Random changes to training images: `crop:N` (zero padding by N, then a random crop) and `flip` (mirrored with
    /// probability one half). Left out: the data set's usual ones; empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<Vec<String>>,
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Name of the network (`small-cnn`).
    pub name: String,
    /// Factor on the number of channels (1.0).
    pub width: f64,
}

/// `[train]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Passes over the training images (20).
    pub epochs: u64,
    /// Images in a step (128).
    pub batch_size: usize,
    /// Label smoothing, from 0 (none, the default) to below 1.
    pub smoothing: f64,
}

/// `[optim]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optim {
    /// Learning rate after the warm-up (0.1).
    pub lr: f64,
    /// Momentum (0.9).
    pub momentum: f64,
    /// Nesterov's form of momentum (true).
    pub nesterov: bool,
    /// L2 coefficient, on all trainable parameters (5e-4).
    pub weight_decay: f64,
    /// `cosine` (every step, to 0) or `multistep`.
    pub schedule: Schedule,
    /// Fractions of the run at which a multi-step rate falls ([0.5, 0.75]).
    pub milestones: Vec<f64>,
    /// Factor of each fall (0.1).
    pub gamma: f64,
    /// Epochs of linear warm-up; may be fractional (0.0).
    pub warmup_epochs: f64,
}

/// `[sparsity]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sparsity {
    /// Share of the weights of the sparsified layers that do not exist, 0 to below 1 (0.9).
    pub level: f64,
    /// How the non-zeros are shared out between layers: `uniform` or `erk` (the default).
    pub distribution: Distribution,
    /// Layers that stay dense, by name or with `*` and `?`. Left out: MEST's profile, that is the first convolution,
    /// 1x1 shortcut convolutions and the last linear layer, and depthwise convolutions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dense_layers: Option<Vec<String>>,
    /// Sparsity of single layers, by name or with `*` and `?`; `level` then holds for the others.
    #[serde(rename = "override")]
    pub overrides: BTreeMap<String, f64>,
}

/// `[algorithm]`: a name, and beside it the parameters of that algorithm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Algorithm {
    /// Name in the list of algorithms (`bidst`).
    pub name: String,
    /// Its parameters, as `bidst algorithms NAME` lists them.
    #[serde(flatten)]
    pub parameters: toml::Table,
}

/// `[engine]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// How activations and their gradients are stored: `f32` (the default) or `bf16`, which halves their memory and its
    /// traffic. Arithmetic is f32 either way, and so are weights.
    pub activations: Activations,
    /// Which layers use dense kernels: `rule` (by density, the default), `auto` (whichever is faster, measured at the
    /// start), `sparse`, `dense`, or the `kernels.json` of an earlier run.
    pub kernels: KernelSetting,
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

impl Default for Run {
    fn default() -> Run {
        Run { seed: 0, output: PathBuf::from("runs"), threads: 0, log_interval: 10, tensorboard: true, report: true }
    }
}

impl Default for Data {
    fn default() -> Data {
        Data { name: "fashion-mini".to_owned(), dir: None, augment: None }
    }
}

impl Default for Model {
    fn default() -> Model {
        Model { name: "small-cnn".to_owned(), width: 1.0 }
    }
}

impl Default for Train {
    fn default() -> Train {
        Train { epochs: 20, batch_size: 128, smoothing: 0.0 }
    }
}

impl Default for Optim {
    fn default() -> Optim {
        Optim {
            lr: 0.1,
            momentum: 0.9,
            nesterov: true,
            weight_decay: 5e-4,
            schedule: Schedule::Cosine,
            milestones: vec![0.5, 0.75],
            gamma: 0.1,
            warmup_epochs: 0.0,
        }
    }
}

impl Default for Sparsity {
    fn default() -> Sparsity {
        Sparsity { level: 0.9, distribution: Distribution::Erk, dense_layers: None, overrides: BTreeMap::new() }
    }
}

impl Default for Algorithm {
    fn default() -> Algorithm {
        Algorithm { name: "bidst".to_owned(), parameters: toml::Table::new() }
    }
}

impl Config {
    /// The configuration as TOML; [`Builder::file`] reads it back to an equal one.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration has only string keys and finite tables")
    }

    /// A configuration in which every key of the schema is present: the reference that unknown keys and wrong types are
    /// checked against.
    fn with_every_key() -> Config {
        let mut config = Config::default();
        config.data.dir = Some(PathBuf::new());
        config.data.augment = Some(Vec::new());
        config.sparsity.dense_layers = Some(Vec::new());
        config
    }

    /// Writes out what was left to the data set and the algorithm, so that the result says everything. An algorithm that
    /// trains every weight sets the sparsity to 0.
    fn fill_in(&mut self) {
        if self.data.augment.is_none()
            && let Some(source) = bidst_data::list().iter().find(|source| source.name == self.data.name)
        {
            self.data.augment = Some(augment_words(source.augment));
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
        let mut augment = Augment::NONE;
        for word in self.data.augment.iter().flatten() {
            apply_augment_word(&mut augment, word);
        }
        augment
    }
}

/// Reads one word of `[data] augment` into `augment`; false if it is not one.
fn apply_augment_word(augment: &mut Augment, word: &str) -> bool {
    match word.split_once(':') {
        None if word == "flip" => augment.flip = true,
        Some(("crop", padding)) => match padding.parse() {
            Ok(padding @ 1..=64) => augment.crop_padding = padding,
            _ => return false,
        },
        _ => return false,
    }
    true
}

/// The words that [`apply_augment_word`] reads back.
fn augment_words(augment: Augment) -> Vec<String> {
    let crop = (augment.crop_padding > 0).then(|| format!("crop:{}", augment.crop_padding));
    crop.into_iter().chain(augment.flip.then(|| "flip".to_owned())).collect()
}
