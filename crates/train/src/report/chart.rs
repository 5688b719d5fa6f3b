//! The parts that panels are made of: a heading, a legend, a chart with axes.

use super::scale::{Format, Scale};
use super::svg::{Anchor, Canvas, LABEL, NOTE, TITLE, VALUE};
use super::theme::SERIES;

/// Width of a panel: what a narrow telephone shows without shrinking it.
pub const WIDTH: f64 = 376.0;
/// Room between panels.
pub const GAP: f64 = 16.0;
/// Room at the sides of a panel.
pub const MARGIN: f64 = 16.0;
/// Room between the sides.
pub const INNER: f64 = WIDTH - 2.0 * MARGIN;
/// Height of the area in which lines are drawn.
const PLOT: f64 = 148.0;
/// Points of a line beyond which neighbours are averaged: more than that no eye tells apart on this width.
const MAX_POINTS: usize = 170;

/// Who a mark belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// A series, by number.
    Series(usize),
    /// The twin.
    Twin,
}

impl Ink {
    /// Class of strokes.
    pub fn stroke(self) -> String {
        match self {
            Ink::Series(number) => format!("s{}", number % SERIES),
            Ink::Twin => "st".to_owned(),
        }
    }

    /// Class of areas.
    pub fn fill(self) -> String {
        match self {
            Ink::Series(number) => format!("f{}", number % SERIES),
            Ink::Twin => "ft".to_owned(),
        }
    }
}

/// An entry of a legend.
#[derive(Clone, Debug)]
pub struct Key {
    /// What it says.
    pub name: String,
    /// Its colour.
    pub ink: Ink,
    /// Its mark.
    pub mark: Mark,
}

/// How the marks of a series look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line.
    Line,
    /// A dashed line.
    Dashed,
    /// A disc.
    Dot,
    /// A circle.
    Ring,
    /// The shape of a group.
    Shape(usize),
}

impl Key {
    /// An entry.
    pub fn new(name: impl Into<String>, ink: Ink, mark: Mark) -> Key {
        Key { name: name.into(), ink, mark }
    }
}

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Series {
    /// How the legend calls it.
    pub key: Key,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Lowest and highest values around the points, or nothing.
    pub band: Vec<(f64, f64)>,
    /// Width of the line.
    pub width: f64,
}

/// What the marks of a chart are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// Lines through the points.
    Lines,
    /// Bars from 0.
    Bars,
}

/// A chart over epochs or steps.
#[derive(Debug)]
pub struct Chart<'a> {
    /// Its title.
    pub title: &'a str,
    /// What it shows, in a sentence.
    pub note: &'a str,
    /// What the horizontal axis counts.
    pub x_name: &'a str,
    /// Number of the leftmost value that there could be.
    pub x_from: f64,
    /// How values are written.
    pub format: Format,
    /// The vertical scale.
    pub y: Scale,
    /// What the marks are.
    pub marks: Marks,
    /// The lines.
    pub series: Vec<Series>,
}

impl Series {
    /// A line without a band.
    pub fn new(name: impl Into<String>, ink: Ink, points: Vec<(f64, f64)>) -> Series {
        let key = Key::new(name, ink, Mark::Line);
        Series { key, points, band: Vec::new(), width: 2.0 }
    }

    /// The same, thinner.
    pub fn thin(self) -> Series {
        Series { width: 1.3, ..self }
    }

    /// The same, dashed and thinner.
    pub fn dashed(self) -> Series {
        Series { key: Key { mark: Mark::Dashed, ..self.key }, width: 1.3, ..self }
    }

    /// With neighbours averaged where there are too many to be seen.
    fn thinned(&self) -> Series {
        let step = self.points.len().div_ceil(MAX_POINTS).max(1);
        let mean = |chunk: &[(f64, f64)]| {
            let (x, y) = chunk.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
            (x / chunk.len() as f64, y / chunk.len() as f64)
        };
        let widest = |chunk: &[(f64, f64)]| {
            chunk.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |sum, side| (sum.0.min(side.0), sum.1.max(side.1)))
        };
        let points = self.points.chunks(step).map(mean).collect();
        Series { points, band: self.band.chunks(step).map(widest).collect(), ..self.clone() }
    }
}

/// Writes title and note; returns the drawing and where it goes on.
pub fn heading(title: &str, note: &str) -> (Canvas, f64) {
    let mut canvas = Canvas::new(WIDTH, 0.0);
    canvas.text(MARGIN, 27.0, Anchor::Start, TITLE, title);
    let lines = NOTE.wrap(note, INNER);
    for (at, line) in lines.iter().enumerate() {
        canvas.text(MARGIN, 46.0 + 15.0 * at as f64, Anchor::Start, NOTE, line);
    }
    (canvas, 40.0 + 15.0 * lines.len() as f64)
}

/// A panel that says why there is nothing to see.
pub fn empty(title: &str, reason: &str) -> Canvas {
    let (mut canvas, y) = heading(title, reason);
    canvas.set_height(y + 10.0);
    canvas
}

/// Writes a legend from `y` on, on as many lines as it needs; returns where it ends.
pub fn legend(canvas: &mut Canvas, y: f64, keys: &[Key]) -> f64 {
    let (mut x, mut y) = (MARGIN, y + 12.0);
    for key in keys {
        let name = LABEL.fit(&key.name, INNER - 22.0);
        let width = 22.0 + LABEL.width(&name);
        if x > MARGIN && x + width > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + 17.0);
        }
        draw_key(canvas, (x, y - 4.0), key);
        canvas.text(x + 22.0, y, Anchor::Start, LABEL, &name);
        x += width + 14.0;
    }
    y + 8.0
}

fn draw_key(canvas: &mut Canvas, (x, y): (f64, f64), key: &Key) {
    let (stroke, fill, middle) = (key.ink.stroke(), key.ink.fill(), (x + 8.0, y));
    match key.mark {
        Mark::Line | Mark::Dashed => canvas.path(&[(x, y), (x + 16.0, y)], &stroke, 3.0, key.mark == Mark::Dashed),
        Mark::Dot => canvas.dot(middle, 4.0, &fill),
        Mark::Ring => canvas.ring(middle, 5.0, &stroke),
        Mark::Shape(group) => shape(canvas, middle, group, &fill),
    }
}

/// Groups differ in shape as well as in colour.
pub fn shape(canvas: &mut Canvas, (x, y): (f64, f64), group: usize, class: &str) {
    const SIZE: f64 = 4.6;
    let corners: &[(f64, f64)] = match group % 5 {
        0 => return canvas.dot((x, y), SIZE, class),
        1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2 => &[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
        3 => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
        _ => &[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)],
    };
    let points: Vec<(f64, f64)> = corners.iter().map(|corner| (x + SIZE * corner.0, y + SIZE * corner.1)).collect();
    canvas.area(&points, class, 1.0);
}

/// Labels on a horizontal axis: as many as fit, each below its tick and inside the panel.
pub fn x_labels(canvas: &mut Canvas, y: f64, x: Scale, ticks: &[f64], labels: &[String]) {
    let mut free_from = f64::NEG_INFINITY;
    for (&tick, label) in ticks.iter().zip(labels) {
        let half = LABEL.width(label) / 2.0;
        let middle = x.at(tick).clamp(4.0 + half, canvas.width() - 4.0 - half);
        if middle - half < free_from {
            continue;
        }
        canvas.text(middle, y, Anchor::Middle, LABEL, label);
        free_from = middle + half + 4.0;
    }
}

/// The area of a chart, with its axes drawn.
pub struct Plot {
    /// The horizontal scale.
    pub x: Scale,
    /// The vertical scale.
    pub y: Scale,
    /// Top of the area.
    pub top: f64,
    /// Bottom of the area.
    pub bottom: f64,
}

/// Draws axes below `top`: horizontal lines with labels, and labels below.
pub fn axes(
    canvas: &mut Canvas,
    top: f64,
    x: Scale,
    x_ticks: (&[f64], &[String]),
    x_name: &str,
    y: Scale,
    format: Format,
) -> Plot {
    let top = top + 8.0;
    let bottom = top + PLOT;
    let ticks = y.ticks(4);
    let labels = format.labels(&ticks);
    let room = labels.iter().map(|label| LABEL.width(label)).fold(0.0, f64::max);
    let (left, right) = (MARGIN + room + 8.0, WIDTH - MARGIN - 4.0);
    let (x, y) = (x.between(left + 4.0, right - 4.0), y.between(bottom, top));
    for (&tick, label) in ticks.iter().zip(&labels) {
        let at = y.at(tick);
        canvas.line((left, at), (right, at), "grid");
        canvas.text(left - 8.0, at + 4.0, Anchor::End, LABEL, label);
    }
    canvas.line((left, bottom), (right, bottom), "axis");
    for &tick in x_ticks.0 {
        canvas.line((x.at(tick), bottom), (x.at(tick), bottom + 4.0), "axis");
    }
    x_labels(canvas, bottom + 17.0, x, x_ticks.0, x_ticks.1);
    canvas.text((left + right) / 2.0, bottom + 34.0, Anchor::Middle, LABEL, x_name);
    canvas.set_height(bottom + 46.0);
    Plot { x, y, top, bottom }
}

impl Chart<'_> {
    /// Draws it; says so if there is nothing to draw.
    pub fn draw(&self) -> Canvas {
        let shown: Vec<Series> =
            self.series.iter().filter(|series| !series.points.is_empty()).map(Series::thinned).collect();
        if shown.is_empty() {
            return empty(self.title, "Nothing is recorded of this.");
        }
        let (mut canvas, y) = heading(self.title, self.note);
        let keys: Vec<Key> = shown.iter().map(|series| series.key.clone()).collect();
        let y = if keys.len() > 1 { legend(&mut canvas, y, &keys) } else { y };
        let ends = self.series.iter().flat_map(|series| series.points.iter().map(|point| point.0));
        let last = ends.fold(self.x_from, f64::max);
        let x = Scale::exact(self.x_from, last);
        let ticks = x.whole_ticks(6);
        let labels = Format::Number.labels(&ticks);
        let plot = axes(&mut canvas, y, x, (&ticks, &labels), self.x_name, self.y, self.format);
        for series in shown.iter().rev() {
            match self.marks {
                Marks::Lines => draw_line(&mut canvas, &plot, series),
                Marks::Bars => draw_bars(&mut canvas, &plot, series),
            }
        }
        self.hints(&mut canvas, &plot, &shown);
        canvas
    }

    /// A strip per point of the longest line: what all lines say there.
    fn hints(&self, canvas: &mut Canvas, plot: &Plot, shown: &[Series]) {
        let Some(longest) = shown.iter().max_by_key(|series| series.points.len()) else { return };
        let xs: Vec<f64> = longest.points.iter().map(|point| point.0).collect();
        for (at, &value) in xs.iter().enumerate() {
            let middle = |a: f64, b: f64| (plot.x.at(a) + plot.x.at(b)) / 2.0;
            let left = if at > 0 { middle(xs[at - 1], value) } else { plot.x.at(value) - 4.0 };
            let right = xs.get(at + 1).map_or(plot.x.at(value) + 4.0, |&next| middle(value, next));
            let near = |series: &Series| {
                let distance = |point: &&(f64, f64)| (point.0 - value).abs();
                series.points.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).map(|point| point.1)
            };
            let says = |series: &Series| Some(format!("{} {}", series.key.name, self.written(near(series)?)));
            let text: Vec<String> = shown.iter().filter_map(says).collect();
            let text = format!("{} {:.0}: {}", self.x_name, value, text.join(", "));
            canvas.hint([left, plot.top, (right - left).max(0.5), plot.bottom - plot.top], &text);
        }
    }

    fn written(&self, value: f64) -> String {
        match self.format {
            Format::Percent => format!("{:.2}%", 100.0 * value),
            Format::Number if value.abs() < 100.0 => format!("{value:.4}"),
            Format::Number => format!("{value:.0}"),
            Format::Bytes => super::scale::bytes(value),
        }
    }
}

fn draw_line(canvas: &mut Canvas, plot: &Plot, series: &Series) {
    let place = |&(x, y): &(f64, f64)| (plot.x.at(x), plot.y.at(y));
    let side = |pick: fn(&(f64, f64)) -> f64| {
        series.points.iter().zip(&series.band).map(move |(point, band)| (point.0, pick(band)))
    };
    let mut outline: Vec<(f64, f64)> = side(|band| band.0).map(|point| place(&point)).collect();
    let upper: Vec<(f64, f64)> = side(|band| band.1).map(|point| place(&point)).collect();
    outline.extend(upper.into_iter().rev());
    if outline.len() > 2 {
        canvas.area(&outline, &series.key.ink.fill(), 0.16);
    }
    let points: Vec<(f64, f64)> = series.points.iter().map(place).collect();
    canvas.path(&points, &series.key.ink.stroke(), series.width, series.key.mark == Mark::Dashed);
}

fn draw_bars(canvas: &mut Canvas, plot: &Plot, series: &Series) {
    let gaps = series.points.windows(2).map(|pair| plot.x.at(pair[1].0) - plot.x.at(pair[0].0));
    let width = (0.7 * gaps.fold(20.0, f64::min)).clamp(1.0, 10.0);
    for &(x, y) in &series.points {
        let (zero, end) = (plot.y.at(0.0), plot.y.at(y));
        let height = (zero - end).abs();
        canvas.rect([plot.x.at(x) - width / 2.0, zero.min(end), width, height], &series.key.ink.fill(), 0.0);
    }
}

/// A row of a panel of horizontal bars.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// What stands behind it.
    pub text: String,
    /// The twin's length, drawn thinner below.
    pub twin: Option<f64>,
    /// Its colour.
    pub ink: Ink,
}

/// Draws rows of bars from `y` on; returns where they end.
pub fn bars(canvas: &mut Canvas, y: f64, rows: &[Bar]) -> f64 {
    const HEIGHT: f64 = 26.0;
    let room = |text: fn(&Bar) -> &str| rows.iter().map(|row| VALUE.width(text(row))).fold(0.0, f64::max);
    let left = MARGIN + room(|row| &row.name) + 10.0;
    let right = WIDTH - MARGIN - room(|row| &row.text) - 8.0;
    let longest = rows.iter().flat_map(|row| [row.value, row.twin.unwrap_or(0.0)]).fold(1e-30, f64::max);
    for (at, row) in rows.iter().enumerate() {
        let top = y + HEIGHT * at as f64 + 6.0;
        let length = |value: f64| (right - left).max(10.0) * (value / longest).clamp(0.0, 1.0);
        canvas.text(left - 10.0, top + 12.0, Anchor::End, LABEL, &row.name);
        canvas.rect([left, top, length(row.value).max(1.0), 13.0], &row.ink.fill(), 2.0);
        if let Some(twin) = row.twin {
            canvas.rect([left, top + 14.5, length(twin).max(1.0), 4.0], &Ink::Twin.fill(), 1.0);
        }
        canvas.text(WIDTH - MARGIN, top + 12.0, Anchor::End, VALUE, &row.text);
    }
    y + HEIGHT * rows.len() as f64 + 8.0
}
