//! Trains what is not finished of a comparison, several runs at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::standing::{self, Standing};
use super::{Comparison, Run, State};
use crate::error::TrainError;
use crate::run_dir::RunDir;
use crate::session::{Outcome, Session, Summary};
use crate::trainer::{Event, Observer, Wish};

/// How the runs of a comparison are carried out. None of it changes a result.
pub struct Jobs<'a> {
    /// Runs at a time, at least 1.
    pub jobs: usize,
    /// Asked after every step; once it says true, all runs end and none is begun.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// What happens to a run.
#[derive(Debug)]
pub enum Update<'a> {
    /// It starts, or goes on after some epochs.
    Started {
        /// Epochs that are done already.
        epochs_done: u64,
        /// Steps in an epoch.
        steps_per_epoch: u64,
    },
    /// Something in its training.
    Event(Event<'a>),
    /// It ended.
    Ended(&'a Ending),
}

/// How a run ended.
#[derive(Debug)]
pub enum Ending {
    /// It came to its end.
    Finished(Box<Outcome>),
    /// It was stopped, and can be continued.
    Stopped,
    /// An error ended it.
    Failed(String),
}

/// Watches the runs of a comparison, each from its own thread.
pub trait Watcher: Sync {
    /// Called for everything that happens to `run`.
    fn on(&self, run: &Run, update: Update<'_>);
}

impl Comparison {
    /// Trains every run that is neither finished nor bound to diverge. A run that fails does not stop the others.
    ///
    /// What the folders do not say afterwards is returned: [`TrainError::Locked`] for a run that another process is at,
    /// and [`TrainError::Io`] for a failure that could not be noted.
    ///
    /// # Errors
    /// Before anything is trained: [`TrainError::RunChanged`], [`TrainError::Occupied`], [`TrainError::Data`] if a data set
    /// cannot be read.
    pub fn train(&self, jobs: &Jobs<'_>, watcher: &dyn Watcher) -> Result<Vec<TrainError>, TrainError> {
        let _lock = self.begin()?;
        let is_open = |run: &&Run| Standing::of(&self.folder(run)).is_open();
        let open: Vec<&Run> = self.runs.iter().filter(is_open).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut unsaid = Vec::new();
            while !(jobs.stop)()
                && let Some(run) = open.get(next.fetch_add(1, Ordering::Relaxed))
            {
                unsaid.extend(self.train_one(run, jobs, watcher));
            }
            unsaid
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs.jobs.clamp(1, open.len().max(1))).map(|_| scope.spawn(work)).collect();
            Ok(workers.into_iter().flat_map(|worker| worker.join().expect("a run's panic is caught")).collect())
        })
    }

    /// Trains one run to its end, whatever that is. Returns what its folder does not say.
    fn train_one(&self, run: &Run, jobs: &Jobs<'_>, watcher: &dyn Watcher) -> Option<TrainError> {
        let folder = self.folder(run);
        let mut locked = None;
        let ending = match catch_unwind(AssertUnwindSafe(|| carry_out(run, &folder, jobs, watcher))) {
            Ok(Ok(outcome)) => Ending::Finished(Box::new(outcome)),
            Ok(Err(TrainError::Stopped { .. })) => Ending::Stopped,
            Ok(Err(error)) => {
                let reason = error.to_string();
                // Its folder belongs to somebody else.
                locked = Some(error).filter(|error| matches!(error, TrainError::Locked { .. }));
                Ending::Failed(reason)
            }
            Err(panic) => Ending::Failed(format!("panicked, which is a bug: {}", message(&*panic))),
        };
        watcher.on(run, Update::Ended(&ending));
        match ending {
            Ending::Failed(reason) if Standing::of(&folder).state != State::Diverged && locked.is_none() => {
                standing::note_failure(&folder, run.config.run.threads, reason).err()
            }
            _ => locked,
        }
    }
}

/// Starts or continues a run and trains it.
fn carry_out(run: &Run, folder: &Path, jobs: &Jobs<'_>, watcher: &dyn Watcher) -> Result<Outcome, TrainError> {
    let config = run.config.clone();
    // What is recorded is not given up for a checkpoint that cannot be read.
    let session = match Standing::of(folder).has_checkpoint || RunDir::has_records(folder) {
        true => Session::resume_as(folder, config)?,
        false => Session::start_at(folder, config)?,
    };
    let Summary { steps_done, steps_per_epoch, .. } = session.summary();
    watcher.on(run, Update::Started { epochs_done: steps_done / steps_per_epoch.max(1), steps_per_epoch });
    session.run(&mut Reporter { run, jobs, watcher })
}

/// Passes on what happens in a run, and whether it is to stop.
struct Reporter<'a> {
    run: &'a Run,
    jobs: &'a Jobs<'a>,
    watcher: &'a dyn Watcher,
}

impl Observer for Reporter<'_> {
    fn on(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        self.watcher.on(self.run, Update::Event(event));
        Ok(())
    }

    fn wish(&mut self) -> Wish {
        if (self.jobs.stop)() { Wish::Stop } else { Wish::GoOn }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
