//! Showing a run while it happens.

mod live;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use bidst_engine::{Choice, Kernel};
use bidst_train::config::KernelSetting;
use bidst_train::metrics::{EpochRecord, StepRecord};
use bidst_train::session::{Outcome, Summary};
use bidst_train::trainer::{Event, Observer};
use bidst_train::{Config, TrainError, report};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use live::Live;

use crate::text::{bytes, count, percent, seconds};

/// How a run shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A live bar on a terminal, plain lines elsewhere
    Auto,
    /// A line per epoch
    Plain,
    /// A JSON object per line
    Json,
    /// Only the result
    None,
}

impl Mode {
    /// What is shown: `Auto` decided.
    pub fn resolved(self) -> Mode {
        match self {
            Mode::Auto if io::stderr().is_terminal() => Mode::Auto,
            Mode::Auto => Mode::Plain,
            mode => mode,
        }
    }
}

/// Least time between two lines about steps where there is no terminal.
const QUIET: Duration = Duration::from_secs(30);
/// Columns where the terminal does not say.
const COLUMNS: usize = 80;

/// An observer that shows what it sees. Failure to write is ignored: it must not end a training.
pub struct Display {
    mode: Mode,
    bar: ProgressBar,
    live: Live,
    colour: bool,
    epochs: u64,
    spoken: Instant,
    train_s: f64,
    topology_s: f64,
}

impl Display {
    /// A display for a run that is about to start; shows its circumstances.
    pub fn start(mode: Mode, config: &Config, summary: &Summary) -> Display {
        let mode = mode.resolved();
        match mode {
            Mode::Auto | Mode::Plain => show(&header(config, summary)),
            Mode::Json => show(&start_json(config, summary).to_string()),
            Mode::None => {}
        }
        let target = if mode == Mode::Auto { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
        let epochs = config.train.epochs;
        let live = Live::new(epochs, summary.steps_per_epoch, 1.0 - summary.totals.sparsified());
        let (colour, spoken) = (console::colors_enabled_stderr(), Instant::now());
        Display { mode, bar, live, colour, epochs, spoken, train_s: 0.0, topology_s: 0.0 }
    }

    /// Shows how the run ended.
    pub fn finish(&self, outcome: &Outcome, started: Instant) {
        self.bar.finish_and_clear();
        let elapsed_s = started.elapsed().as_secs_f64();
        let EpochRecord { test_accuracy, test_loss, .. } = outcome.last;
        let report = Some(report::path(&outcome.run)).filter(|path| path.is_file());
        let report = report.map(|path| path.display().to_string());
        if self.mode == Mode::Json {
            let run = outcome.run.display().to_string();
            let finish = json!({
                "kind": "finish", "run": run, "test_accuracy": test_accuracy, "test_loss": test_loss,
                "model_bytes": outcome.model_bytes, "elapsed_s": elapsed_s,
                "train_s": self.train_s, "topology_s": self.topology_s, "report": report,
            });
            return show(&finish.to_string());
        }
        show(&format!(
            "test accuracy {}, loss {test_loss:.4}, after {}\n\
             {} of training spent on the mask, probes aside\n\
             model {} in {}",
            percent(test_accuracy),
            seconds(elapsed_s),
            percent(self.topology_s / self.train_s.max(1e-9)),
            bytes(outcome.model_bytes),
            outcome.run.display()
        ));
        report.iter().for_each(|report| show(&format!("report in {report}")));
    }

    fn step(&mut self, record: &StepRecord, next_decision: Option<u64>) {
        self.live.step(record, next_decision);
        if self.mode == Mode::Auto {
            self.bar.set_message(self.live.lines(columns(), self.colour).join("\n"));
        }
        if self.mode == Mode::Plain && self.spoken.elapsed() >= QUIET {
            self.spoken = Instant::now();
            show(&self.live.lines(COLUMNS, false).join("\n"));
        }
    }

    fn note(&self, text: &str) {
        match self.mode {
            Mode::Auto | Mode::Plain => self.bar.suspend(|| show(&format!("note: {text}"))),
            Mode::Json | Mode::None => {}
        }
    }

    fn epoch(&mut self, record: &EpochRecord) {
        self.live.epoch(record);
        self.spoken = Instant::now();
        self.train_s += record.timing.train_s;
        self.topology_s += record.timing.topology_s;
        let text = epoch_line(record, self.epochs);
        match self.mode {
            Mode::Auto => self.bar.suspend(|| show(&text)),
            Mode::Plain => show(&text),
            Mode::Json | Mode::None => {}
        }
    }
}

impl Observer for Display {
    fn on(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        if self.mode == Mode::Json {
            show(&event_json(event).to_string());
        }
        match event {
            Event::Step { record, next_decision } => self.step(record, next_decision),
            Event::Decision { records, .. } => self.live.decision(records),
            Event::Spike { record } => self.note(&record.to_string()),
            Event::Note { text } => self.note(text),
            Event::Epoch { record } => self.epoch(record),
        }
        Ok(())
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Columns of the terminal.
fn columns() -> usize {
    console::Term::stderr().size_checked().map_or(COLUMNS, |(_, columns)| usize::from(columns))
}

/// An epoch in 80 columns.
fn epoch_line(record: &EpochRecord, epochs: u64) -> String {
    let EpochRecord { epoch, train_loss, train_accuracy, test_accuracy, timing, .. } = record;
    let mask = match record.decisions {
        0 => String::new(),
        _ => format!("  {} swaps", count(record.swaps as usize)),
    };
    let room = epochs.to_string().len();
    format!(
        "epoch {:>room$}/{epochs}  loss {train_loss:.3}  acc {}  test {}  {}/s  {}{mask}",
        epoch + 1,
        percent(*train_accuracy),
        percent(*test_accuracy),
        count(timing.images_per_s as usize),
        seconds(timing.train_s + timing.test_s),
    )
}

fn show(text: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn header(config: &Config, summary: &Summary) -> String {
    let Summary { totals, memory, .. } = summary;
    format!(
        "bidst {} · {} · {} x{} · {} · {} at {}\n\
         machine  {} threads, {} · seed {}\n\
         kernels  {}\n\
         weights  {} of {}: {} zeros in the sparsified layers, {} overall\n\
         memory   {} beyond activations: weights {}, gradients {},\n         \
         momentum {}, indices {}, plan {}, algorithm {}\n         \
         about {} in all, with program, data and activations\n\
         run      {}",
        env!("CARGO_PKG_VERSION"),
        config.data.name,
        config.model.name,
        config.model.width,
        config.algorithm.name,
        config.sparsity.distribution,
        percent(config.sparsity.level),
        summary.threads,
        summary.instruction_set,
        config.run.seed,
        kernels(&config.engine.kernels, &summary.kernels),
        count(totals.nonzeros),
        count(totals.weights),
        percent(totals.sparsified()),
        percent(totals.overall()),
        bytes(memory.parameter_bytes() + summary.algorithm_bytes),
        bytes(memory.weights_bytes),
        bytes(memory.gradients_bytes),
        bytes(memory.momentum_bytes),
        bytes(memory.index_bytes),
        bytes(memory.plan_bytes),
        bytes(summary.algorithm_bytes),
        bytes(summary.prediction.total() as usize),
        summary.run.display(),
    )
}

/// `by rule: dense in 3 of 34 layers forward, 2 backward`
fn kernels(setting: &KernelSetting, choices: &[Choice]) -> String {
    let dense = |side: fn(&Choice) -> Kernel| choices.iter().filter(|choice| side(choice) == Kernel::Dense).count();
    let (forward, backward) = (dense(|choice| choice.forward), dense(|choice| choice.backward));
    let how = match setting {
        KernelSetting::Rule => "by rule",
        KernelSetting::Auto => "measured",
        KernelSetting::Sparse | KernelSetting::Dense => "as asked",
        KernelSetting::File(_) => "as in the file",
    };
    format!("{how}: dense in {forward} of {} layers forward, {backward} backward", choices.len())
}

fn start_json(config: &Config, summary: &Summary) -> serde_json::Value {
    let Summary { totals, memory, .. } = summary;
    json!({
        "kind": "start",
        "version": env!("CARGO_PKG_VERSION"),
        "config": config,
        "run": summary.run.display().to_string(),
        "parameters": summary.parameters,
        "weights": totals.weights,
        "nonzeros": totals.nonzeros,
        "sparsity_sparsified": totals.sparsified(),
        "sparsity_overall": totals.overall(),
        "weights_bytes": memory.weights_bytes,
        "gradients_bytes": memory.gradients_bytes,
        "momentum_bytes": memory.momentum_bytes,
        "index_bytes": memory.index_bytes,
        "plan_bytes": memory.plan_bytes,
        "algorithm_bytes": summary.algorithm_bytes,
        "activations_bytes": memory.activations_bytes,
        "activation_gradients_bytes": memory.activation_gradients_bytes,
        "scratch_bytes": memory.scratch_bytes,
        "predicted_bytes": summary.prediction.total(),
        "kernels": summary.kernels,
        "threads": summary.threads,
        "instruction_set": summary.instruction_set,
        "steps_per_epoch": summary.steps_per_epoch,
        "steps_done": summary.steps_done,
    })
}

fn event_json(event: Event<'_>) -> serde_json::Value {
    match event {
        Event::Step { record, next_decision } => {
            json!({ "kind": "step", "record": record, "next_decision": next_decision })
        }
        Event::Decision { records, .. } => json!({ "kind": "decision", "layers": records }),
        Event::Spike { record } => json!({ "kind": "spike", "record": record }),
        Event::Note { text } => json!({ "kind": "note", "text": text }),
        Event::Epoch { record } => json!({ "kind": "epoch", "record": record }),
    }
}
