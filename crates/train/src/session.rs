//! A whole run with its folder: train, record, save now and then, export and sum up at the end.

use std::fs;
use std::path::{Path, PathBuf};

use bidst_data::{Damage, Dataset, Opened};
use bidst_engine::{Choice, Memory};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoints, PassedOver};
use crate::config::{Builder, Config, ConfigError, OnSaveError, OnSpike};
use crate::error::TrainError;
use crate::export::{About, VERSION};
use crate::files::write_atomically;
use crate::inventory::Inventory;
use crate::log::TensorBoard;
use crate::memory::{self, Prediction};
use crate::metrics::{EpochRecord, peak_rss_bytes};
use crate::report;
use crate::run_dir::{Manifest, RunDir, Status};
use crate::sparsity::Totals;
use crate::storage::Disk;
use crate::time;
use crate::trainer::{Event, Observer, Pause, Trainer, Wish};

/// A run that can be started, or continued.
pub struct Session {
    trainer: Trainer,
    run: RunDir,
    manifest: Manifest,
    about: About,
    prediction: Prediction,
    /// Steps and epochs done in the last state that was saved, and its folder.
    saved: Option<(u64, u64, PathBuf)>,
    /// What is to be told before the first step.
    notes: Vec<String>,
}

/// What may differ between two parts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// `run.threads`
    pub threads: Option<usize>,
    /// `run.max_memory`
    pub max_memory: Option<String>,
    /// `train.on_spike`
    pub on_spike: Option<OnSpike>,
    /// `data.dir`
    pub data_dir: Option<PathBuf>,
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
    /// Memory that the process will need.
    pub prediction: Prediction,
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
    /// Bytes that depend on machine and load.
    #[serde(default)]
    pub timing: PeakMemory,
}

/// Peak memory, predicted and measured. It is of the process: other runs in it count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeakMemory {
    /// Predicted before the first step of this process, part by part.
    pub predicted: Prediction,
    /// Their sum.
    pub predicted_bytes: u64,
    /// Peak resident memory by the end of the run; 0 where the system does not tell.
    pub measured_bytes: u64,
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
        mut config: Config,
        create: impl FnOnce(&Config) -> Result<RunDir, TrainError>,
    ) -> Result<Session, TrainError> {
        config.fill_in();
        if i64::try_from(config.run.seed).is_err() {
            let message = format!("must be at most {}, but is {}", i64::MAX, config.run.seed);
            return Err(ConfigError::of_key("run.seed", message).into());
        }
        let Opened { splits, skipped, .. } = config.data.open()?;
        let about = about(&config, &splits.train);
        let trainer = Trainer::new(config, splits)?;
        let prediction = allowed(&trainer)?;
        let run = create(&trainer.config)?;
        run.write_kernels(&trainer.network.kernels())?;
        run.write_inventory(&Inventory::of(&trainer))?;
        let manifest = Manifest::new(trainer.instruction_set(), trainer.network.threads());
        Ok(Session { trainer, run, manifest, about, prediction, saved: None, notes: left_out(&skipped).collect() })
    }

    /// Opens an interrupted run at its newest checkpoint that is whole, or at its start if it never came to its first step.
    ///
    /// # Errors
    /// [`TrainError::CannotResume`] and whatever is wrong with the folder.
    pub fn resume(run: &Path, circumstances: &Circumstances) -> Result<Session, TrainError> {
        let refuse = |reason| TrainError::CannotResume { path: run.to_owned(), reason };
        if !run.join("config.toml").is_file() {
            return Err(refuse("it is not a run folder (it has no config.toml)"));
        }
        let mut config = Builder::new().file(&run.join("config.toml")).finish()?;
        if RunDir::read_manifest(run).is_some_and(|manifest| manifest.status == Status::Finished) {
            return Err(refuse("it is finished; `bidst eval` it, or train anew with its config.toml"));
        }
        config.run.threads = circumstances.threads.unwrap_or(config.run.threads);
        config.run.max_memory = circumstances.max_memory.clone().or(config.run.max_memory);
        config.train.on_spike = circumstances.on_spike.unwrap_or(config.train.on_spike);
        config.data.dir = circumstances.data_dir.clone().or(config.data.dir);
        match Session::resume_as(run, config.clone()) {
            Err(TrainError::CannotResume { .. }) if !RunDir::has_records(run) => {
                let mut session = Session::start_at(run, config)?;
                session.notes.push("nothing was saved yet: the run begins anew".to_owned());
                Ok(session)
            }
            resumed => resumed,
        }
    }

    /// Opens a run at its newest checkpoint that is whole, with a configuration that may differ from its own in what does not
    /// change the result: where and how it is carried out, and where the data lie.
    ///
    /// # Errors
    /// [`TrainError::CannotResume`] if there is no checkpoint, [`TrainError::Locked`] if somebody trains there, and whatever
    /// is wrong with the folder.
    pub fn resume_as(run: &Path, mut config: Config) -> Result<Session, TrainError> {
        config.fill_in();
        let mut folder = RunDir::open(run)?;
        let found = Checkpoints::new(&Disk, run).newest(Some(&config))?;
        config.engine.kernels = config.engine.kernels.resumed(run);
        let Opened { splits, skipped, .. } = config.data.open()?;
        let about = about(&config, &splits.train);
        let passed_over =
            found.passed_over.iter().map(|PassedOver { name, flaw }| format!("{name} is passed over: {flaw}"));
        let (path, notes) = (found.path.clone(), passed_over.chain(left_out(&skipped)).collect::<Vec<String>>());
        let trainer = found.load(config, splits)?;
        let prediction = allowed(&trainer)?;
        let fresh = Manifest::new(trainer.instruction_set(), trainer.network.threads());
        let manifest = RunDir::read_manifest(run).unwrap_or_else(|| fresh.clone());
        let (manifest, changed) = manifest.resumed(fresh, trainer.step);
        folder.truncate_to(trainer.step, trainer.epoch)?;
        let (saved, notes) = (Some((trainer.step, trainer.epoch, path)), notes.into_iter().chain(changed).collect());
        Ok(Session { trainer, run: folder, manifest, about, prediction, saved, notes })
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
            algorithm_bytes: trainer.algorithm.state_bytes(),
            threads: trainer.network.threads(),
            instruction_set: trainer.instruction_set(),
            kernels: trainer.network.kernels(),
            steps_per_epoch: trainer.train.batches_per_epoch() as u64,
            steps_done: trainer.step,
            prediction: self.prediction,
        }
    }

    /// Trains to the end, or until the observer wishes to stop. The manifest says how it ended, whatever happens short of a
    /// kill.
    ///
    /// # Errors
    /// As [`Trainer::epoch`], [`TrainError::Stopped`], [`TrainError::Save`], [`TrainError::NoRoom`] and [`TrainError::Io`].
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        self.run.write_manifest(&self.manifest)?;
        let result = self.train(observer).map_err(|error| self.keep_last_good(error));
        self.manifest.ended = Some(time::iso(time::now()));
        (self.manifest.status, self.manifest.reason) = match &result {
            Ok(_) => (Status::Finished, None),
            Err(TrainError::Stopped { .. }) => (Status::Stopped, None),
            Err(error @ (TrainError::Diverged { .. } | TrainError::Spiked { .. })) => {
                (Status::Diverged, Some(error.to_string()))
            }
            Err(error) => (Status::Failed, Some(error.to_string())),
        };
        // On a disk that is full this fails too; what happened first is what matters.
        let noted = self.run.write_manifest(&self.manifest);
        let Session { trainer, run, .. } = self;
        let wants_report = trainer.config.run.report;
        // The report is drawn in memory that the training no longer needs.
        drop(trainer);
        let report = match wants_report {
            true => report::write_run(run.path(), None, &report::path(run.path())).map(drop),
            false => Ok(()),
        };
        let outcome = result?;
        noted?;
        report?;
        Ok(outcome)
    }

    fn train(&mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        for text in std::mem::take(&mut self.notes) {
            observer.on(Event::Note { text: &text })?;
        }
        self.rehearse()?;
        let run = &self.trainer.config.run;
        let mut tensorboard = match run.tensorboard {
            true => Some(TensorBoard::open(self.run.path(), self.trainer.step, run.log_interval)?),
            false => None,
        };
        while self.trainer.epoch < self.trainer.config.train.epochs {
            let run = &self.trainer.config.run;
            let (log_interval, save_interval) = (run.log_interval, run.checkpoint_interval);
            let patient = run.on_save_error == OnSaveError::Warn;
            let steps_per_epoch = self.trainer.train.batches_per_epoch() as u64;
            let mut recorder = Recorder {
                run: &mut self.run,
                tensorboard: &mut tensorboard,
                observer: &mut *observer,
                log_interval,
                save_interval,
                steps_per_epoch,
                step: self.trainer.step,
                wish: Wish::GoOn,
                patient,
                has_warned: false,
            };
            let pause = self.trainer.epoch(&mut recorder)?;
            let wish = if pause == Pause::Epoch { observer.wish() } else { recorder.wish };
            self.save(observer)?;
            if wish == Wish::Stop && self.trainer.epoch < self.trainer.config.train.epochs {
                return Err(TrainError::Stopped { step: self.trainer.step.saturating_sub(1) });
            }
        }
        tensorboard.iter_mut().try_for_each(TensorBoard::flush).and(self.run.sync())?;
        self.finish()
    }

    /// Saves the state before the first step, so that trouble with the disk is found then, and makes sure that there is room
    /// for the checkpoints to come.
    fn rehearse(&mut self) -> Result<(), TrainError> {
        if self.saved.is_some() {
            return Ok(());
        }
        let checkpoints = Checkpoints::new(&Disk, self.run.path());
        let saved = checkpoints.save(&self.trainer)?;
        checkpoints.reserve(saved.bytes)?;
        self.saved = Some((self.trainer.step, self.trainer.epoch, saved.path));
        Ok(())
    }

    /// Saves the present state, unless it is saved already.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let (step, epoch) = (self.trainer.step, self.trainer.epoch);
        if self.saved.as_ref().is_some_and(|(steps, epochs, _)| (*steps, *epochs) == (step, epoch)) {
            return Ok(());
        }
        let saved = self.run.sync().and_then(|()| Checkpoints::new(&Disk, self.run.path()).save(&self.trainer));
        match saved {
            Ok(saved) => self.saved = Some((step, epoch, saved.path)),
            Err(error) if self.bears(&error) => observer.on(Event::Note { text: &error.to_string() })?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether a run goes on without a checkpoint. There is none either whose records cannot be written.
    fn bears(&self, error: &TrainError) -> bool {
        let is_of_the_disk = matches!(error, TrainError::Save(_) | TrainError::Io { .. });
        is_of_the_disk && self.trainer.config.run.on_save_error == OnSaveError::Warn
    }

    /// After a step that came to nothing, saves the state before it, and names the checkpoint in the error.
    fn keep_last_good(&mut self, mut error: TrainError) -> TrainError {
        if let TrainError::Diverged { kept, .. } | TrainError::Spiked { kept, .. } = &mut error {
            // If this fails, an older one is named: the error at hand matters more.
            drop(self.save(&mut |_: Event<'_>| Ok(())));
            *kept = self.saved.as_ref().map(|(_, _, path)| path.clone());
        }
        error
    }

    fn finish(&mut self) -> Result<Outcome, TrainError> {
        let Session { trainer, run, about, prediction, .. } = self;
        let reason = "it has no epochs";
        let last =
            trainer.last.clone().ok_or_else(|| TrainError::CannotResume { path: run.path().to_owned(), reason })?;
        let model = trainer.model(about.clone());
        let model_bytes = model.write(&RunDir::model_path(run.path()))?;
        let (weights, dense_inference_flops) = (model.totals(), trainer.cost.dense());
        let timing = PeakMemory {
            predicted: *prediction,
            predicted_bytes: prediction.total(),
            measured_bytes: peak_rss_bytes().unwrap_or(0),
        };
        let run = run.path().to_owned();
        let outcome = Outcome { run, last, weights, dense_inference_flops, model_bytes, timing };
        outcome.write()?;
        Ok(outcome)
    }
}

/// Writes what happens into the run folder, passes it on, and asks for a pause where a checkpoint is due.
struct Recorder<'a> {
    run: &'a mut RunDir,
    tensorboard: &'a mut Option<TensorBoard>,
    observer: &'a mut dyn Observer,
    log_interval: u64,
    save_interval: u64,
    steps_per_epoch: u64,
    /// Steps done.
    step: u64,
    wish: Wish,
    /// Records that cannot be written wait instead of ending the run.
    patient: bool,
    has_warned: bool,
}

/// Bytes of records that wait at most for a disk to have room again.
const MOST_WAITING: usize = 64 << 20;

impl Recorder<'_> {
    /// Everything is handed over whatever becomes of it, so that it waits if it is not written.
    fn write(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        let recorded = match event {
            Event::Step { record, .. } if record.step % self.log_interval == 0 => self.run.step(record),
            Event::Step { .. } | Event::Note { .. } => Ok(()),
            Event::Decision { log, .. } => log.iter().map(|record| self.run.decision(record)).fold(Ok(()), Result::and),
            Event::Spike { record } => self.run.spike(record),
            Event::Epoch { record } => self.run.epoch(record),
        };
        let logged = self.tensorboard.as_mut().map_or(Ok(()), |log| log.on(event));
        recorded.and(logged)
    }

    /// Whether an error of writing is one to wait for the end of.
    fn bears(&self, error: &TrainError) -> bool {
        let waiting = self.run.waiting() + self.tensorboard.as_ref().map_or(0, TensorBoard::waiting);
        self.patient && waiting <= MOST_WAITING && matches!(error, TrainError::Io { .. })
    }
}

impl Observer for Recorder<'_> {
    fn on(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        if let Event::Step { record, .. } = event {
            self.step = record.step + 1;
        }
        match self.write(event) {
            Err(error) if self.bears(&error) => {
                if !std::mem::replace(&mut self.has_warned, true) {
                    let text = format!("{error}; records wait in memory until there is room");
                    self.observer.on(Event::Note { text: &text })?;
                }
            }
            Err(source @ TrainError::Io { .. }) => {
                let run = self.run.path().to_owned();
                return Err(TrainError::Records { run, source: Box::new(source) });
            }
            written => written?,
        }
        self.observer.on(event)
    }

    /// After the last step of an epoch only a stop cannot wait: a checkpoint follows the evaluation anyway.
    fn wish(&mut self) -> Wish {
        let is_due = self.save_interval > 0 && self.step.is_multiple_of(self.save_interval);
        let is_last = self.step.is_multiple_of(self.steps_per_epoch);
        self.wish = match self.observer.wish() {
            Wish::GoOn if is_due => Wish::Save,
            wish => wish,
        };
        if is_last && self.wish == Wish::Save { Wish::GoOn } else { self.wish }
    }
}

/// What a run will take at most, if that is allowed.
fn allowed(trainer: &Trainer) -> Result<Prediction, TrainError> {
    let prediction = Prediction::of(trainer);
    memory::allow(&prediction, &trainer.config)?;
    Ok(prediction)
}

/// Damaged records and files of the data set that `data.skip_bad` allows to leave out.
fn left_out(skipped: &Damage) -> impl Iterator<Item = String> {
    skipped.listed().iter().map(|damaged| format!("left out: {damaged}"))
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
