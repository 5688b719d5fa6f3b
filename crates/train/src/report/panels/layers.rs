//! What the layers are: how dense, and computed by which kernels.

use bidst_engine::{Choice, Kernel};

use super::super::chart::{Ink, Key, MARGIN, Mark, WIDTH, empty, heading, legend, x_labels};
use super::super::records::Records;
use super::super::scale::{self, Format, Scale};
use super::super::svg::{Anchor, CELL, Canvas, LABEL, VALUE};
use super::super::theme::{BLUE, ORANGE};
use super::Panel;

/// Layers beyond which the rest is only counted.
const MAX_LAYERS: usize = 80;
/// Height of a layer's row.
const ROW: f64 = 17.0;
/// Room for the name of a layer.
const NAME: f64 = 132.0;

/// A layer in the panel of densities.
struct Row {
    name: String,
    target: Option<f64>,
    actual: f64,
}

/// Density of every layer, target against actual.
pub fn density(run: &Records) -> Panel {
    let title = "Density per layer";
    let rows = rows(run);
    if rows.is_empty() {
        return Panel::new(
            title,
            empty(title, "inventory.json and kernels.json, which list the layers, are missing or damaged."),
        );
    }
    let note = "Share of the positions that exist, on a logarithmic scale. Layers without a target stay dense.";
    let (mut canvas, y) = heading(title, note);
    let keys = [("now", BLUE, Mark::Dot), ("target", ORANGE, Mark::Ring)];
    let y = legend(&mut canvas, y, &keys.map(|(name, ink, mark)| Key::new(name, Ink::Series(ink), mark)));
    let (left, right) = (MARGIN + NAME + 10.0, WIDTH - MARGIN - 46.0);
    let values = rows.iter().flat_map(|row| [Some(row.actual), row.target]).flatten().chain([1.0]);
    let x = Scale::log(values).between(left, right);
    let shown = &rows[..rows.len().min(MAX_LAYERS)];
    let bottom = y + ROW * shown.len() as f64 + 8.0;
    let ticks = x.ticks(5);
    for &tick in &ticks {
        canvas.line((x.at(tick), y + 4.0), (x.at(tick), bottom), "grid");
    }
    for (at, row) in shown.iter().enumerate() {
        let middle = y + ROW * (at as f64 + 0.5) + 4.0;
        name(&mut canvas, middle, &row.name);
        if let Some(target) = row.target {
            canvas.ring((x.at(target), middle), 5.5, &Ink::Series(ORANGE).stroke());
        }
        canvas.dot((x.at(row.actual), middle), 3.4, &Ink::Series(BLUE).fill());
        canvas.text(WIDTH - MARGIN, middle + 4.0, Anchor::End, VALUE, &scale::percent(row.actual));
        let target =
            row.target.map_or_else(|| "stays dense".to_owned(), |target| format!("target {}", scale::percent(target)));
        canvas.hint(
            [MARGIN, middle - ROW / 2.0, WIDTH - 2.0 * MARGIN, ROW],
            &format!("{}: {}, {target}", row.name, scale::percent(row.actual)),
        );
    }
    x_labels(&mut canvas, bottom + 14.0, x, &ticks, &Format::Percent.labels(&ticks));
    let bottom = more(&mut canvas, bottom + 26.0, rows.len());
    canvas.set_height(bottom);
    Panel::new(title, canvas)
}

/// Layers from the inventory or, in its absence, from the list of kernels, which knows only how dense they were.
fn rows(run: &Records) -> Vec<Row> {
    let now = |name: &str, before: f64| run.densities.get(name).copied().unwrap_or(before);
    if let Some(inventory) = &run.inventory {
        let row = |layer: &crate::inventory::Layer| {
            let positions = layer.shape.iter().fold(1.0, |product, &size| product * size as f64);
            let share = |count: usize| (count as f64 / positions.max(1.0)).clamp(0.0, 1.0);
            Row {
                name: layer.name.clone(),
                target: layer.target.map(share),
                actual: now(&layer.name, share(layer.nnz)),
            }
        };
        return inventory.layers.iter().map(row).collect();
    }
    let row = |choice: &Choice| {
        let before = choice.density.clamp(0.0, 1.0);
        Row { name: choice.layer.clone(), target: (before < 1.0).then_some(before), actual: now(&choice.layer, before) }
    };
    run.kernels.iter().map(row).collect()
}

/// Forward or backward: the kernel of a layer, and how many times faster the sparse one is.
type Side = (&'static str, fn(&Choice) -> (Kernel, Option<f64>));

/// Kernels of every layer, and how much faster the sparse ones are where that was measured.
pub fn kernels(run: &Records) -> Panel {
    let title = "Kernels per layer";
    if run.kernels.is_empty() {
        return Panel::new(title, empty(title, "kernels.json is missing or damaged."));
    }
    let is_measured = run.kernels.iter().any(|choice| choice.measured.is_some());
    let note = match is_measured {
        true => {
            "Which kernel computes a layer, and how many times faster the sparse one is than the dense one, as measured at the start."
        }
        false => {
            "Which kernel computes a layer, chosen by density. --kernels auto measures both and shows by how much they differ."
        }
    };
    let (mut canvas, y) = heading(title, note);
    let left = MARGIN + NAME + 10.0;
    let cell = (WIDTH - MARGIN - left - 8.0) / 2.0;
    let columns: [Side; 2] = [
        ("forward", |choice| {
            let measured = choice.measured.map(|times| times.forward_dense_ms / times.forward_sparse_ms);
            (choice.forward, measured)
        }),
        ("backward", |choice| {
            let measured = choice.measured.map(|times| times.backward_dense_ms / times.backward_sparse_ms);
            (choice.backward, measured)
        }),
    ];
    for (at, (heading, _)) in columns.iter().enumerate() {
        canvas.text(left + (cell + 8.0) * at as f64, y + 13.0, Anchor::Start, LABEL, heading);
    }
    let top = y + 18.0;
    for (at, choice) in run.kernels.iter().take(MAX_LAYERS).enumerate() {
        let middle = top + ROW * (at as f64 + 0.5);
        name(&mut canvas, middle, &choice.layer);
        for (at, (_, of)) in columns.iter().enumerate() {
            let (kernel, speed_up) = of(choice);
            draw_cell(
                &mut canvas,
                [left + (cell + 8.0) * at as f64, middle - ROW / 2.0 + 1.0, cell, ROW - 2.0],
                kernel,
                speed_up,
            );
        }
    }
    let bottom = top + ROW * run.kernels.len().min(MAX_LAYERS) as f64 + 10.0;
    let bottom = more(&mut canvas, bottom, run.kernels.len());
    canvas.set_height(bottom);
    Panel::new(title, canvas)
}

fn draw_cell(canvas: &mut Canvas, place: [f64; 4], kernel: Kernel, speed_up: Option<f64>) {
    let (word, ink) = match kernel {
        Kernel::Sparse => ("sparse", Ink::Series(BLUE)),
        Kernel::Dense => ("dense", Ink::Series(ORANGE)),
    };
    let [x, y, width, _] = place;
    canvas.tint(place, &ink.fill());
    canvas.text(x + 7.0, y + 11.5, Anchor::Start, CELL, word);
    if let Some(speed_up) = speed_up.filter(|value| value.is_finite()) {
        let text =
            if speed_up < 9.95 { format!("{speed_up:.1}×") } else { format!("{}×", scale::number(speed_up.round())) };
        canvas.text(x + width - 7.0, y + 11.5, Anchor::End, CELL, &text);
    }
}

fn name(canvas: &mut Canvas, middle: f64, layer: &str) {
    let layer = super::super::font::plain(layer);
    let short = LABEL.fit(layer.strip_suffix(".weight").unwrap_or(&layer), NAME);
    canvas.text(MARGIN + NAME, middle + 4.0, Anchor::End, LABEL, &short);
}

/// Says how many layers are not shown; returns where the panel ends.
fn more(canvas: &mut Canvas, y: f64, layers: usize) -> f64 {
    if layers <= MAX_LAYERS {
        return y;
    }
    canvas.text(MARGIN, y + 6.0, Anchor::Start, LABEL, &format!("and {} more layers", layers - MAX_LAYERS));
    y + 18.0
}
