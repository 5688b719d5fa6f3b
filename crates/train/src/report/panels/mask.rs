//! How the mask moved.

use super::super::chart::{Chart, Ink, Marks, Series, empty};
use super::super::records::{Decision, Epoch, Records};
use super::super::scale::{Format, Scale};
use super::super::theme::{BLUE, GREEN, ORANGE};
use super::Panel;

/// Similarity of the mask before and after each decision.
pub fn overlap(run: &Records) -> Panel {
    let title = "Mask overlap";
    if let Some(panel) = unmoved(run, title) {
        return panel;
    }
    let points = run.decisions.iter().map(|decision| (decision.step as f64, decision.iou)).collect();
    let band = run.decisions.iter().map(|decision| (decision.lowest, decision.iou)).collect();
    let series = Series { band, ..Series::new("all layers", Ink::Series(BLUE), points) };
    let lowest = run.decisions.iter().map(|decision| decision.lowest.min(decision.iou)).fold(1.0, f64::min);
    let note = "Intersection over union of the pattern before and after a decision; shaded down to the layer that changed most.";
    let y = Scale::linear([lowest, 1.0], 4);
    draw(title, note, Format::Number, y, Marks::Lines, vec![series])
}

/// Weights dropped and grown.
pub fn swaps(run: &Records) -> Panel {
    let title = "Weights swapped";
    if let Some(panel) = unmoved(run, title) {
        return panel;
    }
    let of = |value: fn(&Decision) -> f64| -> Vec<(f64, f64)> {
        run.decisions.iter().map(|decision| (decision.step as f64, value(decision))).collect()
    };
    let is_balanced = run.decisions.iter().all(|decision| decision.dropped == decision.grown);
    let (note, series) = match is_balanced {
        true => (
            "Weights dropped, and as many grown, per decision.",
            vec![Series::new("swapped", Ink::Series(BLUE), of(|decision| decision.grown))],
        ),
        false => (
            "Weights grown (up) and dropped (down) per decision.",
            vec![
                Series::new("grown", Ink::Series(BLUE), of(|decision| decision.grown)),
                Series::new("dropped", Ink::Series(ORANGE), of(|decision| -decision.dropped)),
            ],
        ),
    };
    let values = series.iter().flat_map(|series| series.points.iter().map(|point| point.1)).chain([0.0]);
    let y = Scale::linear(values, 4);
    draw(title, note, Format::Number, y, Marks::Bars, series)
}

/// Positions active, ever active, ever inspected.
pub fn shares(run: &Records) -> Panel {
    let of = |value: fn(&Epoch) -> Option<f64>| -> Vec<(f64, f64)> {
        run.epochs.iter().filter_map(|epoch| Some((epoch.steps as f64, value(epoch)?))).collect()
    };
    let series = vec![
        Series::new("active", Ink::Series(BLUE), of(|epoch| epoch.density)),
        Series::new("ever active (ITOP)", Ink::Series(GREEN), of(|epoch| epoch.itop)),
        Series::new("ever inspected", Ink::Series(ORANGE), of(|epoch| epoch.inspected)),
    ];
    let highest = series.iter().flat_map(|series| series.points.iter().map(|point| point.1)).fold(0.0, f64::max);
    let note = "Share of the positions of the sparsified layers, at the end of each epoch. Inspected: active, or probed for a gradient.";
    draw("Positions explored", note, Format::Percent, Scale::linear([0.0, highest], 4), Marks::Lines, series)
}

fn draw(title: &str, note: &str, format: Format, y: Scale, marks: Marks, series: Vec<Series>) -> Panel {
    let chart = Chart { title, note, x_name: "step", x_from: 0.0, format, y, marks, series };
    Panel::new(title, chart.draw())
}

/// What is said instead where there is no decision.
fn unmoved(run: &Records, title: &str) -> Option<Panel> {
    let is_missing = run.notes.iter().any(|note| note.starts_with("topology.jsonl"));
    let reason = match is_missing {
        true => "topology.jsonl is missing or damaged, so there is nothing to show.",
        false => "No decision is recorded: the pattern has not changed.",
    };
    run.decisions.is_empty().then(|| Panel::new(title, empty(title, reason)))
}
