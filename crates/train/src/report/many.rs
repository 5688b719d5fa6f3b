//! The report of several runs: what accuracy costs, at which sparsity, by which algorithm.

use super::Content;
use super::cells::{self, Cell};
use super::chart::{Chart, Ink, Key, Mark as Look, Marks, Plot, Series, axes, empty, heading, legend, shape};
use super::panels::{Panel, Tile};
use super::records::{Epoch, Records};
use super::scale::{self, Format, Scale};
use super::svg::Canvas;
use crate::run_dir::Status;

/// Sparsities of which the curves are shown: the lowest and highest, and the one in the middle.
const CURVES: usize = 3;

/// Mean and sample standard deviation.
struct Spread {
    mean: f64,
    deviation: f64,
    values: Vec<f64>,
}

impl Spread {
    fn of(runs: &[&Records], value: impl Fn(&Records) -> Option<f64>) -> Option<Spread> {
        let values: Vec<f64> = runs.iter().filter_map(|run| value(run)).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count.max(1.0);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
        (!values.is_empty()).then_some(Spread { mean, deviation, values })
    }
}

/// A cell with results: where it lies across and how accurate it is.
struct Mark {
    group: usize,
    sparsity: f64,
    across: f64,
    accuracy: Spread,
    seeds: Vec<(f64, f64)>,
}

/// Puts the report together.
pub fn content(runs: &[Records]) -> Content {
    let (cells, tables) = cells::arrange(runs);
    let mut groups: Vec<String> = Vec::new();
    for cell in cells.iter().filter(|cell| cell.sparsity > 0.0) {
        if !groups.contains(&cell.group) {
            groups.push(cell.group.clone());
        }
    }
    groups.sort();
    let finished = runs.iter().filter(|run| is_finished(run)).count();
    let mut lines =
        vec![format!("{} runs, {finished} of them finished; the charts show those, and the curves all.", runs.len())];
    lines.extend(runs.iter().flat_map(|run| run.notes.iter().map(|note| format!("{}: {note}", run.name))).take(20));
    let costs = vec![
        vec![Panel::new("Accuracy and sparsity", frontier(&cells, &groups))],
        vec![Panel::new("Accuracy and training time", against_time(&cells, &groups))],
        vec![Panel::new("Accuracy and training FLOPs", against_flops(&cells, &groups))],
    ];
    let columns = costs.into_iter().zip(curves(&cells, &groups)).map(|(mut column, curve)| {
        column.extend(curve);
        column
    });
    Content {
        title: if cells.is_empty() { "Runs".to_owned() } else { tables.title() },
        lines,
        tiles: tiles(&cells),
        columns: columns.collect(),
        tables: tables.sections(),
        details: Vec::new(),
    }
}

fn is_finished(run: &Records) -> bool {
    run.outcome.is_some() && run.manifest.as_ref().is_some_and(|manifest| manifest.status == Status::Finished)
}

fn accuracy(run: &Records) -> Option<f64> {
    is_finished(run).then(|| run.last()?.test_accuracy)?
}

/// The most accurate cell of every sparsity.
fn tiles(cells: &[Cell<'_>]) -> Vec<Tile> {
    let mut best: Vec<(f64, f64, &Cell<'_>, Spread)> = Vec::new();
    for cell in cells {
        let Some(spread) = Spread::of(&cell.runs, accuracy) else { continue };
        match best.iter_mut().find(|(sparsity, ..)| *sparsity == cell.sparsity) {
            Some(entry) if entry.1 >= spread.mean => {}
            Some(entry) => *entry = (cell.sparsity, spread.mean, cell, spread),
            None => best.push((cell.sparsity, spread.mean, cell, spread)),
        }
    }
    let tile = |(sparsity, mean, cell, spread): &(f64, f64, &Cell<'_>, Spread)| Tile {
        name: if *sparsity == 0.0 { "Dense".to_owned() } else { format!("Best at {}", scale::level(*sparsity)) },
        figure: scale::percent(*mean),
        note: match spread.values.len() {
            1 => format!("{}, one run", cell.group),
            count => format!("{}, ± {:.2} over {count} runs", cell.group, 100.0 * spread.deviation),
        },
    };
    best.iter().take(7).map(tile).collect()
}

fn marks(cells: &[Cell<'_>], groups: &[String], across: impl Fn(&Records) -> Option<f64> + Copy) -> Vec<Mark> {
    let mark = |cell: &Cell<'_>| {
        let group = groups.iter().position(|group| *group == cell.group)?;
        let both = |run: &Records| Some((across(run)?, accuracy(run)?));
        let accuracy = Spread::of(&cell.runs, |run| Some(both(run)?.1))?;
        let seeds = cell.runs.iter().filter_map(|run| both(run)).collect();
        let across = Spread::of(&cell.runs, |run| Some(both(run)?.0))?.mean;
        Some(Mark { group, sparsity: cell.sparsity, across, accuracy, seeds })
    };
    cells.iter().filter_map(mark).collect()
}

/// Accuracy against sparsity, a line per group; the dense network as a line across.
fn frontier(cells: &[Cell<'_>], groups: &[String]) -> Canvas {
    let title = "Accuracy and sparsity";
    let marks = marks(cells, groups, |run| Some(1.0 / (1.0 - run.config.as_ref()?.sparsity.level)));
    let dense: Vec<&Cell<'_>> = cells.iter().filter(|cell| cell.sparsity == 0.0).collect();
    let dense = dense.iter().filter_map(|cell| Some((cell.group.clone(), Spread::of(&cell.runs, accuracy)?))).next();
    let note = "Test accuracy after the last epoch: mean, standard deviation over seeds, and every seed.";
    if marks.is_empty() {
        return empty(title, "No finished run has a sparsity above 0.");
    }
    let (mut canvas, y) = heading(title, note);
    let y = group_legend(&mut canvas, y, groups, dense.as_ref().map(|(name, _)| name.as_str()));
    let mut levels: Vec<f64> = marks.iter().map(|mark| mark.sparsity).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    let ticks: Vec<f64> = levels.iter().map(|level| 1.0 / (1.0 - level)).collect();
    let labels: Vec<String> = levels.iter().copied().map(scale::level).collect();
    let x = Scale::log(ticks.iter().copied());
    let reference = dense.iter().flat_map(|(_, spread)| spread.values.clone());
    let plot = axes(&mut canvas, y, x, (&ticks, &labels), "sparsity", heights(&marks, reference), Format::Percent);
    if let Some((_, spread)) = &dense {
        let at = plot.y.at(spread.mean);
        canvas.path(&[(plot.x.at(0.0), at), (plot.x.at(f64::MAX), at)], &Ink::Twin.stroke(), 1.6, true);
    }
    for group in 0..groups.len() {
        let own = marks.iter().filter(|mark| mark.group == group);
        let line: Vec<(f64, f64)> = own.map(|mark| place(&plot, mark, groups.len())).collect();
        if line.len() > 1 {
            canvas.path(&line, &Ink::Series(group).stroke(), 1.8, false);
        }
    }
    draw_marks(&mut canvas, &plot, &marks, groups, true);
    canvas
}

fn against_time(cells: &[Cell<'_>], groups: &[String]) -> Canvas {
    let note =
        "Minutes of training as measured, with whatever else the machine did. Every seed, and the mean of each cell.";
    scatter("Accuracy and training time", note, ("minutes of training", Some(0.0)), cells, groups, |run| {
        Some(run.last()?.timing.run_train_s? / 60.0)
    })
}

fn against_flops(cells: &[Cell<'_>], groups: &[String]) -> Canvas {
    let note = "FLOPs of training, gradients at zeros included, over those of the dense network. Every seed, and the mean of each cell.";
    scatter("Accuracy and training FLOPs", note, ("training FLOPs, 1 = dense", None), cells, groups, |run| {
        let totals = &run.last()?.run;
        Some(totals.flops.training? / totals.dense_flops.filter(|dense| *dense > 0.0)?)
    })
}

fn scatter(
    title: &str,
    note: &str,
    (x_name, x_from): (&str, Option<f64>),
    cells: &[Cell<'_>],
    groups: &[String],
    across: impl Fn(&Records) -> Option<f64> + Copy,
) -> Canvas {
    let marks = marks(cells, groups, across);
    if marks.is_empty() {
        return empty(title, "No finished run recorded this.");
    }
    let (mut canvas, y) = heading(title, note);
    let y = group_legend(&mut canvas, y, groups, None);
    let values = marks.iter().flat_map(|mark| mark.seeds.iter().map(|seed| seed.0)).chain(x_from);
    let x = Scale::linear(values, 5);
    let ticks = x.ticks(5);
    let labels = Format::Number.labels(&ticks);
    let plot = axes(&mut canvas, y, x, (&ticks, &labels), x_name, heights(&marks, []), Format::Percent);
    draw_marks(&mut canvas, &plot, &marks, groups, false);
    canvas
}

fn heights(marks: &[Mark], more: impl IntoIterator<Item = f64>) -> Scale {
    let ends = marks.iter().flat_map(|mark| {
        let Spread { mean, deviation, values } = &mark.accuracy;
        values.iter().copied().chain([mean - deviation, mean + deviation])
    });
    Scale::linear(ends.chain(more), 4)
}

/// Where the mean of a cell lies; groups stand a little apart, so that their deviations do.
fn place(plot: &Plot, mark: &Mark, groups: usize) -> (f64, f64) {
    let aside = (mark.group as f64 - (groups as f64 - 1.0) / 2.0) * (24.0 / groups.max(1) as f64).min(5.0);
    (plot.x.at(mark.across) + aside, plot.y.at(mark.accuracy.mean))
}

fn draw_marks(canvas: &mut Canvas, plot: &Plot, marks: &[Mark], groups: &[String], aside: bool) {
    for mark in marks {
        let ink = Ink::Series(mark.group);
        let Spread { mean, deviation, values } = &mark.accuracy;
        let middle = if aside { place(plot, mark, groups.len()) } else { (plot.x.at(mark.across), plot.y.at(*mean)) };
        if values.len() > 1 {
            for &(x, y) in &mark.seeds {
                let x = if aside { middle.0 } else { plot.x.at(x) };
                canvas.ring((x, plot.y.at(y)), 2.0, &ink.stroke());
            }
            let (low, high) = (plot.y.at(mean - deviation), plot.y.at(mean + deviation));
            canvas.path(&[(middle.0, low), (middle.0, high)], &ink.stroke(), 1.4, false);
        }
        shape(canvas, middle, mark.group, &ink.fill());
        let says = format!(
            "{} at {}: {:.2}% ± {:.2} (n = {})",
            groups[mark.group],
            scale::level(mark.sparsity),
            100.0 * mean,
            100.0 * deviation,
            values.len()
        );
        canvas.hint([middle.0 - 8.0, middle.1 - 8.0, 16.0, 16.0], &says);
    }
}

fn group_legend(canvas: &mut Canvas, y: f64, groups: &[String], dense: Option<&str>) -> f64 {
    let key = |(at, name): (usize, &String)| Key::new(name, Ink::Series(at), Look::Shape(at));
    let mut keys: Vec<Key> = groups.iter().enumerate().map(key).collect();
    keys.extend(dense.map(|name| Key::new(name, Ink::Twin, Look::Dashed)));
    legend(canvas, y, &keys)
}

/// Accuracy per epoch, a chart per sparsity; always [`CURVES`] of them, as columns there are.
fn curves(cells: &[Cell<'_>], groups: &[String]) -> Vec<Option<Panel>> {
    let mut levels: Vec<f64> = cells.iter().map(|cell| cell.sparsity).filter(|level| *level > 0.0).collect();
    levels.dedup();
    if levels.len() > CURVES {
        levels = vec![levels[0], levels[levels.len() / 2], levels[levels.len() - 1]];
    }
    let panel = |at: usize| {
        let level = *levels.get(at)?;
        let title = format!("Test accuracy at {}", scale::level(level));
        let own = cells.iter().filter(|cell| cell.sparsity == level);
        let mut series: Vec<Series> = own.filter_map(|cell| curve(cell, groups)).collect();
        let dense = cells.iter().filter(|cell| cell.sparsity == 0.0).take(1);
        series.extend(dense.map(|cell| Series::new(cell.group.clone(), Ink::Twin, points(cell)).dashed()));
        let values = series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
        let y = Scale::linear(values, 4);
        let note = "After every epoch, the mean over the seeds that have come so far.";
        let chart = Chart {
            title: &title,
            note,
            x_name: "epoch",
            x_from: 1.0,
            format: Format::Percent,
            y,
            marks: Marks::Lines,
            series,
        };
        Some(Panel::new(&title, chart.draw()))
    };
    (0..CURVES).map(panel).collect()
}

fn curve(cell: &Cell<'_>, groups: &[String]) -> Option<Series> {
    let group = groups.iter().position(|group| *group == cell.group)?;
    Some(Series { width: 1.8, ..Series::new(cell.group.clone(), Ink::Series(group), points(cell)) })
}

fn points(cell: &Cell<'_>) -> Vec<(f64, f64)> {
    let longest = cell.runs.iter().max_by_key(|run| run.epochs.len());
    let epochs = longest.into_iter().flat_map(|run| run.epochs.iter().map(|epoch| epoch.epoch));
    let at = |run: &Records, number: u64| {
        let found = run.epochs.binary_search_by_key(&number, |epoch: &Epoch| epoch.epoch).ok()?;
        run.epochs[found].test_accuracy
    };
    let mean = |number: u64| Some((number as f64 + 1.0, Spread::of(&cell.runs, |run| at(run, number))?.mean));
    epochs.filter_map(mean).collect()
}
