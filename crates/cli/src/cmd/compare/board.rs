//! Shows the runs of a comparison while they are trained.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bidst_train::compare::{Comparison, Ending, Run, State, Update, Watcher};
use bidst_train::metrics::EpochRecord;
use bidst_train::trainer::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::progress::Mode;
use crate::text::{percent, seconds};

/// One line per running run and one for all on a terminal; a line per epoch, or a JSON object per event, elsewhere. Failure
/// to write is ignored: it must not end a training.
pub struct Board {
    mode: Mode,
    bars: MultiProgress,
    overall: ProgressBar,
    running: Mutex<BTreeMap<String, ProgressBar>>,
    runs: usize,
    ended: AtomicUsize,
}

impl Board {
    /// For what is still to be trained of `comparison`; says what that is.
    pub fn new(mode: Mode, comparison: &Comparison, jobs: usize) -> Board {
        let mode = mode.resolved();
        let standings = comparison.standings();
        let count = |state: State| standings.iter().filter(|standing| standing.state == state).count();
        let open = standings.iter().filter(|standing| standing.is_open()).count();
        if matches!(mode, Mode::Auto | Mode::Plain) {
            show(&format!(
                "{} runs in {}: {} finished, {} diverged, {} to continue, {} to train; {} at a time",
                standings.len(),
                comparison.path().display(),
                count(State::Finished),
                count(State::Diverged),
                count(State::Begun),
                open - count(State::Begun),
                jobs.min(open.max(1)),
            ));
        }
        let target = if mode == Mode::Auto { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let overall = bars
            .add(ProgressBar::new(standings.len() as u64).with_style(style("{bar:24} {pos}/{len} runs  {elapsed}")));
        overall.set_position((standings.len() - open) as u64);
        let ended = AtomicUsize::new(standings.len() - open);
        Board { mode, bars, overall, running: Mutex::default(), runs: standings.len(), ended }
    }

    fn started(&self, run: &Run, epochs_done: u64, steps_per_epoch: u64) {
        let bar =
            ProgressBar::new(run.config.train.epochs * steps_per_epoch).with_style(style("{prefix} {bar:12} {msg}"));
        let bar = self.bars.insert_before(&self.overall, bar.with_prefix(run.name.clone()));
        bar.set_position(epochs_done * steps_per_epoch);
        self.lock().insert(run.name.clone(), bar);
        if epochs_done > 0 {
            self.say(run, &format!("goes on after epoch {epochs_done}/{}", run.config.train.epochs));
        }
    }

    fn event(&self, run: &Run, event: Event<'_>) {
        match event {
            Event::Step { record, .. } => {
                if let Some(bar) = self.lock().get(&run.name) {
                    bar.set_position(record.step + 1);
                    let epochs = run.config.train.epochs;
                    bar.set_message(format!("epoch {}/{epochs}  loss {:.3}", record.epoch + 1, record.loss));
                }
            }
            Event::Decision { .. } | Event::Spike { .. } => {}
            Event::Note { text } => self.say(run, text),
            Event::Epoch { record } => {
                let EpochRecord { epoch, train_accuracy, test_accuracy, .. } = record;
                let (train, test) = (percent(*train_accuracy), percent(*test_accuracy));
                self.say(
                    run,
                    &format!("epoch {}/{}  acc {train}  test acc {test}", epoch + 1, run.config.train.epochs),
                );
            }
        }
    }

    fn ended(&self, run: &Run, ending: &Ending) {
        if let Some(bar) = self.lock().remove(&run.name) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        let ended = match ending {
            Ending::Stopped => self.ended.load(Ordering::Relaxed),
            Ending::Finished(_) | Ending::Failed(_) => self.ended.fetch_add(1, Ordering::Relaxed) + 1,
        };
        self.overall.set_position(ended as u64);
        let place = format!("[{ended}/{}]", self.runs);
        self.announce(
            run,
            &match ending {
                Ending::Finished(outcome) => {
                    let EpochRecord { test_accuracy, timing, .. } = &outcome.last;
                    format!(
                        "{place} finished: test acc {} after {}",
                        percent(*test_accuracy),
                        seconds(timing.run_train_s + timing.run_test_s)
                    )
                }
                Ending::Stopped => format!("{place} stopped; it can go on"),
                Ending::Failed(reason) => format!("{place} failed: {reason}"),
            },
        );
    }

    /// A line that only those see who have no bars.
    fn say(&self, run: &Run, text: &str) {
        if self.mode == Mode::Plain {
            show(&format!("{}  {text}", run.name));
        }
    }

    /// A line that stays on a terminal too.
    fn announce(&self, run: &Run, text: &str) {
        match self.mode {
            Mode::Auto => self.bars.suspend(|| show(&format!("{}  {text}", run.name))),
            _ => self.say(run, text),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Watcher for Board {
    fn on(&self, run: &Run, update: Update<'_>) {
        if self.mode == Mode::Json {
            if let Some(line) = json_line(run, &update) {
                show(&line);
            }
            return;
        }
        match update {
            Update::Started { epochs_done, steps_per_epoch } => self.started(run, epochs_done, steps_per_epoch),
            Update::Event(event) => self.event(run, event),
            Update::Ended(ending) => self.ended(run, ending),
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.overall.finish_and_clear();
    }
}

/// Starts, epochs and ends; steps and decisions are in the run's own files.
fn json_line(run: &Run, update: &Update<'_>) -> Option<String> {
    let run = &run.name;
    let object = match update {
        Update::Started { epochs_done, .. } => json!({ "kind": "start", "run": run, "epochs_done": epochs_done }),
        Update::Event(Event::Epoch { record }) => json!({ "kind": "epoch", "run": run, "record": record }),
        Update::Event(_) => return None,
        Update::Ended(Ending::Finished(outcome)) => json!({ "kind": "finish", "run": run, "result": outcome }),
        Update::Ended(Ending::Stopped) => json!({ "kind": "stop", "run": run }),
        Update::Ended(Ending::Failed(reason)) => json!({ "kind": "fail", "run": run, "reason": reason }),
    };
    Some(object.to_string())
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn show(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
