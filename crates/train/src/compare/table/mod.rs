//! What the finished runs of a comparison come to: mean and standard deviation over seeds, cell by cell.

mod measures;
mod render;

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Run, Standing};
use crate::config::Config;
use crate::metrics::{EpochRecord, PatternRecord, RunTotals};
use crate::session::Outcome;
use crate::settings::{Settings, deciding};
use measures::{MEASURES, Measure};
pub(crate) use render::Section;

/// Results of a comparison, ready to be written.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Names of what tells cells apart.
    columns: Vec<String>,
    /// Cells in the order of the grid.
    cells: Vec<Cell>,
    /// Runs in the order of the grid, with how they stand.
    runs: Vec<(Run, Standing)>,
}

/// The runs that differ in their seeds only.
#[derive(Clone, Debug)]
struct Cell {
    labels: Vec<String>,
    /// Runs there are to be.
    planned: usize,
    /// Finished runs.
    finished: usize,
    /// One value per measure, `None` where no run has one.
    values: Vec<Option<Summary>>,
}

/// Mean and sample standard deviation of some runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// With n − 1 in the denominator; `None` for a single run.
    pub std: Option<f64>,
    /// Number of runs.
    pub n: usize,
}

impl Summary {
    /// Of some values; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n.max(1) as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        (n > 0).then_some(Summary { mean, std, n })
    }
}

/// A finished run, and the static run of otherwise equal settings if there is one.
struct Sample<'a> {
    outcome: &'a Outcome,
    fixed: Option<&'a Outcome>,
}

impl Sample<'_> {
    fn last(&self) -> &EpochRecord {
        &self.outcome.last
    }

    /// Of the sparsified layers, if there are any.
    fn pattern(&self) -> Option<&PatternRecord> {
        (self.outcome.weights.sparsified_weights > 0).then_some(&self.outcome.last.pattern)
    }

    fn totals(&self) -> &RunTotals {
        &self.outcome.last.run
    }
}

impl Tables {
    /// Sums up `runs`, which stand as `standings` say; `columns` name the entries of their cells.
    pub(crate) fn new(columns: Vec<String>, runs: &[Run], standings: Vec<Standing>) -> Tables {
        let runs: Vec<(Run, Standing)> = runs.iter().cloned().zip(standings).collect();
        let mut labels: Vec<&Vec<String>> = Vec::new();
        for (run, _) in &runs {
            if !labels.contains(&&run.cell) {
                labels.push(&run.cell);
            }
        }
        let mut fixed = Fixed::new();
        for (run, standing) in runs.iter().filter(|(run, _)| run.config.algorithm.name == "static") {
            fixed.entry(apart_from_algorithm(&run.config)).or_insert(standing.outcome.as_ref());
        }
        let cells = labels.into_iter().map(|labels| cell(labels, &runs, &fixed)).collect();
        Tables { columns, cells, runs }
    }

    /// Runs that ended with an error.
    pub fn failures(&self) -> impl Iterator<Item = &(Run, Standing)> {
        self.runs.iter().filter(|(_, standing)| standing.reason().is_some())
    }

    /// Runs that are finished.
    pub fn finished(&self) -> usize {
        self.runs.iter().filter(|(_, standing)| standing.outcome.is_some()).count()
    }
}

/// The static runs, by what they share with those that are compared with them.
type Fixed<'a> = BTreeMap<Settings, Option<&'a Outcome>>;

fn apart_from_algorithm(config: &Config) -> Settings {
    let mut settings = deciding(config);
    settings.retain(|key, _| !key.starts_with("algorithm."));
    settings
}

fn cell(labels: &[String], runs: &[(Run, Standing)], fixed: &Fixed<'_>) -> Cell {
    let own: Vec<&(Run, Standing)> = runs.iter().filter(|(run, _)| run.cell == labels).collect();
    let samples: Vec<Sample<'_>> = own.iter().filter_map(|(run, standing)| sample(run, standing, fixed)).collect();
    let summary = |measure: &Measure| {
        let values: Vec<f64> = samples.iter().filter_map(measure.of).collect();
        Summary::of(&values)
    };
    let values = MEASURES.iter().map(summary).collect();
    Cell { labels: labels.to_vec(), planned: own.len(), finished: samples.len(), values }
}

fn sample<'a>(run: &Run, standing: &'a Standing, fixed: &Fixed<'a>) -> Option<Sample<'a>> {
    let outcome = standing.outcome.as_ref()?;
    let fixed = fixed.get(&apart_from_algorithm(&run.config)).copied().flatten();
    Some(Sample { outcome, fixed })
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        let summary = Summary::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((summary.mean, summary.n), (5.0, 8));
        assert!((summary.std.unwrap() - (32.0f64 / 7.0).sqrt()).abs() < 1e-15);
        assert_eq!(Summary::of(&[3.0]), Some(Summary { mean: 3.0, std: None, n: 1 }));
        assert_eq!(Summary::of(&[]), None);
    }
}
