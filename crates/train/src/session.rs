//! A whole run with its folder: train, record, save after every epoch, export and sum up at the end.

use std::fs;
use std::path::{Path, PathBuf};

use bidst_data::{Dataset, Splits};
use bidst_engine::{Choice, Memory};
use serde::{Deserialize, Serialize};

use crate::checkpoint;
use crate::config::{Builder, Config};
use crate::error::TrainError;
use crate::export::{About, VERSION};
use crate::files::write_atomically;
use crate::inventory::Inventory;
use crate::log::TensorBoard;
use crate::metrics::EpochRecord;
use crate::report;
use crate::run_dir::{Manifest, RunDir, Status};
use crate::sparsity::Totals;
use crate::time;
use crate::trainer::{Event, Observer, Trainer};

/// A run that can be started, or continued.
pub struct Session {
    trainer: Trainer,
    run: RunDir,
    manifest: Manifest,
    about: About,
}

/// What is known before the first step.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The run folder.
    pub run: PathBuf,
    /// Trainable parameters of the dense network.
    pub parameters: usize,
    /// Counts of weights.
    pub totals: Totals,
    /// Bytes that the engine holds.
    pub memory: Memory,
    /// Bytes that the algorithm holds beyond that.
    pub algorithm_bytes: usize,
    /// Threads.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub instruction_set: &'static str,
    /// Kernels of the layers.
    pub kernels: Vec<Choice>,
    /// Steps in an epoch.
    pub steps_per_epoch: u64,
    /// Steps that are done already, above 0 in a resumed run.
    pub steps_done: u64,
}

/// What a finished run leaves; all but the folder is in its `result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The run folder.
    #[serde(skip)]
    pub run: PathBuf,
    /// Its last epoch.
    pub last: EpochRecord,
    /// Weights there are, and those that exist at the end.
    pub weights: Totals,
    /// FLOPs of the forward pass of one image through the dense network (f_D).
    pub dense_inference_flops: u64,
    /// Bytes of the model file.
    pub model_bytes: usize,
}

impl Outcome {
    /// Reads `result.json` of a run folder; `None` if the run has not come that far, or the file is damaged.
    pub fn read(run: &Path) -> Option<Outcome> {
        let outcome: Outcome = serde_json::from_slice(&fs::read(run.join("result.json")).ok()?).ok()?;
        Some(Outcome { run: run.to_owned(), ..outcome })
    }

    fn write(&self) -> Result<(), TrainError> {
        let json = serde_json::to_string_pretty(self).expect("an outcome has only string keys");
        write_atomically(&self.run.join("result.json"), format!("{json}\n").as_bytes())
    }
}

impl Session {
    /// Opens the data and makes a run folder.
    ///
    /// # Errors
    /// Whatever is wrong with the configuration, the data or the folder.
    pub fn start(config: Config) -> Result<Session, TrainError> {
        Session::begin(config, RunDir::create)
    }

    /// As [`Session::start`], in the given run folder, which need not be there. What an earlier start left in it is
    /// forgotten.
    ///
    /// # Errors
    /// Whatever is wrong with the configuration, the data or the folder.
    pub fn start_at(run: &Path, config: Config) -> Result<Session, TrainError> {
        Session::begin(config, |config| RunDir::create_at(run, config))
    }

    fn begin(
        config: Config,
        create: impl FnOnce(&Config) -> Result<RunDir, TrainError>,
    ) -> Result<Session, TrainError> {
        let data = bidst_data::open(&config.data.name, config.data.dir.as_deref())?;
        let about = about(&config, &data.train);
        let trainer = Trainer::new(config, data)?;
        let run = create(&trainer.config)?;
        run.write_kernels(&trainer.network.kernels())?;
        run.write_inventory(&Inventory::of(&trainer))?;
        let manifest = Manifest::new(trainer.instruction_set(), trainer.network.threads());
        Ok(Session { trainer, run, manifest, about })
    }

    /// Opens an interrupted run at its last checkpoint. `run.threads` may be replaced: it does not change the result.
    ///
    /// # Errors
    /// [`TrainError::CannotResume`] and whatever is wrong with the folder.
    pub fn resume(run: &Path, threads: Option<usize>) -> Result<Session, TrainError> {
        let refuse = |reason| TrainError::CannotResume { path: run.to_owned(), reason };
        if !run.join("config.toml").is_file() {
            return Err(refuse("it is not a run folder (it has no config.toml)"));
        }
        let mut config = Builder::new().file(&run.join("config.toml")).finish()?;
        if RunDir::read_manifest(run).is_some_and(|manifest| manifest.status == Status::Finished) {
            return Err(refuse("it is finished; `bidst eval` it, or train anew with its config.toml"));
        }
        config.run.threads = threads.unwrap_or(config.run.threads);
        Session::resume_as(run, config)
    }

    /// Opens a run at its last checkpoint with a configuration that may differ from its own in what does not change the
    /// result: `run.output`, `run.threads`, and where the data lie.
    ///
    /// # Errors
    /// [`TrainError::CannotResume`] if there is no checkpoint, and whatever is wrong with the folder.
    pub fn resume_as(run: &Path, mut config: Config) -> Result<Session, TrainError> {
        let manifest = RunDir::read_manifest(run);
        config.engine.kernels = config.engine.kernels.resumed(run);
        let path = checkpoint::latest(run)?;
        let data: Splits = bidst_data::open(&config.data.name, config.data.dir.as_deref())?;
        let about = about(&config, &data.train);
        let trainer = checkpoint::load(&path, config, data)?;
        let fresh = Manifest::new(trainer.instruction_set(), trainer.network.threads());
        let mut manifest = Manifest { ended: None, status: Status::Running, reason: None, ..manifest.unwrap_or(fresh) };
        manifest.resumed_at_steps.push(trainer.step);
        let mut run = RunDir::open(run)?;
        run.truncate_to(trainer.step)?;
        Ok(Session { trainer, run, manifest, about })
    }

    /// The effective configuration.
    pub fn config(&self) -> &Config {
        &self.trainer.config
    }

    /// What is known before the first step.
    pub fn summary(&self) -> Summary {
        let trainer = &self.trainer;
        Summary {
            run: self.run.path().to_owned(),
            parameters: trainer.graph.parameter_count(),
            totals: trainer.allocation.totals(),
            memory: trainer.network.memory(),
            algorithm_bytes: trainer.algorithm.dense_bytes(),
            threads: trainer.network.threads(),
            instruction_set: trainer.instruction_set(),
            kernels: trainer.network.kernels(),
            steps_per_epoch: trainer.train.batches_per_epoch() as u64,
            steps_done: trainer.step,
        }
    }

    /// Trains to the end. The manifest says how it ended, whatever happens short of a kill.
    ///
    /// # Errors
    /// As [`Trainer::epoch`], and [`TrainError::Io`].
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        self.run.write_manifest(&self.manifest)?;
        let result = self.epochs(observer);
        self.manifest.ended = Some(time::iso(time::now()));
        (self.manifest.status, self.manifest.reason) = match &result {
            Ok(_) => (Status::Finished, None),
            Err(TrainError::Stopped { .. }) => (Status::Stopped, None),
            Err(error @ TrainError::Diverged { .. }) => (Status::Diverged, Some(error.to_string())),
            Err(error) => (Status::Failed, Some(error.to_string())),
        };
        self.run.write_manifest(&self.manifest)?;
        let report = match self.trainer.config.run.report {
            true => report::write_run(self.run.path(), None, &report::path(self.run.path())).map(drop),
            false => Ok(()),
        };
        let outcome = result?;
        report?;
        Ok(outcome)
    }

    fn epochs(&mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let Session { trainer, run, about, .. } = self;
        let log_interval = trainer.config.run.log_interval;
        let mut tensorboard = match trainer.config.run.tensorboard {
            true => Some(TensorBoard::open(run.path(), trainer.step, log_interval)?),
            false => None,
        };
        while trainer.epoch < trainer.config.train.epochs {
            let mut recorder = |event: Event<'_>| {
                match event {
                    Event::Step { record, .. } if record.step % log_interval == 0 => run.step(record)?,
                    Event::Step { .. } => {}
                    Event::Decision { records } => records.iter().try_for_each(|record| run.decision(record))?,
                    Event::Epoch { record } => run.epoch(record)?,
                }
                tensorboard.iter_mut().try_for_each(|log| log.on(event))?;
                observer.on(event)
            };
            trainer.epoch(&mut recorder)?;
            checkpoint::save(trainer, run.path())?;
        }
        let reason = "it has no epochs";
        let last =
            trainer.last.clone().ok_or_else(|| TrainError::CannotResume { path: run.path().to_owned(), reason })?;
        let model = trainer.model(about.clone());
        let model_bytes = model.write(&RunDir::model_path(run.path()))?;
        let (weights, dense_inference_flops) = (model.totals(), trainer.cost.dense());
        let outcome = Outcome { run: run.path().to_owned(), last, weights, dense_inference_flops, model_bytes };
        outcome.write()?;
        Ok(outcome)
    }
}

fn about(config: &Config, data: &Dataset) -> About {
    About {
        version: VERSION,
        model: config.model.name.clone(),
        width: config.model.width,
        classes: data.classes,
        input: [data.channels, data.height, data.width],
        data: config.data.name.clone(),
        mean: data.mean.clone(),
        std: data.std.clone(),
        sparse: Default::default(),
    }
}
