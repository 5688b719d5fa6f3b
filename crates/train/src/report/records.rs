//! What a run folder says, as far as it says anything: a file that is missing, cut or damaged costs what was in it and
//! leaves a note, never an error.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use bidst_engine::Choice;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::font::plain;
use crate::config::{Builder, Config};
use crate::inventory::Inventory;
use crate::metrics::SpikeRecord;
use crate::run_dir::{Manifest, RunDir};
use crate::session::Outcome;

/// Bytes of a line, or of a JSON file, above which it is not read.
const MAX_BYTES: u64 = 8 << 20;
/// Lines of a file above which the rest is not read.
const MAX_LINES: usize = 5_000_000;
/// Sizes above which a number is taken for damage.
const MAX_SIZE: f64 = 1e30;
/// The same, for seconds.
const MAX_SECONDS: f64 = 1e9;

/// A run.
#[derive(Debug, Default)]
pub struct Records {
    /// Its folder.
    pub path: PathBuf,
    /// Name of the folder.
    pub name: String,
    /// Its settings.
    pub config: Option<Config>,
    /// Its circumstances.
    pub manifest: Option<Manifest>,
    /// Its result.
    pub outcome: Option<Outcome>,
    /// Layers and bytes.
    pub inventory: Option<Inventory>,
    /// Kernels of its layers.
    pub kernels: Vec<Choice>,
    /// Its epochs, in order.
    pub epochs: Vec<Epoch>,
    /// The steps that were recorded, in order.
    pub steps: Vec<Step>,
    /// Its decisions, all layers of one together, in order.
    pub decisions: Vec<Decision>,
    /// Density of every layer after its last decision.
    pub densities: BTreeMap<String, f64>,
    /// What could not be read, and what else is to be known.
    pub notes: Vec<String>,
}

/// An epoch, as far as it was recorded.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Epoch {
    /// Its number, from 0.
    pub epoch: u64,
    /// Steps done by its end.
    pub steps: u64,
    /// See [`crate::metrics::EpochRecord`], for this and what follows.
    pub train_loss: Option<f64>,
    pub train_accuracy: Option<f64>,
    pub test_loss: Option<f64>,
    pub test_accuracy: Option<f64>,
    pub density: Option<f64>,
    pub itop: Option<f64>,
    pub inspected: Option<f64>,
    pub run: Totals,
    pub timing: EpochTiming,
}

/// Sums since the start of the run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Totals {
    pub flops: Flops,
    pub dense_flops: Option<f64>,
    pub best_test_accuracy: Option<f64>,
    pub best_epoch: Option<u64>,
}

/// See [`crate::flops::Flops`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Flops {
    pub training: Option<f64>,
}

/// Seconds of an epoch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EpochTiming {
    pub train_s: Option<f64>,
    pub data_s: Option<f64>,
    pub topology_s: Option<f64>,
    pub run_train_s: Option<f64>,
}

/// A step, as far as it was recorded.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Step {
    pub step: u64,
    pub timing: StepTiming,
}

/// Seconds of a step.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StepTiming {
    pub total_s: f64,
    pub data_s: f64,
    pub forward_s: f64,
    pub backward_s: f64,
    pub optimizer_s: f64,
    pub topology_s: f64,
}

/// One layer's part of a decision.
#[derive(Deserialize)]
struct LayerDecision {
    step: u64,
    layer: String,
    nnz: u64,
    density: f64,
    dropped: u64,
    grown: u64,
    iou: f64,
}

/// A decision on all layers.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The step at whose end it was taken.
    pub step: u64,
    /// Weights dropped.
    pub dropped: f64,
    /// Weights grown.
    pub grown: f64,
    /// Intersection over union of the pattern before and after, of all layers together.
    pub iou: f64,
    /// That of the layer that changed most.
    pub lowest: f64,
    /// Positions in both patterns, and in either.
    kept: f64,
    union: f64,
}

impl Records {
    /// Reads the folder of a run.
    pub fn read(path: &Path) -> Records {
        let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name =
            full.file_name().map_or_else(|| full.display().to_string(), |name| name.to_string_lossy().into_owned());
        let mut records = Records { path: path.to_owned(), name: plain(&name), ..Records::default() };
        records.config = records.config();
        records.manifest = RunDir::read_manifest(path);
        records.outcome = Outcome::read(path);
        records.inventory = read_json(&path.join("inventory.json"));
        records.kernels = read_json(&RunDir::kernels_path(path)).unwrap_or_default();
        records.metrics();
        records.topology();
        records
    }

    /// The settings alone, for those who only look for a run.
    pub fn config_of(path: &Path) -> Option<Config> {
        let file = path.join("config.toml");
        let is_small = file.metadata().is_ok_and(|about| about.is_file() && about.len() <= MAX_BYTES);
        is_small.then(|| Builder::new().file(&file).finish().ok()).flatten()
    }

    /// The last epoch.
    pub fn last(&self) -> Option<&Epoch> {
        self.epochs.last()
    }

    fn config(&mut self) -> Option<Config> {
        let config = Records::config_of(&self.path);
        if config.is_none() {
            self.notes.push("config.toml is missing or damaged.".to_owned());
        }
        config
    }

    fn metrics(&mut self) {
        #[derive(Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        enum Line {
            Step(Step),
            Epoch(Box<Epoch>),
            Spike(SpikeRecord),
        }
        let (mut epochs, mut steps, mut spikes) = (Vec::new(), Vec::new(), Vec::new());
        self.each_line("metrics.jsonl", |line: Line| match line {
            Line::Step(step) => steps.push(step.checked()),
            Line::Epoch(epoch) => epochs.push(epoch.checked()),
            Line::Spike(spike) => spikes.push(spike),
        });
        self.notes.extend(spiked(&spikes));
        epochs.sort_by_key(|epoch: &Epoch| epoch.epoch);
        epochs.dedup_by_key(|epoch| epoch.epoch);
        (self.epochs, self.steps) = (epochs, steps);
    }

    fn topology(&mut self) {
        let (mut decisions, mut densities) = (Vec::<Decision>::new(), BTreeMap::new());
        self.each_line("topology.jsonl", |line: LayerDecision| {
            if decisions.last().is_none_or(|last| last.step != line.step) {
                decisions.push(Decision { step: line.step, lowest: 1.0, ..Decision::default() });
            }
            if let Some(decision) = decisions.last_mut() {
                decision.add(&line);
            }
            densities.insert(line.layer, line.density.clamp(0.0, 1.0));
        });
        (self.decisions, self.densities) = (decisions, densities);
    }

    /// Calls `take` with every line of a file that is what it should be, and notes the others.
    fn each_line<T: DeserializeOwned>(&mut self, name: &str, mut take: impl FnMut(T)) {
        let Ok(file) = File::open(self.path.join(name)) else {
            return self.notes.push(format!("{name} is missing."));
        };
        let (mut reader, mut line, mut damaged) = (BufReader::new(file), Vec::new(), 0_usize);
        for _ in 0..MAX_LINES {
            line.clear();
            match reader.by_ref().take(MAX_BYTES).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => match serde_json::from_slice(&line) {
                    Ok(value) => take(value),
                    Err(_) => damaged = damaged.saturating_add(1),
                },
                Err(_) => {
                    damaged = damaged.saturating_add(1);
                    break;
                }
            }
        }
        if damaged > 0 {
            let lines = if damaged == 1 { "1 line".to_owned() } else { format!("{damaged} lines") };
            self.notes.push(format!("{name}: {lines} cut or damaged, left out."));
        }
    }
}

impl Decision {
    fn add(&mut self, layer: &LayerDecision) {
        let [after, dropped, grown] = [layer.nnz, layer.dropped, layer.grown].map(|count| count as f64);
        let (before, iou) = ((after + dropped - grown).max(0.0), layer.iou.clamp(0.0, 1.0));
        self.dropped += dropped;
        self.grown += grown;
        // Of |A ∩ B| + |A ∪ B| = |A| + |B| and their ratio; `grown` may count a position twice where decisions share a line.
        self.kept += (before + after) * iou / (1.0 + iou);
        self.union += (before + after) / (1.0 + iou);
        self.iou = if self.union > 0.0 { self.kept / self.union } else { 1.0 };
        self.lowest = self.lowest.min(iou);
    }
}

impl Epoch {
    /// Without numbers that nobody can have measured.
    fn checked(mut self) -> Epoch {
        let Epoch {
            train_loss, train_accuracy, test_loss, test_accuracy, density, itop, inspected, run, timing, ..
        } = &mut self;
        let losses = [train_loss, test_loss, &mut run.flops.training, &mut run.dense_flops];
        let times = [&mut timing.train_s, &mut timing.data_s, &mut timing.topology_s, &mut timing.run_train_s];
        for value in losses {
            *value = value.filter(|value| value.abs() < MAX_SIZE);
        }
        for value in times {
            *value = value.filter(|value| (0.0..MAX_SECONDS).contains(value));
        }
        for share in [train_accuracy, test_accuracy, density, itop, inspected, &mut run.best_test_accuracy] {
            *share = share.filter(|share| (0.0..=1.0).contains(share));
        }
        self
    }
}

impl Step {
    fn checked(mut self) -> Step {
        let StepTiming { total_s, data_s, forward_s, backward_s, optimizer_s, topology_s } = &mut self.timing;
        for value in [total_s, data_s, forward_s, backward_s, optimizer_s, topology_s] {
            *value = value.clamp(0.0, MAX_SECONDS);
        }
        self
    }
}

/// What is to be said about losses that stood out.
fn spiked(spikes: &[SpikeRecord]) -> Option<String> {
    let believable =
        |spike: &&SpikeRecord| [spike.loss, spike.mean, spike.z].iter().all(|value| value.abs() < MAX_SIZE);
    let SpikeRecord { step, loss, mean, .. } = spikes.iter().filter(believable).max_by(|a, b| a.z.total_cmp(&b.z))?;
    let often = if spikes.len() == 1 { "once".to_owned() } else { format!("{} times, most", spikes.len()) };
    Some(format!("The loss stood out {often} at step {step}: {loss:.4} after a mean of {mean:.4}."))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}
