//! The report as a picture: the same panels, laid out once, drawn by resvg in light colours.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use png::{ColorType, Encoder};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::chart::{GAP, WIDTH};
use super::font;
use super::panels::{Panel, Tile};
use super::svg::{Anchor, Canvas, FIGURE, HEADING, LABEL, NOTE};
use super::theme;
use super::{Content, Table};

/// Room around everything.
const EDGE: f64 = 24.0;
/// Columns of panels.
const COLUMNS: f64 = 3.0;
/// Width of everything.
const PAGE: f64 = 2.0 * EDGE + COLUMNS * WIDTH + (COLUMNS - 1.0) * GAP;
/// Pixels of the picture for a unit of the drawing: sharp on fine screens.
const SCALE: f32 = 2.0;
/// Rows of pixels that are drawn at a time: all at once, a picture would often take more memory than the training did.
const BAND: u32 = 128;
/// Height beyond which tables are left to the page, and a picture is cut.
const MAX_HEIGHT: f64 = 5_000.0;
/// Height of a tile.
const TILE: f64 = 88.0;

/// Lays out a report.
pub fn lay_out(content: &Content) -> Canvas {
    let mut canvas = Canvas::new(PAGE, 0.0);
    let mut body = Canvas::new(PAGE, 0.0);
    let inner = PAGE - 2.0 * EDGE;
    body.text(EDGE, 46.0, Anchor::Start, HEADING, &HEADING.fit(&content.title, inner));
    let mut y = 58.0;
    for line in content.lines.iter().flat_map(|line| NOTE.wrap(line, inner)) {
        body.text(EDGE, y + 12.0, Anchor::Start, NOTE, &line);
        y += 16.0;
    }
    y += GAP;
    if !content.tiles.is_empty() {
        tiles(&mut body, y, &content.tiles);
        y += TILE + GAP;
    }
    let mut bottom = y;
    for (at, column) in content.columns.iter().enumerate() {
        let x = EDGE + (WIDTH + GAP) * at as f64;
        bottom = f64::max(bottom, stack(&mut body, x, y, column));
    }
    for shown in &content.tables {
        if bottom + table_height(shown) > MAX_HEIGHT {
            break;
        }
        bottom = table(&mut body, bottom, shown);
    }
    let height = (bottom - GAP + EDGE).min(MAX_HEIGHT);
    canvas.set_height(height);
    canvas.rect([0.0, 0.0, PAGE, height], "page", 0.0);
    canvas.place(0.0, 0.0, &body);
    canvas
}

/// A card with a drawing on it, for each of some panels, one below the other.
fn stack(body: &mut Canvas, x: f64, mut y: f64, panels: &[Panel]) -> f64 {
    for panel in panels {
        body.rect([x, y, WIDTH, panel.canvas.height()], "plate", 8.0);
        body.place(x, y, &panel.canvas);
        y += panel.canvas.height() + GAP;
    }
    y
}

fn tiles(body: &mut Canvas, y: f64, tiles: &[Tile]) {
    let count = tiles.len() as f64;
    let width = ((PAGE - 2.0 * EDGE + GAP) / count - GAP).min(220.0);
    for (at, tile) in tiles.iter().enumerate() {
        let x = EDGE + (width + GAP) * at as f64;
        let room = width - 24.0;
        body.rect([x, y, width, TILE], "plate", 8.0);
        body.text(x + 12.0, y + 22.0, Anchor::Start, LABEL, &LABEL.fit(&tile.name, room));
        body.text(x + 12.0, y + 47.0, Anchor::Start, FIGURE, &FIGURE.fit(&tile.figure, room));
        for (line, text) in LABEL.wrap(&tile.note, room).iter().take(2).enumerate() {
            body.text(x + 12.0, y + 64.0 + 14.0 * line as f64, Anchor::Start, LABEL, text);
        }
    }
}

/// Height of a row of a table.
const ROW: f64 = 19.0;
/// Rows of a table beyond which the rest is left to the page.
const MAX_ROWS: usize = 60;

fn table_height(table: &Table) -> f64 {
    44.0 + ROW * table.rows.len().min(MAX_ROWS + 1) as f64
}

/// A table over the whole width, with as many columns as fit; returns where it ends.
fn table(body: &mut Canvas, y: f64, table: &Table) -> f64 {
    const LONGEST: f64 = 240.0;
    let rows = &table.rows[..table.rows.len().min(MAX_ROWS + 1)];
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| LABEL.width(cell)).fold(0.0, f64::max).min(LONGEST)
    };
    let height = table_height(table);
    let inner = PAGE - 2.0 * EDGE;
    body.rect([EDGE, y, inner, height], "plate", 8.0);
    body.text(EDGE + 16.0, y + 27.0, Anchor::Start, super::svg::TITLE, table.heading);
    let mut x = EDGE + 16.0;
    for column in 0..columns {
        let width = width(column);
        if x + width > EDGE + inner - 16.0 {
            break;
        }
        for (at, row) in rows.iter().enumerate() {
            let Some(cell) = row.get(column) else { continue };
            let style = if at == 0 { LABEL } else { super::svg::VALUE };
            let (place, anchor) = if column < table.labels { (x, Anchor::Start) } else { (x + width, Anchor::End) };
            body.text(place, y + 50.0 + ROW * at as f64, anchor, style, &style.fit(cell, width + 0.1));
        }
        x += width + 26.0;
    }
    y + height + GAP
}

/// The picture as PNG; `None` if it cannot be drawn, which no drawing of ours should come to.
pub fn png(canvas: &Canvas) -> Option<Vec<u8>> {
    let tree = Tree::from_str(&canvas.document(&theme::picture_css()), &options()).ok()?;
    let size = tree.size().to_int_size().scale_by(SCALE)?;
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, size.width(), size.height());
    encoder.set_color(ColorType::Rgba);
    let mut header = encoder.write_header().ok()?;
    let mut rows = header.stream_writer().ok()?;
    for top in (0..size.height()).step_by(BAND as usize) {
        let mut band = Pixmap::new(size.width(), BAND.min(size.height() - top))?;
        let place = Transform::from_scale(SCALE, SCALE).post_translate(0.0, -(top as f32));
        resvg::render(&tree, place, &mut band.as_mut());
        let pixels = band.pixels().iter().map(|pixel| pixel.demultiply());
        let pixels: Vec<u8> =
            pixels.flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue(), pixel.alpha()]).collect();
        rows.write_all(&pixels).ok()?;
    }
    rows.finish().ok()?;
    header.finish().ok()?;
    Some(bytes)
}

/// Options with the embedded font, and no other.
fn options() -> Options<'static> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        let mut fonts = fontdb::Database::new();
        font::FILES.iter().for_each(|(_, file)| fonts.load_font_data(file.to_vec()));
        fonts.set_sans_serif_family("Inter");
        Arc::new(fonts)
    });
    Options { fontdb: fonts.clone(), font_family: "Inter".to_owned(), ..Options::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::svg::{Style, TITLE};

    /// Width of a text as resvg lays it out.
    fn drawn(style: Style, text: &str) -> f64 {
        let mut canvas = Canvas::new(2_000.0, 40.0);
        canvas.text(0.0, 20.0, Anchor::Start, style, text);
        let tree = Tree::from_str(&canvas.document(""), &options()).unwrap();
        f64::from(tree.root().abs_layer_bounding_box().width())
    }

    #[test]
    fn the_widths_we_reckon_with_are_those_of_the_font() {
        for style in [LABEL, TITLE] {
            let all: String = (' '..='~').collect();
            for text in ["layer1.0.conv2", "0123456789", "training loss, 95.0 × 12 %", "WAVE to ···", all.as_str()]
            {
                let (reckoned, found) = (style.width(text), drawn(style, text));
                assert!((reckoned - found).abs() < 0.02 * reckoned + 2.0, "{text}: {reckoned:.1} for {found:.1}");
            }
        }
    }

    #[test]
    fn a_picture_drawn_band_by_band_looks_like_the_one_drawn_at_once() {
        let (width, height) = (200.0, 150.0);
        let mut canvas = Canvas::new(width, height);
        canvas.rect([0.0, 0.0, width, height], "page", 0.0);
        (0..9).for_each(|line| canvas.text(10.3, 17.0 * f64::from(line), Anchor::Start, TITLE, "across the bands"));
        let tree = Tree::from_str(&canvas.document(&theme::picture_css()), &options()).unwrap();
        let mut whole = Pixmap::new(400, 300).unwrap();
        resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut whole.as_mut());
        let bands = Pixmap::decode_png(&png(&canvas).unwrap()).unwrap();
        assert_eq!((bands.width(), bands.height()), (400, 300));
        const { assert!(300 > 2 * BAND) };
        // Edges of letters are smoothed from coordinates that are rounded within a band.
        let differences = bands.data().iter().zip(whole.data()).map(|(a, b)| a.abs_diff(*b));
        assert!(differences.clone().max() < Some(40) && differences.filter(|&shades| shades > 0).count() < 1000);
    }

    #[test]
    fn a_picture_has_the_size_of_its_drawing_and_is_not_blank() {
        let mut canvas = Canvas::new(100.0, 50.0);
        canvas.rect([0.0, 0.0, 100.0, 50.0], "page", 0.0);
        let blank = png(&canvas).unwrap();
        canvas.text(10.0, 30.0, Anchor::Start, TITLE, "text");
        let written = png(&canvas).unwrap();
        assert_eq!(u32::from_be_bytes(written[16..20].try_into().unwrap()), 200);
        assert_eq!(u32::from_be_bytes(written[20..24].try_into().unwrap()), 100);
        assert_ne!(blank, written);
    }
}
