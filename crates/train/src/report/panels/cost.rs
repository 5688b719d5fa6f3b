//! Where the time of a step goes, and what the bytes are for.

use super::super::chart::{Bar, INNER, Ink, Key, MARGIN, Mark, WIDTH, bars, empty, heading, legend, x_labels};
use super::super::records::{Epoch, EpochTiming, Records, StepTiming};
use super::super::scale::{self, Format, Scale};
use super::super::svg::{Anchor, Canvas, LABEL, VALUE};
use super::super::theme::BLUE;
use super::{Panel, twin_name};
use crate::inventory::Bytes;

/// What time goes into, and how much of it.
type Phase = (&'static str, fn(&Phases) -> f64);

/// What the time of a step goes into.
const PHASES: [Phase; 6] = [
    ("load", |phases| phases.load),
    ("forward", |phases| phases.forward),
    ("backward", |phases| phases.backward),
    ("optimiser", |phases| phases.optimizer),
    ("mask", |phases| phases.mask),
    ("rest", |phases| phases.rest),
];

/// Mean seconds of a step.
struct Phases {
    load: f64,
    forward: f64,
    backward: f64,
    optimizer: f64,
    mask: f64,
    rest: f64,
    total: f64,
}

impl Phases {
    /// Forward, backward and optimiser are means over the steps on record but the first, which warms the caches; the rest are
    /// sums over all steps, so that decisions count even if none of theirs is on record.
    fn of(run: &Records) -> Option<Phases> {
        let steps = if run.steps.len() > 1 { &run.steps[1..] } else { &run.steps };
        let mean = |value: fn(&StepTiming) -> f64| {
            let sum = steps.iter().map(|step| value(&step.timing)).sum::<f64>();
            (!steps.is_empty()).then(|| sum / steps.len() as f64)
        };
        let all = |value: fn(&EpochTiming) -> Option<f64>| {
            let counted: Option<Vec<f64>> = run.epochs.iter().map(|epoch| value(&epoch.timing)).collect();
            let done = run.last().map_or(0, |epoch: &Epoch| epoch.steps);
            counted
                .filter(|seconds| !seconds.is_empty() && done > 0)
                .map(|seconds| seconds.iter().sum::<f64>() / done as f64)
        };
        let load = all(|timing| timing.data_s).or_else(|| mean(|timing| timing.data_s))?;
        let mask = all(|timing| timing.topology_s).or_else(|| mean(|timing| timing.topology_s))?;
        let forward = mean(|timing| timing.forward_s)?;
        let backward = mean(|timing| timing.backward_s)?;
        let optimizer = mean(|timing| timing.optimizer_s)?;
        let named = load + forward + backward + optimizer + mask;
        let total = all(|timing| timing.train_s).or_else(|| mean(|timing| timing.total_s))?.max(named);
        Some(Phases { load, forward, backward, optimizer, mask, rest: total - named, total })
    }
}

/// Where the time of a step goes.
pub fn step(run: &Records, twin: Option<&Records>) -> Panel {
    let title = "Time of a step";
    let Some(phases) = Phases::of(run) else {
        return Panel::new(title, empty(title, "metrics.jsonl holds no steps with their times."));
    };
    let other = twin.and_then(|twin| Some((twin_name(twin), Phases::of(twin)?)));
    let mut note = format!("{} a step, the mean of the run, waiting for data included", scale::seconds(phases.total));
    match &other {
        Some((name, other)) => note.push_str(&format!("; {name}: {}.", scale::seconds(other.total))),
        None => note.push('.'),
    }
    let row = |(name, value): Phase| Bar {
        name: name.to_owned(),
        value: value(&phases),
        text: share(value(&phases), phases.total),
        twin: other.as_ref().map(|(_, other)| value(other)),
        ink: Ink::Series(BLUE),
    };
    let rows: Vec<Bar> = PHASES.into_iter().map(row).collect();
    let (mut canvas, y) = heading(title, &note);
    let bottom = bars(&mut canvas, y, &rows);
    canvas.set_height(bottom);
    Panel::new(title, canvas)
}

/// `17.0 ms · 32.0%`
fn share(seconds: f64, total: f64) -> String {
    format!("{} · {:.1}%", scale::seconds(seconds), 100.0 * seconds / total.max(1e-12))
}

/// What bytes are for, and how many.
type Purpose = (&'static str, fn(&Bytes) -> usize);

/// What the bytes are for.
const PURPOSES: [Purpose; 8] = [
    ("weights", |bytes| bytes.weights),
    ("gradients", |bytes| bytes.gradients),
    ("momentum", |bytes| bytes.momentum),
    ("indices", |bytes| bytes.index),
    ("kernel streams", |bytes| bytes.streams),
    ("algorithm", |bytes| bytes.algorithm),
    ("activations", |bytes| bytes.activations),
    ("scratch", |bytes| bytes.scratch),
];

/// Bytes by purpose, against those of the dense network.
pub fn bytes(run: &Records) -> Panel {
    let title = "Memory";
    let Some(inventory) = &run.inventory else {
        return Panel::new(
            title,
            empty(title, "inventory.json, which says what the bytes are for, is missing or damaged."),
        );
    };
    let note = "Bytes before the first step, on a logarithmic scale, and what the dense network needs of the same.";
    let (mut canvas, y) = heading(title, note);
    let keys = [("this run", Ink::Series(BLUE)), ("dense", Ink::Twin)];
    let keys = keys.map(|(name, ink)| Key::new(name, ink, Mark::Dot));
    let y = legend(&mut canvas, y, &keys);
    let bottom = dumbbells(&mut canvas, y, &inventory.bytes, &inventory.dense_bytes);
    canvas.set_height(bottom);
    Panel::new(title, canvas)
}

fn dumbbells(canvas: &mut Canvas, y: f64, held: &Bytes, dense: &Bytes) -> f64 {
    const HEIGHT: f64 = 20.0;
    let purposes: Vec<Purpose> = PURPOSES.into_iter().filter(|(_, of)| of(held) + of(dense) > 0).collect();
    let text = |&(_, of): &Purpose| match (of(held), of(dense)) {
        (held, 0) => scale::bytes(held as f64),
        (held, dense) if held == dense => scale::bytes(held as f64),
        (held, dense) => format!("{} of {}", scale::bytes(held as f64), scale::bytes(dense as f64)),
    };
    let texts: Vec<String> = purposes.iter().map(text).collect();
    let room = |texts: &[&str]| texts.iter().map(|text| VALUE.width(text)).fold(0.0, f64::max);
    let left = MARGIN + room(&purposes.iter().map(|(name, _)| *name).collect::<Vec<_>>()) + 14.0;
    let right = WIDTH - MARGIN - room(&texts.iter().map(String::as_str).collect::<Vec<_>>()) - 14.0;
    let sizes = purposes.iter().flat_map(|(_, of)| [of(held) as f64, of(dense) as f64]);
    let x = Scale::log(sizes).between(left, right.max(left + 0.2 * INNER));
    let bottom = y + HEIGHT * purposes.len() as f64 + 6.0;
    let ticks = x.ticks(4);
    for &tick in &ticks {
        canvas.line((x.at(tick), y + 4.0), (x.at(tick), bottom), "grid");
    }
    for (at, ((name, of), text)) in purposes.iter().zip(&texts).enumerate() {
        let middle = y + HEIGHT * (at as f64 + 0.5) + 4.0;
        canvas.text(left - 14.0, middle + 4.0, Anchor::End, LABEL, name);
        canvas.text(WIDTH - MARGIN, middle + 4.0, Anchor::End, VALUE, text);
        let place = |count: usize| (count > 0).then(|| (x.at(count as f64), middle));
        let (own, other) = (place(of(held)), place(of(dense)));
        if let (Some(own), Some(other)) = (own, other) {
            canvas.path(&[own, other], &Ink::Twin.stroke(), 1.5, false);
        }
        other.iter().for_each(|&other| canvas.dot(other, 4.5, &Ink::Twin.fill()));
        own.iter().for_each(|&own| canvas.dot(own, 4.5, &Ink::Series(BLUE).fill()));
    }
    x_labels(canvas, bottom + 14.0, x, &ticks, &Format::Bytes.labels(&ticks));
    bottom + 26.0
}
