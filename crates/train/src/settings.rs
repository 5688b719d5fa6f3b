//! Settings as pairs of dotted key and value, to compare those of two configurations.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::config::Config;

/// Every value of a configuration that is no table, by its dotted key.
pub(crate) type Settings = BTreeMap<String, String>;

/// Settings that say where and how, not what: they may change between two parts of a run.
const CIRCUMSTANCES: [&str; 10] = [
    "run.output",
    "run.threads",
    "run.tensorboard",
    "run.report",
    "run.checkpoint_interval",
    "run.on_save_error",
    "run.max_memory",
    "data.dir",
    "data.cache",
    "data.workers",
];
/// Settings that decide what a run records or comes to, but that a resumed one may change. Measured kernels are in
/// `kernels.json`.
const NOT_OF_THE_STATE: [&str; 3] = ["run.log_interval", "engine.kernels", "train.on_spike"];

/// Every value of a table that is no table itself.
fn all(table: &Table) -> Settings {
    let mut settings = Settings::new();
    add_leaves(table, "", &mut settings);
    settings
}

/// The settings that decide what a run comes to, records included.
pub(crate) fn deciding(config: &Config) -> Settings {
    let mut settings = all(&Table::try_from(config).expect("a configuration has only string keys"));
    settings.retain(|key, _| !CIRCUMSTANCES.contains(&key.as_str()));
    settings
}

/// The settings that the state of a run depends on.
pub(crate) fn of_the_state(config: &Config) -> Settings {
    let mut settings = deciding(config);
    settings.retain(|key, _| !NOT_OF_THE_STATE.contains(&key.as_str()));
    settings
}

fn add_leaves(table: &Table, prefix: &str, settings: &mut Settings) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => add_leaves(inner, &format!("{prefix}{key}."), settings),
            value => drop(settings.insert(format!("{prefix}{key}"), value.to_string())),
        }
    }
}

/// A setting that is not the same in two configurations.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub key: String,
    pub was: String,
    pub now: String,
}

/// The first difference between two configurations, by key.
pub(crate) fn difference(was: &Settings, now: &Settings) -> Option<Difference> {
    let value = |settings: &Settings, key: &str| settings.get(key).cloned().unwrap_or_else(|| "(not set)".to_owned());
    let keys: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    let key = keys.into_iter().find(|&key| was.get(key) != now.get(key))?;
    Some(Difference { key: key.clone(), was: value(was, key), now: value(now, key) })
}
