//! The tables as Markdown, CSV and JSON.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::measures::{MEASURES, Measure, Part, Unit};
use super::{Cell, Summary, Tables};
use crate::compare::{Run, Standing, State};
use crate::config::Config;
use crate::run_dir::Manifest;

/// Headings of the parts, and how to read them.
const PARTS: [(Part, &str, &str); 4] = [
    (
        Part::Accuracy,
        "Accuracy",
        "Mean ± sample standard deviation over the finished runs (n). The best epoch was chosen by the test images, so trust \
         the last.",
    ),
    (
        Part::Pattern,
        "Pattern",
        "Of the sparsified layers. R_s: share of the positions that were ever active; R_ins: or probed. Dead: channels without \
         any non-zero at the end.",
    ),
    (
        Part::Cost,
        "Cost",
        "FLOPs: 2 per multiply-add of convolutions and linear layers, backward = 2 × forward, gradients at zeros as computed. \
         Overheads of the mask are over a static one: FLOPs by count; bytes (weights, gradients, momentum, indices, scores at \
         their peak) over the static run of the same settings.",
    ),
    (
        Part::Timing,
        "Time and memory",
        "As measured, with whatever else the machine did: runs side by side slow each other. Mask time: training over that of \
         the static run of the same settings; mask work: share of training spent on scores and decisions, probes aside. Peak: \
         what network and algorithm held, activations included.",
    ),
];

/// A table for people.
pub(crate) struct Section {
    pub heading: &'static str,
    /// How to read it.
    pub explanation: &'static str,
    /// The head, then a row per cell.
    pub rows: Vec<Vec<String>>,
    /// How many of the columns, from the left, are labels.
    pub labels: usize,
}

impl Tables {
    /// The tables for people, in order.
    pub(crate) fn sections(&self) -> Vec<Section> {
        let section = |(part, heading, explanation)| Section {
            heading,
            explanation,
            rows: self.part(part),
            labels: self.columns.len(),
        };
        PARTS.into_iter().map(section).collect()
    }

    /// For people: one table per part, then what is not finished. Only the part on time and memory differs between two
    /// trainings of the same grid.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n", self.title());
        let _ = writeln!(text, "{} of {} runs are finished.", self.finished(), self.runs.len());
        self.unfinished(&mut text);
        for Section { heading, explanation, rows, labels } in self.sections() {
            let _ = write!(text, "\n## {heading}\n\n{explanation}\n\n{}", aligned(&rows, labels));
        }
        self.circumstances(&mut text);
        text
    }

    /// One line per cell: means, then deviations, in the units of the records. Columns `timing_…` come last.
    pub fn csv(&self) -> String {
        let mut text = String::new();
        let mut line = |fields: Vec<String>| {
            let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
            let _ = writeln!(text, "{}", fields.join(","));
        };
        let mut head = self.columns.clone();
        head.extend(["n", "planned"].map(str::to_owned));
        head.extend(MEASURES.iter().flat_map(|measure| [measure.key.to_owned(), format!("{}_std", measure.key)]));
        line(head);
        for cell in &self.cells {
            let mut fields = cell.labels.clone();
            fields.extend([cell.finished.to_string(), cell.planned.to_string()]);
            let number = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
            let pair = |summary: &Option<Summary>| {
                [number(summary.map(|summary| summary.mean)), number(summary.and_then(|summary| summary.std))]
            };
            fields.extend(cell.values.iter().flat_map(pair));
            line(fields);
        }
        text
    }

    /// Cells with means and deviations, and every run with its result or error. Only what is called `timing` differs
    /// between two trainings of the same grid.
    pub fn json(&self) -> String {
        let cells: Vec<Value> = self.cells.iter().map(|cell| self.cell_json(cell)).collect();
        let runs: Vec<Value> = self.runs.iter().map(|(run, standing)| self.run_json(run, standing)).collect();
        let value = json!({ "columns": self.columns, "cells": cells, "runs": runs });
        format!("{}\n", serde_json::to_string_pretty(&value).expect("results have only string keys"))
    }

    /// `cifar10, resnet20 x1, 20 epochs`, as far as all runs agree.
    pub(crate) fn title(&self) -> String {
        let said = |say: fn(&Config) -> String| {
            let words: BTreeSet<String> = self.runs.iter().map(|(run, _)| say(&run.config)).collect();
            words.into_iter().collect::<Vec<_>>().join(" and ")
        };
        let model = said(|config| format!("{} x{}", config.model.name, config.model.width));
        let epochs = said(|config| config.train.epochs.to_string());
        format!("{}, {model}, {epochs} epochs", said(|config| config.data.name.clone()))
    }

    fn part(&self, part: Part) -> Vec<Vec<String>> {
        let shown: Vec<(usize, &Measure)> =
            MEASURES.iter().enumerate().filter(|(_, measure)| measure.part == part).collect();
        let mut head = self.columns.clone();
        head.push("n".to_owned());
        head.extend(shown.iter().map(|(_, measure)| measure.heading.to_owned()));
        let row = |cell: &Cell| {
            let mut row = cell.labels.clone();
            row.push(if cell.finished == cell.planned {
                cell.finished.to_string()
            } else {
                format!("{}/{}", cell.finished, cell.planned)
            });
            row.extend(shown.iter().map(|&(at, measure)| shown_value(cell.values[at], measure.unit)));
            row
        };
        std::iter::once(head).chain(self.cells.iter().map(row)).collect()
    }

    fn unfinished(&self, text: &mut String) {
        let open = |(_, standing): &&(Run, Standing)| standing.state != State::Finished;
        for (run, standing) in self.runs.iter().filter(open) {
            let state = match (standing.state, standing.reason()) {
                (State::Diverged | State::Failed, Some(reason)) => reason.replace('\n', " "),
                (State::Begun, _) => "interrupted, or still under way".to_owned(),
                _ => "not yet trained".to_owned(),
            };
            let _ = write!(text, "\n* `{}`: {state}", run.name);
        }
        if self.finished() < self.runs.len() {
            text.push('\n');
        }
    }

    /// Versions, machines and dates, as far as the folders say.
    fn circumstances(&self, text: &mut String) {
        let manifests: Vec<&Manifest> =
            self.runs.iter().filter_map(|(_, standing)| standing.manifest.as_ref()).collect();
        let said =
            |say: fn(&Manifest) -> String| manifests.iter().map(|manifest| say(manifest)).collect::<BTreeSet<_>>();
        let machines = said(|manifest| {
            let Manifest { version, target, instruction_set, threads, .. } = manifest;
            format!("bidst {version}, {target}, {instruction_set}, threads per run: {threads}")
        });
        let dates = said(|manifest| manifest.started.clone());
        let ends: BTreeSet<String> = manifests.iter().filter_map(|manifest| manifest.ended.clone()).collect();
        let machines: Vec<String> = machines.into_iter().collect();
        if let (Some(first), Some(last)) = (dates.first(), ends.last()) {
            let _ = writeln!(text, "\n{}; from {first} to {last}.", machines.join("; "));
        }
    }

    fn cell_json(&self, cell: &Cell) -> Value {
        let mut object = self.labels_json(&cell.labels);
        object.insert("n".to_owned(), cell.finished.into());
        object.insert("planned".to_owned(), cell.planned.into());
        let summaries = MEASURES.iter().zip(&cell.values).map(|(measure, value)| (measure, json!(value)));
        with_timing_apart(object, summaries)
    }

    fn run_json(&self, run: &Run, standing: &Standing) -> Value {
        let mut object = self.labels_json(&run.cell);
        object.insert("run".to_owned(), run.name.clone().into());
        object.insert("seed".to_owned(), run.config.run.seed.into());
        object.insert("state".to_owned(), json!(standing.state));
        object.insert("reason".to_owned(), json!(standing.reason()));
        object.insert("result".to_owned(), json!(standing.outcome));
        Value::Object(object)
    }

    fn labels_json(&self, labels: &[String]) -> Map<String, Value> {
        let labels = self.columns.iter().cloned().zip(labels.iter().map(|label| Value::from(label.as_str())));
        Map::from_iter([("cell".to_owned(), Value::Object(labels.collect()))])
    }
}

/// Adds values under their keys, those of time and memory under `timing`.
fn with_timing_apart<'a>(mut object: Map<String, Value>, values: impl Iterator<Item = (&'a Measure, Value)>) -> Value {
    let mut timing = Map::new();
    for (measure, value) in values {
        let place = if measure.part == Part::Timing { &mut timing } else { &mut object };
        place.insert(measure.key.trim_start_matches("timing_").to_owned(), value);
    }
    object.insert("timing".to_owned(), Value::Object(timing));
    Value::Object(object)
}

/// `88.63 ± 0.12`; no deviation where there is one run, or none at all.
fn shown_value(summary: Option<Summary>, unit: Unit) -> String {
    let Some(Summary { mean, std, .. }) = summary else { return "–".to_owned() };
    let mean_text = number(unit.factor * mean, unit);
    match std.map(|std| unit.factor * std) {
        Some(std) if std > 0.0 => format!("{mean_text} ± {}", number(std, Unit { signed: false, ..unit })),
        _ => mean_text,
    }
}

/// With the digits of the unit, and commas between groups of three before the point.
fn number(value: f64, unit: Unit) -> String {
    let text = format!("{:.*}", unit.digits, value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let is_zero = text.chars().all(|letter| matches!(letter, '0' | '.'));
    let sign = match () {
        () if is_zero => "",
        () if value < 0.0 => "-",
        () if unit.signed => "+",
        () => "",
    };
    format!("{sign}{grouped}{rest}")
}

/// A Markdown table whose columns also line up as text: the first `left` to the left, the others to the right.
fn aligned(rows: &[Vec<String>], left: usize) -> String {
    let shown = |cell: &String| cell.replace('|', "\\|").replace(['\n', '\r'], " ");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0).max(3)).collect();
    let line = |row: &Vec<String>| {
        let pad = |(column, cell): (usize, &String)| match column < left {
            true => format!(" {cell:<width$} ", width = widths[column]),
            false => format!(" {cell:>width$} ", width = widths[column]),
        };
        format!("|{}|\n", row.iter().enumerate().map(pad).collect::<Vec<_>>().join("|"))
    };
    let rule = |(column, &width): (usize, &usize)| match column < left {
        true => format!(" {} ", "-".repeat(width)),
        false => format!(" {}: ", "-".repeat(width - 1)),
    };
    let rule = format!("|{}|\n", widths.iter().enumerate().map(rule).collect::<Vec<_>>().join("|"));
    let mut lines = rows.iter().map(line);
    lines.next().into_iter().chain(std::iter::once(rule)).chain(lines).collect()
}

/// A field of CSV (RFC 4180).
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERCENT: Unit = Unit { factor: 100.0, digits: 2, signed: false };

    #[test]
    fn a_mean_has_its_deviation_beside_it_and_a_single_run_has_none() {
        let summary = Summary::of(&[0.8851, 0.8875]);
        assert_eq!(shown_value(summary, PERCENT), "88.63 ± 0.17");
        assert_eq!(shown_value(Summary::of(&[0.5]), PERCENT), "50.00");
        assert_eq!(shown_value(None, PERCENT), "–");
    }

    #[test]
    fn numbers_are_grouped_and_signed_as_asked() {
        let unit = |digits, signed| Unit { factor: 1.0, digits, signed };
        assert_eq!(number(1_234_567.0, unit(0, false)), "1,234,567");
        assert_eq!(number(-1234.56, unit(1, true)), "-1,234.6");
        assert_eq!(number(2.34, unit(1, true)), "+2.3");
        assert_eq!(number(-0.0001, unit(1, true)), "0.0");
    }

    #[test]
    fn markdown_columns_line_up() {
        let rows = [["algorithm", "n"], ["set", "1/3"]].map(|row| row.map(str::to_owned).to_vec());
        let expected = "| algorithm |   n |\n| --------- | --: |\n| set       | 1/3 |\n";
        assert_eq!(aligned(&rows, 1), expected);
    }

    #[test]
    fn csv_fields_are_quoted_where_they_must_be() {
        assert_eq!(quoted("rigl"), "rigl");
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
    }
}
