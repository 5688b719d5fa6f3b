//! The lines of a run under way: a function of what has happened and of the width of the terminal.

use std::fmt::Write;

use bidst_train::metrics::{DecisionRecord, EpochRecord, StepRecord};

use crate::text::{count, percent, seconds};

/// Weight of a new value in a moving mean.
const NEW: f64 = 0.05;
/// Columns below which bars are left out.
const NARROW: usize = 50;

/// What a run has come to so far.
#[derive(Clone, Debug, Default)]
pub struct Live {
    epochs: u64,
    steps_per_epoch: u64,
    /// The step under way, from 1, within the epoch under way, from 1.
    step: u64,
    epoch: u64,
    density: f64,
    loss: Option<f64>,
    accuracy: Option<f64>,
    test_accuracy: Option<f64>,
    /// Seconds of a step: whole, load, forward, backward, optimiser, mask.
    times: Option<[f64; 6]>,
    images: f64,
    test_s: f64,
    iou: Option<f64>,
    next_decision: Option<u64>,
}

impl Live {
    /// A run that is about to start, or to go on.
    pub fn new(epochs: u64, steps_per_epoch: u64, density: f64) -> Live {
        Live { epochs, steps_per_epoch, density, epoch: 1, ..Live::default() }
    }

    /// Takes note of a step.
    pub fn step(&mut self, record: &StepRecord, next_decision: Option<u64>) {
        self.epoch = record.epoch + 1;
        self.step = record.step + 1 - (record.epoch * self.steps_per_epoch).min(record.step);
        self.loss = Some(moved(self.loss, record.loss));
        self.accuracy = Some(moved(self.accuracy, record.accuracy));
        let timing = &record.timing;
        let new =
            [timing.total_s, timing.data_s, timing.forward_s, timing.backward_s, timing.optimizer_s, timing.topology_s];
        let before = self.times.unwrap_or(new);
        self.times = Some(std::array::from_fn(|at| moved(Some(before[at]), new[at])));
        self.images = record.images as f64;
        self.next_decision = next_decision.map(|next| next.saturating_sub(record.step));
    }

    /// Takes note of a decision.
    pub fn decision(&mut self, records: &[DecisionRecord]) {
        let sum = |value: fn(&DecisionRecord) -> f64| records.iter().map(value).sum::<f64>();
        let (kept, nonzeros) = (sum(|layer| layer.nnz as f64 - layer.grown as f64), sum(|layer| layer.nnz as f64));
        let positions = sum(|layer| if layer.density > 0.0 { layer.nnz as f64 / layer.density } else { 0.0 });
        self.iou = Some(kept / (nonzeros + sum(|layer| layer.dropped as f64)).max(1.0));
        if positions > 0.0 {
            self.density = nonzeros / positions;
        }
    }

    /// Takes note of an epoch.
    pub fn epoch(&mut self, record: &EpochRecord) {
        self.test_accuracy = Some(record.test_accuracy);
        self.test_s = record.timing.test_s;
    }

    /// Seconds to the end, as far as they can be foretold.
    fn left_s(&self) -> Option<f64> {
        let [step_s, ..] = self.times?;
        let epochs = self.epochs.saturating_sub(self.epoch);
        let steps = self.steps_per_epoch.saturating_sub(self.step) + epochs * self.steps_per_epoch;
        Some(steps as f64 * step_s + (epochs + 1) as f64 * self.test_s)
    }

    /// The lines, none wider than `width` columns, coloured if `colour`.
    pub fn lines(&self, width: usize, colour: bool) -> Vec<String> {
        let done = (self.epoch.saturating_sub(1) * self.steps_per_epoch + self.step) as f64;
        let whole = (self.epochs * self.steps_per_epoch).max(1) as f64;
        let some = |value: Option<f64>, text: fn(f64) -> String| value.map(text);
        let epochs = [
            some(self.left_s(), |left| format!("{} left", seconds(left))),
            some(self.test_accuracy, |accuracy| format!("test {}", percent(accuracy))),
        ];
        let steps = [
            some(self.loss, |loss| format!("loss {loss:.3}")),
            some(self.accuracy, |accuracy| format!("acc {}", percent(accuracy))),
        ];
        let names =
            [format!("epoch {}/{}", self.epoch, self.epochs), format!("step {}/{}", self.step, self.steps_per_epoch)];
        let room = names.iter().map(String::len).max().unwrap_or(0);
        let [first, second] = names.map(|name| format!("{name:<room$}"));
        let step_share = self.step as f64 / self.steps_per_epoch.max(1) as f64;
        let mut lines = vec![
            with_bar(&first, done / whole, &epochs, width, colour),
            with_bar(&second, step_share, &steps, width, colour),
        ];
        lines.extend(self.times.map(|times| joined(&split(times), width)));
        lines.push(joined(&self.mask(), width));
        lines
    }

    fn mask(&self) -> Vec<String> {
        let rate = self.times.map(|times| format!("{} images/s", count((self.images / times[0].max(1e-9)) as usize)));
        let iou = self.iou.map(|iou| format!("last decision IoU {iou:.3}"));
        let next = match self.next_decision {
            Some(steps) => format!("next in {} steps", count(steps as usize)),
            None => "mask settled".to_owned(),
        };
        let next = self.times.map(|_| next);
        [rate, Some(format!("{} dense", percent(self.density))), iou, next].into_iter().flatten().collect()
    }
}

fn moved(before: Option<f64>, new: f64) -> f64 {
    before.map_or(new, |before| before + NEW * (new - before))
}

/// `1.83 ms/step`, and what of it goes where.
fn split([total, parts @ ..]: [f64; 6]) -> Vec<String> {
    let names = ["load", "forward", "backward", "optimiser", "mask"];
    let part = |(name, seconds): (&str, f64)| format!("{name} {}", milliseconds(seconds));
    let whole = format!("{} ms/step:", milliseconds(total));
    std::iter::once(whole).chain(names.into_iter().zip(parts).map(part)).collect()
}

/// Three digits at most.
fn milliseconds(seconds: f64) -> String {
    match 1e3 * seconds {
        ms if ms < 9.995 => format!("{ms:.2}"),
        ms if ms < 99.95 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

/// As many parts as fit, the first before the others.
fn joined(parts: &[String], width: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let gap = if line.is_empty() { 0 } else { 2 };
        if line.chars().count() + gap + part.chars().count() > width {
            break;
        }
        let _ = write!(line, "{:gap$}{part}", "");
    }
    line
}

/// A name, a bar over what room there is, the share that is done, and as many parts as fit.
fn with_bar(name: &str, share: f64, parts: &[Option<String>], width: usize, colour: bool) -> String {
    const BAR: usize = 28;
    let share = share.clamp(0.0, 1.0);
    let done = format!("{:>3.0}%", 100.0 * share);
    let parts: Vec<String> = std::iter::once(done).chain(parts.iter().flatten().cloned()).collect();
    let used = name.chars().count() + 1;
    if width < NARROW {
        return joined(&[vec![name.trim_end().to_owned()], parts].concat(), width);
    }
    let bar = BAR.min(width - used - 4);
    let text = joined(&parts, width - used - bar - 1);
    format!("{name} {} {text}", painted(share, bar, colour))
}

fn painted(share: f64, width: usize, colour: bool) -> String {
    let full = (share * width as f64).round() as usize;
    let (done, open) = ("━".repeat(full), "─".repeat(width - full));
    if colour { format!("\u{1b}[36m{done}\u{1b}[0m\u{1b}[2m{open}\u{1b}[0m") } else { format!("{done}{open}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bidst_train::flops::Flops;
    use bidst_train::metrics::StepTiming;

    fn step(step: u64, epoch: u64, total_s: f64) -> StepRecord {
        let timing = StepTiming {
            total_s,
            data_s: 0.002 * total_s,
            forward_s: 0.35 * total_s,
            backward_s: 0.6 * total_s,
            optimizer_s: 0.001 * total_s,
            topology_s: 0.04 * total_s,
            held_bytes: 0,
        };
        let (loss, accuracy, images, learning_rate) = (0.0841, 0.9642, 128, 0.1);
        StepRecord {
            step,
            epoch,
            loss,
            accuracy,
            images,
            learning_rate,
            flops: Flops::default(),
            parameter_bytes: 0,
            timing,
        }
    }

    fn decision(nnz: usize, density: f64, swapped: usize) -> DecisionRecord {
        serde_json::from_value(serde_json::json!({
            "step": 300, "decisions": 1, "layer": "fc.weight", "nnz": nnz, "density": density, "dropped": swapped, "grown": swapped,
            "reset": 0, "iou": 1.0, "itop": 0.1, "inspected": 0.1, "dead_outputs": 0, "dead_inputs": 0,
        }))
        .unwrap()
    }

    fn columns(line: &str) -> usize {
        line.chars().count()
    }

    #[test]
    fn eighty_columns_show_everything() {
        let mut live = Live::new(20, 391, 0.05);
        live.step(&step(2467, 6, 0.0443), Some(2479));
        live.decision(&[decision(950, 0.05, 50)]);
        live.test_accuracy = Some(0.9591);
        live.test_s = 1.5;
        let lines = live.lines(80, false);
        let expected = [
            "epoch 7/20   ━━━━━━━━━───────────────────  32%  4 min 18 s left  test 95.9%",
            "step 122/391 ━━━━━━━━━───────────────────  31%  loss 0.084  acc 96.4%",
            "44.3 ms/step:  load 0.09  forward 15.5  backward 26.6  optimiser 0.04  mask 1.77",
            "2,889 images/s  5.0% dense  last decision IoU 0.900  next in 12 steps",
        ];
        assert_eq!(lines, expected);
        assert!(lines.iter().all(|line| columns(line) <= 80));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_whatever_the_numbers() {
        for (epochs, steps, step_s) in [(1, 1, 1e-7), (20, 391, 0.04), (1_000, 1_281_167, 123.456)] {
            let mut live = Live::new(epochs, steps, 1.0);
            for width in [1, 10, 40, 60, 80, 120] {
                assert!(
                    live.lines(width, false).iter().all(|line| columns(line) <= width),
                    "{width} before the first step"
                );
            }
            live.step(&step(steps * epochs - 1, epochs - 1, step_s), Some(u64::MAX));
            live.decision(&[decision(0, 0.0, 0)]);
            live.test_accuracy = Some(1.0);
            for width in [1, 10, 40, 60, 80, 120] {
                let lines = live.lines(width, false);
                assert!(lines.iter().all(|line| columns(line) <= width), "{width}: {lines:?}");
            }
        }
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let mut live = Live::new(2, 4, 0.1);
        live.step(&step(1, 0, 0.01), None);
        assert!(live.lines(80, false).iter().all(|line| !line.contains('\u{1b}')));
        assert!(live.lines(80, true)[0].contains('\u{1b}'));
        assert!(live.lines(80, false).last().unwrap().ends_with("mask settled"));
    }
}
