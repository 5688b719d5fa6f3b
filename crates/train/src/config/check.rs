//! Finds everything that is wrong with merged settings.

use std::collections::BTreeSet;

use bidst_model::{Shape, zoo};
use bidst_topology::algorithms;
use toml::{Table, Value};

use super::problem::{Origins, Problem, join, origin, shown};
use super::sections::{SECTIONS, Section, keys};
use super::{Config, options};
use crate::nearest::nearest;
use crate::sparsity;

/// What other tools call our keys.
const ELSEWHERE: &[(&str, &str)] = &[
    ("learning_rate", "optim.lr"),
    ("optimizer", "optim"),
    ("optimiser", "optim"),
    ("scheduler", "optim.schedule"),
    ("dataset", "data.name"),
    ("batch", "train.batch_size"),
    ("warmup", "optim.warmup_epochs"),
    ("density", "sparsity.level"),
    ("workers", "run.threads"),
    ("update_freq", "algorithm.update_interval"),
];

/// Takes what is wrong by itself (unknown keys, wrong types, values out of range) out of `settings`, and reports it.
pub(super) fn each_key(settings: &mut Table, origins: &Origins) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut report = |key: &str, message: String| problems.push(Problem::new(origin(origins, key), key, message));
    settings.retain(|name, value| {
        let Some(section) = SECTIONS.iter().find(|section| section.name == name) else {
            let kind = if value.is_table() { "section" } else { "key" };
            report(&join("", name), unknown(kind, name, SECTIONS.iter().map(|section| section.name)));
            return false;
        };
        let Value::Table(table) = value else {
            report(name, no_section(section, value));
            return false;
        };
        keep_sound(section, table, &mut report);
        true
    });
    problems
}

fn keep_sound(section: &Section, table: &mut Table, report: &mut impl FnMut(&str, String)) {
    let names = || section.keys.iter().map(|key| key.parts().1);
    table.retain(|name, value| {
        let path = join(section.name, name);
        let mut sound = true;
        match section.keys.iter().find(|key| key.parts().1 == name) {
            Some(key) => key.kind.check(&path, value, &mut |path, message| {
                sound = false;
                report(path, message);
            }),
            None if section.name == "algorithm" => {}
            None => {
                sound = false;
                report(&path, unknown("key", name, names()));
            }
        }
        sound
    });
}

/// Reports options that the algorithm does not take, and takes them out.
pub(super) fn each_option(settings: &mut Table, config: &Config, origins: &Origins) -> Vec<Problem> {
    let Ok(entry) = algorithms::find(&config.algorithm.name) else { return Vec::new() };
    let Some(Value::Table(section)) = settings.get_mut("algorithm") else { return Vec::new() };
    let own: Table = section.iter().filter(|(key, _)| *key != "name").map(|(k, v)| (k.clone(), v.clone())).collect();
    let found = options::problems(entry, &own, config);
    let wrong: BTreeSet<&str> = found.iter().map(|(option, _)| option.as_str()).collect();
    section.retain(|key, _| !wrong.contains(key));
    let problem = |(option, message): (String, String)| {
        let key = join("algorithm", &option);
        Problem::new(origin(origins, &key), &key, message)
    };
    found.into_iter().map(problem).collect()
}

/// A value where a section belongs is probably meant for its first key.
fn no_section(section: &Section, value: &Value) -> String {
    let key = section.keys[0].name;
    match value {
        Value::Array(_) => format!("is a section, not a value; its keys stand below a line [{}]", section.name),
        value => format!("is a section, not a value; did you mean `{key} = {}`?", shown(value).replace('`', "\"")),
    }
}

/// `there is no such key`, with the nearest one here, or the same one elsewhere, or all there are here.
fn unknown<'a>(kind: &str, name: &str, here: impl Iterator<Item = &'a str> + Clone) -> String {
    if name == "grid" {
        return "this is a study: train it with `bidst compare FILE --out DIR`".to_owned();
    }
    let known = || keys().map(|key| key.name);
    let same = || known().find(|key| key.rsplit('.').next() == Some(name));
    let dashed = name.replace('_', "-");
    let flag = || keys().find(|key| key.flag == Some(dashed.as_str())).map(|key| key.name);
    let word = || ELSEWHERE.iter().find(|(word, _)| *word == name).map(|(_, key)| *key);
    match nearest(name, here.clone()).or_else(same).or_else(flag).or_else(word) {
        Some(near) => format!("there is no such {kind}; did you mean `{near}`?"),
        None => format!("there is no such {kind} (known here: {})", here.collect::<Vec<_>>().join(", ")),
    }
}

/// What does not go together. Keys that are `faulty` by themselves have their defaults in `config` and say nothing.
pub(super) fn contradictions(config: &Config, origins: &Origins, faulty: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |key: &str, message: String| problems.push(Problem::new(origin(origins, key), key, message));
    let sound = |keys: [&str; 2]| !keys.into_iter().any(&faulty);
    let Config { data, train, optim, sparsity, .. } = config;
    if data.size > data.resize && sound(["data.size", "data.resize"]) {
        let key = if origins.contains_key("data.size") { "data.size" } else { "data.resize" };
        let (size, resize) = (data.size, data.resize);
        refuse(key, format!("squares of {size} cannot be cut out of images resized to {resize}"));
    }
    if optim.nesterov && optim.momentum == 0.0 && sound(["optim.nesterov", "optim.momentum"]) {
        let key = if origins.contains_key("optim.nesterov") { "optim.nesterov" } else { "optim.momentum" };
        refuse(key, "Nesterov's form needs a momentum above 0; set `nesterov = false` or a momentum".to_owned());
    }
    if optim.warmup_epochs > train.epochs as f64 && sound(["optim.warmup_epochs", "train.epochs"]) {
        let (warmup, epochs) = (optim.warmup_epochs, train.epochs);
        let key = if origins.contains_key("optim.warmup_epochs") { "optim.warmup_epochs" } else { "train.epochs" };
        refuse(key, format!("a warm-up of {warmup} epochs does not fit into a run of {epochs}"));
    }
    let dense = sparsity.dense_layers.as_deref().unwrap_or_default();
    for layer in sparsity.overrides.keys().filter(|layer| dense.contains(layer)) {
        refuse(&join("sparsity.override", layer), "is also in `sparsity.dense_layers`; keep one of the two".to_owned());
    }
    if sound(["model.name", "model.width"]) {
        unknown_layers(config).into_iter().for_each(|(key, message)| refuse(&key, message));
    }
    problems
}

/// Patterns of layers that no layer of the network matches. Names do not depend on the images.
fn unknown_layers(config: &Config) -> Vec<(String, String)> {
    let Some(entry) = zoo::list().iter().find(|entry| entry.name == config.model.name) else { return Vec::new() };
    let input: Shape = entry.input;
    let Ok(graph) = zoo::build(entry.name, &zoo::Options { width: config.model.width, classes: 10, input }) else {
        return Vec::new();
    };
    let names = sparsity::names(&graph);
    let dense = config.sparsity.dense_layers.iter().flatten().map(|layer| ("sparsity.dense_layers".to_owned(), layer));
    let overrides = config.sparsity.overrides.keys().map(|layer| (join("sparsity.override", layer), layer));
    let unknown = |(key, layer): (String, &String)| sparsity::unmatched(&names, layer).map(|message| (key, message));
    dense.chain(overrides).filter_map(unknown).collect()
}
