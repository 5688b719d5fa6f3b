//! A drawing of fixed size, in SVG. It remembers where its texts are, so that a test can say that none overlap.

use std::fmt::Write;

use super::font::{self, Weight};

/// Which point of a text lies at its coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its left end.
    Start,
    /// Its middle.
    Middle,
    /// Its right end.
    End,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    size: f64,
    weight: Weight,
    class: &'static str,
}

/// Titles.
pub const TITLE: Style = Style { size: 14.0, weight: Weight::SemiBold, class: "t" };
/// What a panel shows.
pub const NOTE: Style = Style { size: 11.5, weight: Weight::Regular, class: "m" };
/// Ticks and labels.
pub const LABEL: Style = Style { size: 11.0, weight: Weight::Regular, class: "m" };
/// Labels that carry data.
pub const VALUE: Style = Style { size: 11.0, weight: Weight::Regular, class: "t" };
/// Figures on tiles.
pub const FIGURE: Style = Style { size: 21.0, weight: Weight::SemiBold, class: "t" };
/// The heading of a picture.
pub const HEADING: Style = Style { size: 22.0, weight: Weight::SemiBold, class: "t" };
/// On tinted ground.
pub const CELL: Style = Style { size: 10.5, weight: Weight::Regular, class: "t" };

impl Style {
    /// Width of `text`.
    pub fn width(&self, text: &str) -> f64 {
        font::width(text, self.size, self.weight)
    }

    /// `text`, with its middle left out if it is wider than `room`.
    pub fn fit(&self, text: &str, room: f64) -> String {
        font::fit(text, room, self.size, self.weight)
    }

    /// `text` on lines no wider than `room`, broken at spaces; a word that is too long loses its middle.
    pub fn wrap(&self, text: &str, room: f64) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let word = self.fit(word, room);
            match lines.last_mut() {
                Some(line) if self.width(&format!("{line} {word}")) <= room => {
                    line.push(' ');
                    line.push_str(&word);
                }
                _ => lines.push(word),
            }
        }
        lines
    }
}

/// The place of a text.
#[derive(Clone, Debug)]
pub struct TextBox {
    /// Left, top, right, bottom.
    pub sides: [f64; 4],
    /// The text.
    pub text: String,
}

/// A drawing under way.
#[derive(Clone, Debug)]
pub struct Canvas {
    width: f64,
    height: f64,
    body: String,
    texts: Vec<TextBox>,
}

impl Canvas {
    /// An empty drawing.
    pub fn new(width: f64, height: f64) -> Canvas {
        Canvas { width, height, body: String::new(), texts: Vec::new() }
    }

    /// Its width.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// Its height.
    pub fn height(&self) -> f64 {
        self.height
    }

    /// Makes it higher or lower.
    pub fn set_height(&mut self, height: f64) {
        self.height = height;
    }

    /// A text whose baseline is at `y`. It may come from outside: it is escaped here.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, style: Style, text: &str) {
        let text = font::plain(text);
        let width = style.width(&text);
        let (left, word) = match anchor {
            Anchor::Start => (x, ""),
            Anchor::Middle => (x - width / 2.0, " text-anchor=\"middle\""),
            Anchor::End => (x - width, " text-anchor=\"end\""),
        };
        let weight = if style.weight == Weight::SemiBold { " font-weight=\"600\"" } else { "" };
        let Style { size, class, .. } = style;
        let escaped = escape(&text);
        let _ = write!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\"{weight}{word}>{escaped}</text>"
        );
        let sides = [left, y - 0.76 * size, left + width, y + 0.2 * size];
        self.texts.push(TextBox { sides, text });
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let _ = write!(
            self.body,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// A line through `points`.
    pub fn path(&mut self, points: &[(f64, f64)], class: &str, width: f64, dashed: bool) {
        if points.len() < 2 {
            return points.iter().for_each(|&point| self.dot(point, 1.5 * width, &class.replace('s', "f")));
        }
        let dash = if dashed { " stroke-dasharray=\"4 3\"" } else { "" };
        let points = joined(points);
        let _ = write!(
            self.body,
            "<polyline class=\"{class}\" fill=\"none\" stroke-width=\"{width}\" stroke-linejoin=\"round\"{dash} \
             points=\"{points}\"/>"
        );
    }

    /// A filled shape with corners at `points`.
    pub fn area(&mut self, points: &[(f64, f64)], class: &str, opacity: f64) {
        let points = joined(points);
        let _ = write!(self.body, "<polygon class=\"{class}\" opacity=\"{opacity}\" points=\"{points}\"/>");
    }

    /// A filled disc.
    pub fn dot(&mut self, (x, y): (f64, f64), radius: f64, class: &str) {
        let _ = write!(self.body, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>");
    }

    /// A circle.
    pub fn ring(&mut self, (x, y): (f64, f64), radius: f64, class: &str) {
        let _ = write!(
            self.body,
            "<circle class=\"hole {class}\" stroke-width=\"1.6\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>"
        );
    }

    /// A filled rectangle with rounded corners.
    pub fn rect(&mut self, [x, y, width, height]: [f64; 4], class: &str, radius: f64) {
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius}\"/>"
        );
    }

    /// A rectangle in a light tint, with a bar of the full colour at its left.
    pub fn tint(&mut self, [x, y, width, height]: [f64; 4], class: &str) {
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" fill-opacity=\"0.16\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
        self.rect([x, y, 3.0, height], class, 0.0);
    }

    /// A place that says `text` when pointed at. Browsers show it without any script.
    pub fn hint(&mut self, [x, y, width, height]: [f64; 4], text: &str) {
        let text = escape(&font::plain(text));
        let _ = write!(
            self.body,
            "<rect class=\"hit\" fill-opacity=\"0\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">\
             <title>{text}</title></rect>"
        );
    }

    /// Puts another drawing into this one.
    pub fn place(&mut self, x: f64, y: f64, other: &Canvas) {
        let _ = write!(self.body, "<g transform=\"translate({x:.1} {y:.1})\">{}</g>", other.body);
        self.texts.extend(other.texts.iter().map(|found| TextBox {
            sides: [found.sides[0] + x, found.sides[1] + y, found.sides[2] + x, found.sides[3] + y],
            text: found.text.clone(),
        }));
    }

    /// The drawing as an element of a page; `label` says what it is to those who cannot see it.
    pub fn inline(&self, label: &str) -> String {
        let Canvas { width, height, body, .. } = self;
        let label = escape(&font::plain(label));
        format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" \
             aria-label=\"{label}\">{body}</svg>"
        )
    }

    /// The drawing as a document of its own.
    pub fn document(&self, css: &str) -> String {
        let Canvas { width, height, body, .. } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" font-family=\"Inter\"><style>{css}</style>{body}</svg>"
        )
    }
}

fn joined(points: &[(f64, f64)]) -> String {
    let mut text = String::with_capacity(12 * points.len());
    for (x, y) in points {
        let _ = write!(text, "{x:.1},{y:.1} ");
    }
    text.pop();
    text
}

/// For XML and HTML, in elements and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Pairs of texts that overlap, and texts that are not inside the drawing.
#[cfg(test)]
pub fn clashes(canvas: &Canvas) -> Vec<String> {
    let mut found = Vec::new();
    let texts = &canvas.texts;
    for (at, a) in texts.iter().enumerate() {
        let [left, top, right, bottom] = a.sides;
        if left < -0.5 || top < -0.5 || right > canvas.width + 0.5 || bottom > canvas.height + 0.5 {
            found.push(format!("outside: {:?} at {:?}", a.text, a.sides));
        }
        let meets = |b: &&TextBox| {
            left < b.sides[2] - 0.5 && b.sides[0] < right - 0.5 && top < b.sides[3] - 0.5 && b.sides[1] < bottom - 0.5
        };
        found.extend(texts[at + 1..].iter().filter(meets).map(|b| format!("{:?} over {:?}", a.text, b.text)));
    }
    found
}
