//! The folder of a run.
//!
//! ```text
//! runs/2026-11-22_191033_fashion-mini_small-cnn_bidst_s90_seed0/
//! ├── config.toml         effective: every value written out; `bidst train` on it repeats the run
//! ├── manifest.json       version, compiler, target, instruction set, threads, start, end, status
//! ├── kernels.json        which layers began with sparse and which with dense kernels
//! ├── inventory.json      layers with their targets, and bytes by purpose, before the first step
//! ├── metrics.jsonl       one object per logged step and per epoch, append-only
//! ├── topology.jsonl      one object per layer and decision, or per epoch where decisions are dense, append-only
//! ├── tb/                 the same as TensorBoard's event files, see the `log` module
//! ├── checkpoints/        the last complete states and that of the best epoch, for `bidst train --resume`
//! ├── lock                held while somebody trains here; readers need not care
//! ├── model.safetensors   the final model, see the `export` module
//! ├── result.json         what the finished run came to: last epoch, totals, sizes
//! └── report.{html,png}   all of this for people, see the `report` module
//! ```
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bidst_engine::Choice;
use serde::{Deserialize, Serialize};

use crate::appender::Appender;
use crate::checkpoint::Checkpoints;
use crate::config::Config;
use crate::error::TrainError;
use crate::files::{json_line, write_atomically, write_json};
use crate::inventory::Inventory;
use crate::lock::Lock;
use crate::metrics::{DecisionRecord, EpochRecord, SpikeRecord, StepRecord};
use crate::storage::Disk;
use crate::time;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Under way, or killed without a chance to say so.
    Running,
    /// Ended early because whoever watched it wanted so; can be continued.
    Stopped,
    /// Came to its end.
    Finished,
    /// A number became infinite or none, or the loss stood out and the run was to stop then.
    Diverged,
    /// Ended early by any other error.
    Failed,
}

/// Circumstances of a run that do not decide its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of bidst.
    pub version: String,
    /// Compiler that built it.
    pub compiler: String,
    /// Platform that it was built for.
    pub target: String,
    /// Instruction set that the kernels used.
    pub instruction_set: String,
    /// Threads used.
    pub threads: usize,
    /// Start in UTC.
    pub started: String,
    /// End in UTC, if it ended.
    pub ended: Option<String>,
    /// How the run stands.
    pub status: Status,
    /// The error that ended it, if one did.
    pub reason: Option<String>,
    /// Steps from which it was resumed, in order.
    pub resumed_at_steps: Vec<u64>,
    /// What computed the parts before the last one, where that was something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
}

/// What computed a part of a run that others then went on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Steps that were done at its end.
    pub until_step: u64,
    /// See [`Manifest`].
    pub version: String,
    /// See [`Manifest`].
    pub instruction_set: String,
    /// See [`Manifest`].
    pub threads: usize,
}

impl Manifest {
    /// A manifest of a run that starts now.
    pub fn new(instruction_set: &str, threads: usize) -> Manifest {
        Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            compiler: crate::COMPILER.to_owned(),
            target: crate::TARGET.to_owned(),
            instruction_set: instruction_set.to_owned(),
            threads,
            started: time::iso(time::now()),
            ended: None,
            status: Status::Running,
            reason: None,
            resumed_at_steps: Vec::new(),
            earlier: Vec::new(),
        }
    }

    /// The manifest of a run that goes on at `step` with what `now` was made for, and a note if that changes how numbers round.
    pub fn resumed(self, now: Manifest, step: u64) -> (Manifest, Option<String>) {
        let Manifest { version, compiler, target, instruction_set, threads, .. } = now;
        let mut next = Manifest { ended: None, status: Status::Running, reason: None, ..self.clone() };
        next.resumed_at_steps.push(step);
        let was = (&self.version, &self.instruction_set);
        let note = (was != (&version, &instruction_set)).then(|| {
            let (before, now) = (format!("{} on {}", was.0, was.1), format!("{version} on {instruction_set}"));
            format!(
                "bidst {before} began this run, and {now} goes on with it: from here on numbers may round otherwise"
            )
        });
        if note.is_some() || self.threads != threads {
            let Manifest { version, instruction_set, threads, .. } = self;
            next.earlier.push(Earlier { until_step: step, version, instruction_set, threads });
        }
        (Manifest { version, compiler, target, instruction_set, threads, ..next }, note)
    }
}

/// A line of `metrics.jsonl`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Step(&'a StepRecord),
    Epoch(&'a EpochRecord),
    Spike(&'a SpikeRecord),
}

/// An open run folder.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    metrics: Appender,
    topology: Appender,
    _lock: Lock,
}

impl RunDir {
    /// Makes a new folder for a run of `config` below `[run] output` and writes `config.toml`.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn create(config: &Config) -> Result<RunDir, TrainError> {
        let output = &config.run.output;
        fs::create_dir_all(output).map_err(TrainError::io("create", output))?;
        let name = format!("{}_{}", time::stamp(time::now()), title(config));
        RunDir::create_at(&new_folder(output, &name)?, config)
    }

    /// Makes the folder `path` for a run of `config`, or begins anew in it if it is there: its records, checkpoints and
    /// results are removed.
    ///
    /// # Errors
    /// [`TrainError::Locked`] if somebody trains in it, [`TrainError::Io`]
    pub fn create_at(path: &Path, config: &Config) -> Result<RunDir, TrainError> {
        fs::create_dir_all(path).map_err(TrainError::io("create", path))?;
        let mut run = RunDir::open(path)?;
        Checkpoints::new(&Disk, path).clear()?;
        for name in RESULTS {
            let path = path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(TrainError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        write_atomically(&path.join("config.toml"), config.to_toml().as_bytes())?;
        run.truncate_to(0, 0)?;
        Ok(run)
    }

    /// Opens an existing folder for appending, and locks it for as long as the value lives.
    ///
    /// # Errors
    /// [`TrainError::Locked`] if somebody trains in it, [`TrainError::Io`]
    pub fn open(path: &Path) -> Result<RunDir, TrainError> {
        let lock = Lock::take(path)?;
        let [metrics, topology] = records(path)?;
        Ok(RunDir { path: path.to_owned(), metrics, topology, _lock: lock })
    }

    /// Whether a step or an epoch of the run folder `run` is recorded, or may be, for the records cannot be read. There is a
    /// checkpoint before the first step, so a run with records has, or had, one.
    pub fn has_records(run: &Path) -> bool {
        match fs::read(run.join("metrics.jsonl")) {
            Ok(text) => {
                String::from_utf8_lossy(&text).split_inclusive('\n').any(|line| is_before(line, u64::MAX, u64::MAX))
            }
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The final model of the run folder `run`.
    pub fn model_path(run: &Path) -> PathBuf {
        run.join("model.safetensors")
    }

    /// Appends a step to `metrics.jsonl`.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn step(&mut self, record: &StepRecord) -> Result<(), TrainError> {
        append(&mut self.metrics, &Line::Step(record))
    }

    /// Appends an epoch to `metrics.jsonl`.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn epoch(&mut self, record: &EpochRecord) -> Result<(), TrainError> {
        append(&mut self.metrics, &Line::Epoch(record))
    }

    /// Appends a spike to `metrics.jsonl`.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn spike(&mut self, record: &SpikeRecord) -> Result<(), TrainError> {
        append(&mut self.metrics, &Line::Spike(record))
    }

    /// Flushes the records to the disk, so that those of all steps of a checkpoint that follows are there too.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn sync(&mut self) -> Result<(), TrainError> {
        self.metrics.sync().and(self.topology.sync())
    }

    /// Bytes of records that could not be written yet. They are tried again with the next record.
    pub fn waiting(&self) -> usize {
        self.metrics.waiting().saturating_add(self.topology.waiting())
    }

    /// Appends a layer's part of a decision to `topology.jsonl`.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn decision(&mut self, record: &DecisionRecord) -> Result<(), TrainError> {
        append(&mut self.topology, record)
    }

    /// Forgets what was recorded after so many steps and so many epochs were done, and half-written lines, so that a resumed
    /// run records it anew.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn truncate_to(&mut self, steps: u64, epochs: u64) -> Result<(), TrainError> {
        for name in RECORDS {
            let path = self.path.join(name);
            let text = fs::read(&path).map_err(TrainError::io("read", &path))?;
            let text = String::from_utf8_lossy(&text);
            let kept: String = text.split_inclusive('\n').filter(|line| is_before(line, steps, epochs)).collect();
            write_atomically(&path, kept.as_bytes())?;
        }
        [self.metrics, self.topology] = records(&self.path)?;
        Ok(())
    }

    /// Replaces `manifest.json`.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), TrainError> {
        RunDir::write_manifest_at(&self.path, manifest)
    }

    /// Replaces `manifest.json` of the run folder `run`.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn write_manifest_at(run: &Path, manifest: &Manifest) -> Result<(), TrainError> {
        write_json(&run.join("manifest.json"), manifest)
    }

    /// The kernel choices of the run folder `run`.
    pub fn kernels_path(run: &Path) -> PathBuf {
        run.join("kernels.json")
    }

    /// Replaces `kernels.json`.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn write_kernels(&self, choices: &[Choice]) -> Result<(), TrainError> {
        write_json(&RunDir::kernels_path(&self.path), choices)
    }

    /// Replaces `inventory.json`.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn write_inventory(&self, inventory: &Inventory) -> Result<(), TrainError> {
        write_json(&self.path.join("inventory.json"), inventory)
    }

    /// Reads `manifest.json` of a run folder; `None` if it is missing or damaged.
    pub fn read_manifest(run: &Path) -> Option<Manifest> {
        serde_json::from_slice(&fs::read(run.join("manifest.json")).ok()?).ok()
    }
}

/// Files that grow by lines.
const RECORDS: [&str; 2] = ["metrics.jsonl", "topology.jsonl"];

/// What a finished run leaves.
const RESULTS: [&str; 4] = ["model.safetensors", "result.json", "report.html", "report.png"];

/// Opens the files of [`RECORDS`] for appending.
fn records(run: &Path) -> Result<[Appender; 2], TrainError> {
    let append = |name: &str| {
        let path = run.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.map_err(TrainError::io("open", &path)).map(|file| Appender::new(path, file))
    };
    let [metrics, topology] = RECORDS;
    Ok([append(metrics)?, append(topology)?])
}

/// Makes `NAME`, or `NAME-2` and so on if it is there already.
fn new_folder(parent: &Path, name: &str) -> Result<PathBuf, TrainError> {
    let mut path = parent.join(name);
    let mut attempt: u32 = 1;
    loop {
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                attempt = attempt.saturating_add(1);
                path = parent.join(format!("{name}-{attempt}"));
            }
            Err(error) => return Err(TrainError::io("create", &path)(error)),
        }
    }
}

/// `fashion-mini_small-cnn_bidst_s90_seed0`
fn title(config: &Config) -> String {
    let percent = (config.sparsity.level * 1e5).round() / 1e3;
    let Config { data, model, algorithm, run, .. } = config;
    let width = if model.width == 1.0 { String::new() } else { format!("-w{}", model.width) };
    format!("{}_{}{width}_{}_s{percent}_seed{}", data.name, model.name, algorithm.name, run.seed)
}

fn append(file: &mut Appender, value: &impl Serialize) -> Result<(), TrainError> {
    file.append(format!("{}\n", json_line(value)).as_bytes())
}

/// Whether a line is whole and records a step before `steps`, or an epoch before `epochs`.
fn is_before(line: &str, steps: u64, epochs: u64) -> bool {
    #[derive(Deserialize)]
    struct Place {
        step: Option<u64>,
        epoch: Option<u64>,
    }
    let place = serde_json::from_str::<Place>(line);
    line.ends_with('\n')
        && place.is_ok_and(|place| match place.step {
            Some(step) => step < steps,
            None => place.epoch.is_some_and(|epoch| epoch < epochs),
        })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn config(output: &Path) -> Config {
        let mut config = Config::default();
        config.run.output = output.to_owned();
        config
    }

    fn step(step: u64) -> StepRecord {
        StepRecord {
            step,
            epoch: 0,
            loss: 2.0,
            accuracy: 0.5,
            images: 4,
            learning_rate: 0.1,
            flops: crate::flops::Flops::default(),
            parameter_bytes: 0,
            timing: crate::metrics::StepTiming::default(),
        }
    }

    #[test]
    fn two_runs_of_one_second_get_two_folders() {
        let output = tempfile::tempdir().unwrap();
        let first = RunDir::create(&config(output.path())).unwrap();
        let second = RunDir::create(&config(output.path())).unwrap();
        assert_ne!(first.path(), second.path());
        assert!(first.path().to_str().unwrap().ends_with("_fashion-mini_small-cnn_bidst_s90_seed0"));
    }

    #[test]
    fn truncation_forgets_later_steps_and_half_written_lines() {
        let output = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(&config(output.path())).unwrap();
        (0..4).for_each(|n| run.step(&step(n)).unwrap());
        run.metrics.append(b"{\"kind\":\"step\",\"step\":1").unwrap();
        run.truncate_to(2, 0).unwrap();
        run.step(&step(2)).unwrap();
        let text = fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
        let steps: Vec<u64> = text.lines().map(|line| serde_json::from_str::<StepRecord>(line).unwrap().step).collect();
        assert_eq!(steps, [0, 1, 2]);
    }

    #[test]
    fn a_manifest_reads_back_and_a_damaged_one_is_none() {
        let output = tempfile::tempdir().unwrap();
        let run = RunDir::create(&config(output.path())).unwrap();
        let manifest = Manifest::new("avx2", 2);
        run.write_manifest(&manifest).unwrap();
        assert_eq!(RunDir::read_manifest(run.path()), Some(manifest));
        fs::write(run.path().join("manifest.json"), "{").unwrap();
        assert_eq!(RunDir::read_manifest(run.path()), None);
    }
}
