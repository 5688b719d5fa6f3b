//! Several runs, grouped: those that differ in their seeds only are one cell.

use std::collections::{BTreeMap, BTreeSet};

use super::records::Records;
use crate::compare::{Run, Standing, Tables};
use crate::config::Config;
use crate::settings;

/// Of the settings that decide what a run comes to, those that do not tell what it is.
const ASIDE: [&str; 2] = ["run.", "engine.kernels"];

/// Runs that differ in their seeds only.
#[derive(Debug)]
pub struct Cell<'a> {
    /// Everything that tells it from others but its sparsity.
    pub group: String,
    /// Share of the weights of the sparsified layers that do not exist; 0 for dense networks.
    pub sparsity: f64,
    /// Its runs.
    pub runs: Vec<&'a Records>,
}

/// The cells of those runs whose settings are known, sparsest last, and the tables of those that are finished.
pub fn arrange(runs: &[Records]) -> (Vec<Cell<'_>>, Tables) {
    let known: Vec<(&Records, &Config)> = runs.iter().filter_map(|run| Some((run, run.config.as_ref()?))).collect();
    let differing = differing(&known);
    let (algorithm_keys, other_keys): (Vec<&String>, Vec<&String>) =
        differing.iter().partition(|key| key.starts_with("algorithm."));
    let mut columns: Vec<String> = other_keys.iter().map(|key| short(key)).collect();
    columns.extend(["sparsity", "algorithm"].map(str::to_owned));

    let mut cells: Vec<Cell<'_>> = Vec::new();
    let mut listed = Vec::new();
    for &(run, config) in &known {
        let settings = settings(config);
        let value = |key: &String| settings.get(key).cloned();
        let mut labels: Vec<String> =
            other_keys.iter().map(|key| value(key).unwrap_or_else(|| "–".to_owned())).collect();
        let options: Vec<String> = algorithm_keys
            .iter()
            .filter(|key| differs_within(key, &config.algorithm.name, &known))
            .filter_map(|key| Some(format!("{} {}", short(key), value(key)?)))
            .collect();
        let algorithm = [vec![config.algorithm.name.clone()], options].concat().join(" ");
        let group = labels.iter().filter(|label| *label != "–").cloned().chain([algorithm.clone()]);
        let (group, sparsity) = (group.collect::<Vec<_>>().join(" · "), config.sparsity.level);
        labels.extend([sparsity.to_string(), algorithm]);
        match cells.iter_mut().find(|cell| cell.group == group && cell.sparsity == sparsity) {
            Some(cell) => cell.runs.push(run),
            None => cells.push(Cell { group, sparsity, runs: vec![run] }),
        }
        listed.push((Run { name: run.name.clone(), cell: labels, config: config.clone() }, Standing::of(&run.path)));
    }
    cells.sort_by(|a, b| a.sparsity.total_cmp(&b.sparsity));
    listed.sort_by(|(a, _), (b, _)| a.cell.cmp(&b.cell));
    let (runs, standings): (Vec<Run>, Vec<Standing>) = listed.into_iter().unzip();
    (cells, Tables::new(columns, &runs, standings))
}

/// Keys whose values differ between runs, sparsity, algorithm and circumstances apart. A dense network has no pattern, so
/// what is said of patterns does not tell it from others.
fn differing(runs: &[(&Records, &Config)]) -> Vec<String> {
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, config) in runs {
        for (key, value) in settings(config) {
            let is_idle = config.sparsity.level == 0.0 && key.starts_with("sparsity.");
            if !is_idle && !ASIDE.iter().any(|prefix| key.starts_with(prefix)) {
                values.entry(key).or_default().insert(value);
            }
        }
    }
    let apart = ["sparsity.level", "algorithm.name"];
    let differs = |(key, values): &(String, BTreeSet<String>)| values.len() > 1 && !apart.contains(&key.as_str());
    values.into_iter().filter(differs).map(|(key, _)| key).collect()
}

/// Whether runs of one algorithm differ in `key`: only then it belongs to the algorithm's label.
fn differs_within(key: &str, algorithm: &str, runs: &[(&Records, &Config)]) -> bool {
    let own = runs.iter().filter(|(_, config)| config.algorithm.name == algorithm);
    let values: BTreeSet<Option<String>> = own.map(|(_, config)| settings(config).remove(key)).collect();
    values.len() > 1
}

fn settings(config: &Config) -> BTreeMap<String, String> {
    settings::deciding(config).into_iter().map(|(key, value)| (key, value.trim_matches('"').to_owned())).collect()
}

/// A key without its section, but for those that would then say nothing: `model.name` is the model.
fn short(key: &str) -> String {
    let (section, rest) = key.split_once('.').unwrap_or(("", key));
    if rest == "name" { section.to_owned() } else { rest.to_owned() }
}
