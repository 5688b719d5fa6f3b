//! The sections and keys: their types, defaults, what they may hold, their flags and what they mean, each written once.
//!
//! To add a key, add it to its section below. Checks, `--set`, `bidst config`, the tables of `docs/config.md` (run its test
//! with `BIDST_BLESS=1`) and the help of its flag follow; a key with a flag needs nothing else either.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bidst_data::folder::MAX_SIDE;
use bidst_data::{DataError, OpenOptions, Opened};
use bidst_topology::{Distribution, algorithms};
use serde::{Deserialize, Serialize};

use super::key::{Bounds, Key, Kind};
use super::{Activations, OnSaveError, augment};
use crate::kernels::KernelSetting;
use crate::lr::Schedule;
use crate::spikes::OnSpike;

/// The largest integer of TOML.
const ANY: u64 = i64::MAX as u64;

/// Declares a section: the structure, its defaults, and the list of its keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident in $section:literal {
            $(
                $(#[doc = $doc:literal])+
                $field:ident $(as $key:literal)?: $type:ty = $default:expr, $kind:expr $(, $flag:literal $($short:literal)?)?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $doc])+ $(#[serde(rename = $key)])? pub $field: $type, )+
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default),+ }
            }
        }

        impl $name {
            const SECTION: Section = Section {
                name: $section,
                about: &[$($about),+],
                keys: &[$(Key {
                    name: dotted!($section, $field $($key)?),
                    kind: $kind,
                    doc: &[$($doc),+],
                    flag: optional!($($flag)?),
                    short: optional!($($($short)?)?),
                }),+],
            };
        }
    };
}

macro_rules! dotted {
    ($section:literal, $field:ident) => {
        concat!($section, ".", stringify!($field))
    };
    ($section:literal, $field:ident $key:literal) => {
        concat!($section, ".", $key)
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

section! {
    /// Where and how the run is carried out.
    Run in "run" {
        /// Seed of every random number
        seed: u64 = 0, Kind::Integer(0, ANY), "seed";
        /// Folder in which the run folder is made
        output: PathBuf = PathBuf::from("runs"), Kind::Path, "output";
        /// Threads; 0 means one per core. The result is the same for any number
        threads: usize = 0, Kind::Integer(0, 1024), "threads" 'j';
        /// Steps from one line of `metrics.jsonl` to the next
        log_interval: u64 = 10, Kind::Integer(1, ANY);
        /// Steps from one checkpoint to the next; one is written after every epoch too, and with 0 only then
        checkpoint_interval: u64 = 1000, Kind::Integer(0, ANY);
        /// What a checkpoint or a record that cannot be written leads to: the end of the run, or a warning and another try later
        on_save_error: OnSaveError = OnSaveError::Stop, Kind::Choice(|| vec!["stop", "warn"]);
        /// Memory that the run may take; one that is predicted to take more does not start. Left out: what the machine has
        max_memory: Option<String> = None, Kind::Size, "max-memory";
        /// Whether TensorBoard's event files are written to `tb/` in the run folder
        tensorboard: bool = true, Kind::Boolean;
        /// Whether `report.html` and `report.png` are written to the run folder at the end
        report: bool = true, Kind::Boolean;
    }
}

section! {
    /// What the network learns from.
    Data in "data" {
        /// Name of the data set; `fashion-mini` is built in
        name: String = "fashion-mini".to_owned(), Kind::Choice(data_sets), "dataset";
        /// Folder of its files; data sets that are not built in need it
        dir: Option<PathBuf> = None, Kind::Path, "data-dir";
        /// Random changes to training images: `crop:N` (zero padding by N, then a random crop), `resized-crop` (a part of 8 to
        /// 100% of the area, resized) and `flip` (mirrored with probability one half). Left out: the data set's usual ones;
        /// empty: none
        augment: Option<Vec<String>> = None, Kind::Words("`flip`, `resized-crop`, `crop:N` with N from 1 to 64", augment::problem);
        /// Damaged records or image files that are left out; with more the run is refused
        skip_bad: usize = 0, Kind::Integer(0, ANY);
        /// Threads that read and prepare images ahead of the training, up to two batches each; with 0 the training does it
        /// itself. The result is the same for any number
        workers: usize = 1, Kind::Integer(0, 64);
        /// Side of the squares that image files are shown as
        size: usize = 224, Kind::Integer(1, MAX_SIDE as u64);
        /// Shorter side that image files are resized to before a square is cut out of them
        resize: usize = 256, Kind::Integer(1, MAX_SIDE as u64);
        /// Folder for resized image files; left out: `.bidst-cache` in `dir`
        cache: Option<PathBuf> = None, Kind::Path;
    }
}

impl Data {
    /// Opens the data set.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn open(&self) -> Result<Opened, DataError> {
        let Data { ref dir, skip_bad, size, resize, ref cache, .. } = *self;
        let options = OpenOptions { dir: dir.as_deref(), skip_bad, size, resize, cache: cache.as_deref() };
        bidst_data::open_with(&self.name, &options)
    }
}

section! {
    /// The network.
    Model in "model" {
        /// Name of the network
        name: String = "small-cnn".to_owned(), Kind::Choice(models), "model";
        /// Factor on its number of channels
        width: f64 = 1.0, Kind::Number(Bounds::positive(64.0)), "width";
        /// A safetensors file to start from, dense or sparse: a model of bidst, or a PyTorch state with torchvision's
        /// names; left out: random weights
        init: Option<PathBuf> = None, Kind::Path, "init";
    }
}

section! {
    /// The length of training, and the loss.
    Train in "train" {
        /// Passes over the training images
        epochs: u64 = 20, Kind::Integer(1, 1_000_000), "epochs";
        /// Images in a step
        batch_size: usize = 128, Kind::Integer(1, 65_536), "batch-size" 'b';
        /// Label smoothing: the share of the target that goes to all classes alike
        smoothing: f64 = 0.0, Kind::Number(Bounds::SHARE);
        /// When the loss of a step stands out from those before it: a warning, a step that is left out, or the end
        on_spike: OnSpike = OnSpike::Warn, Kind::Choice(|| vec!["warn", "skip", "stop"]), "on-spike";
    }
}

section! {
    /// Stochastic gradient descent and its learning rate.
    Optim in "optim" {
        /// Learning rate after the warm-up
        lr: f64 = 0.1, Kind::Number(Bounds::NATURAL), "lr";
        /// Momentum
        momentum: f64 = 0.9, Kind::Number(Bounds::SHARE), "momentum";
        /// Nesterov's form of momentum
        nesterov: bool = true, Kind::Boolean;
        /// L2 coefficient, on all trainable parameters
        weight_decay: f64 = 5e-4, Kind::Number(Bounds::NATURAL), "weight-decay";
        /// Shape of the learning rate: `cosine` falls every step, to 0; `multistep` at the milestones
        schedule: Schedule = Schedule::Cosine, Kind::Choice(|| vec!["cosine", "multistep"]);
        /// Shares of the run at which a multi-step rate falls
        milestones: Vec<f64> = vec![0.5, 0.75], Kind::Numbers(Bounds::SHARE);
        /// Factor of each fall
        gamma: f64 = 0.1, Kind::Number(Bounds::NATURAL);
        /// Epochs of linear warm-up; may be a fraction
        warmup_epochs: f64 = 0.0, Kind::Number(Bounds::NATURAL);
    }
}

section! {
    /// How many weights exist, and in which layers.
    Sparsity in "sparsity" {
        /// Share of the weights of the sparsified layers that do not exist, such as 0.9
        level: f64 = 0.9, Kind::Number(Bounds::SHARE), "sparsity";
        /// How non-zeros are shared out between layers: the same density everywhere, or more where layers are small
        distribution: Distribution = Distribution::Erk, Kind::Choice(|| vec!["uniform", "erk"]), "distribution";
        /// Layers that stay dense, by name or with `*` and `?`. Left out: the first convolution, 1x1 shortcut convolutions,
        /// depthwise convolutions and the last linear layer
        dense_layers: Option<Vec<String>> = None, Kind::Words("layer names", |_| None);
        /// Sparsity of single layers, by name or with `*` and `?`; `level` then holds for the others
        overrides as "override": BTreeMap<String, f64> = BTreeMap::new(), Kind::Levels(Bounds::SHARE);
    }
}

section! {
    /// How steps are computed.
    Engine in "engine" {
        /// How activations and their gradients are stored: `bf16` halves their memory. Arithmetic is f32 either way, and so
        /// are weights
        activations: Activations = Activations::F32, Kind::Choice(|| vec!["f32", "bf16"]), "activations";
        /// Which layers use dense kernels: by density (`rule`), whichever is faster when measured at the start (`auto`), all
        /// of one kind, or those of a file such as `RUN/kernels.json`
        kernels: KernelSetting = KernelSetting::Rule, Kind::ChoiceOrFile(KernelSetting::names), "kernels";
    }
}

/// How the pattern of non-zeros is learned: a name, and beside it the parameters of that algorithm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Algorithm {
    /// Name in the list of algorithms.
    pub name: String,
    /// Its parameters, as `bidst algorithms NAME` lists them.
    #[serde(flatten)]
    pub parameters: toml::Table,
}

impl Default for Algorithm {
    fn default() -> Algorithm {
        Algorithm { name: "bidst".to_owned(), parameters: toml::Table::new() }
    }
}

impl Algorithm {
    const SECTION: Section = Section {
        name: "algorithm",
        about: &["How the pattern of non-zeros is learned. Beside the name stand the options of that algorithm."],
        keys: &[Key {
            name: "algorithm.name",
            kind: Kind::Choice(algorithm_names),
            doc: &["How the pattern is learned"],
            flag: Some("algorithm"),
            short: None,
        }],
    };
}

/// A section of the file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// About it, line by line.
    pub about: &'static [&'static str],
    /// Its keys.
    pub keys: &'static [Key],
}

/// All sections, in the order of [`Config`](super::Config). Beside its name, `algorithm` takes the options of that algorithm.
pub const SECTIONS: &[Section] = &[
    Run::SECTION,
    Data::SECTION,
    Model::SECTION,
    Train::SECTION,
    Optim::SECTION,
    Sparsity::SECTION,
    Engine::SECTION,
    Algorithm::SECTION,
];

/// All keys, section by section.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

fn data_sets() -> Vec<&'static str> {
    bidst_data::list().iter().map(|source| source.name).collect()
}

fn models() -> Vec<&'static str> {
    bidst_model::zoo::list().iter().map(|entry| entry.name).collect()
}

fn algorithm_names() -> Vec<&'static str> {
    algorithms::list().iter().map(|entry| entry.name).collect()
}
