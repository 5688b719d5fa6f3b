//! `report.html` and `report.png`: what a run, or several, came to, for people.
//!
//! Everything is read from run folders, so a report can be made at any time, also of a run that is still under way. A file
//! that is missing or damaged costs the panels that need it, which then say so.
//!
//! A panel is a drawing (`svg::Canvas`) of fixed width whose labels are laid out by the widths of the embedded font. The page
//! puts the panels into columns by style sheet, the picture by `picture::lay_out`.

mod cells;
mod chart;
mod font;
mod many;
mod page;
mod panels;
mod picture;
mod records;
mod scale;
mod svg;
#[cfg(test)]
mod tests;
mod theme;
mod twin;

use std::path::{Path, PathBuf};

use crate::compare::Section as Table;
use crate::error::TrainError;
use crate::files::write_atomically;
use crate::run_dir::Manifest;
use panels::{Panel, Tile};
use records::Records;

/// What a report shows.
struct Content {
    title: String,
    /// What is to be said below the title.
    lines: Vec<String>,
    tiles: Vec<Tile>,
    columns: Vec<Vec<Panel>>,
    tables: Vec<Table>,
    /// Texts to unfold, with what they are.
    details: Vec<(String, String)>,
}

/// The files of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The page.
    pub html: PathBuf,
    /// The picture.
    pub png: PathBuf,
}

/// Writes the report of the run in the folder `run` into that folder. Its twin is the run in the folder `baseline`, or else
/// one beside it: the same network, data, epochs and seed, dense or with a fixed pattern.
///
/// # Errors
/// [`TrainError::Io`] if the report cannot be written; never for what is in the folders.
pub fn write_run(run: &Path, baseline: Option<&Path>, html: &Path) -> Result<Report, TrainError> {
    let records = Records::read(run);
    let twin = baseline.map(Records::read).or_else(|| twin::find(&records));
    write(&one(&records, twin.as_ref()), html)
}

/// Writes one report of several runs to `html`, with the picture beside it.
///
/// # Errors
/// [`TrainError::Io`] if the report cannot be written; never for what is in the folders.
pub fn write_runs(runs: &[PathBuf], html: &Path) -> Result<Report, TrainError> {
    let records: Vec<Records> = runs.iter().map(|run| Records::read(run)).collect();
    write(&many::content(&records), html)
}

/// The page of the run folder `run`.
pub fn path(run: &Path) -> PathBuf {
    run.join("report.html")
}

fn write(content: &Content, html: &Path) -> Result<Report, TrainError> {
    let png = html.with_extension("png");
    let full = |path: &Path| std::path::absolute(path).map_err(TrainError::io("write", path));
    write_atomically(&full(html)?, page::html(content).as_bytes())?;
    if let Some(picture) = picture::png(&picture::lay_out(content)) {
        write_atomically(&full(&png)?, &picture)?;
    }
    Ok(Report { html: html.to_owned(), png })
}

/// The report of one run.
fn one(run: &Records, twin: Option<&Records>) -> Content {
    let title = run.config.as_ref().map_or_else(
        || run.name.clone(),
        |config| {
            let width = if config.model.width == 1.0 { String::new() } else { format!(" ×{}", config.model.width) };
            let sparsity = match config.sparsity.level {
                0.0 => String::new(),
                level => format!(", {} sparse ({})", scale::level(level), config.sparsity.distribution),
            };
            format!("{}{width} on {} · {}{sparsity}", config.model.name, config.data.name, config.algorithm.name)
        },
    );
    let mut lines = vec![format!("Run {}{}", run.name, circumstances(run.manifest.as_ref()))];
    lines.extend(twin.map(|twin| format!("In grey: {}, the same without a moving mask.", twin.name)));
    lines.extend(run.manifest.as_ref().and_then(|manifest| manifest.reason.clone()));
    lines.extend(run.notes.iter().cloned());
    let config = run.config.as_ref().map(|config| ("Settings (config.toml)".to_owned(), config.to_toml()));
    Content {
        title,
        lines,
        tiles: panels::tiles(run, twin),
        columns: panels::columns(run, twin),
        tables: Vec::new(),
        details: config.into_iter().collect(),
    }
}

fn circumstances(manifest: Option<&Manifest>) -> String {
    manifest.map_or_else(String::new, |manifest| {
        let Manifest { version, instruction_set, threads, started, target, .. } = manifest;
        format!(" · started {started} · bidst {version}, {target}, {instruction_set}, threads: {threads}")
    })
}
