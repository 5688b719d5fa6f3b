//! Finds what is wrong with merged settings and says where it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bidst_topology::{AlgorithmError, Context, algorithms};
use toml::{Table, Value};

use super::builder::join;
use super::{Config, apply_augment_word};
use crate::nearest::hint;

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1; 0 is the file as a whole.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// A command-line flag, as written.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line: 0 } => write!(f, "{}", path.display()),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands, if it was written anywhere.
    pub origin: Option<Origin>,
    /// The dotted key, or empty.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    pub(super) fn new(origin: Option<Origin>, key: &str, message: String) -> Problem {
        Problem { origin, key: key.to_owned(), message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration; displayed one problem a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems, at least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(problems: Vec<Problem>) -> ConfigError {
        ConfigError { problems }
    }

    /// One problem with a key that was found only when the run was set up.
    pub fn of_key(key: &str, message: String) -> ConfigError {
        ConfigError::new(vec![Problem::new(None, key, message)])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

type Origins = BTreeMap<String, Origin>;

/// Keys whose value must be one of a list, and the list.
type Choices = (&'static str, fn() -> Vec<&'static str>);
const CHOICES: &[Choices] = &[
    ("data.name", || bidst_data::list().iter().map(|source| source.name).collect()),
    ("model.name", || bidst_model::zoo::list().iter().map(|entry| entry.name).collect()),
    ("algorithm.name", || algorithms::list().iter().map(|entry| entry.name).collect()),
    ("optim.schedule", || vec!["cosine", "multistep"]),
    ("sparsity.distribution", || vec!["uniform", "erk"]),
    ("engine.activations", || vec!["f32", "bf16"]),
];

/// Checks keys and types of `settings` against `reference` (in which every key is present), names against their lists,
/// and the keys of the algorithm against its options.
pub(super) fn keys_and_types(settings: &Table, reference: &mut Table, origins: &Origins) -> Vec<Problem> {
    let name = settings.get("algorithm").and_then(|section| section.get("name")).and_then(Value::as_str);
    let name = name.map_or_else(|| Config::default().algorithm.name, str::to_owned);
    let entry = algorithms::find(&name).ok();
    if let (Some(entry), Some(Value::Table(section))) = (entry, reference.get_mut("algorithm")) {
        section.extend((entry.defaults)());
    }
    let mut finder = Finder { origins, problems: Vec::new(), entry };
    finder.table(settings, reference, "");
    finder.problems
}

struct Finder<'a> {
    origins: &'a Origins,
    problems: Vec<Problem>,
    entry: Option<&'static algorithms::Entry>,
}

impl Finder<'_> {
    fn report(&mut self, key: &str, message: String) {
        self.problems.push(Problem::new(origin(self.origins, key), key, message));
    }

    fn table(&mut self, settings: &Table, reference: &Table, prefix: &str) {
        for (key, value) in settings {
            let path = join(prefix, key);
            let near = || hint(key, reference.keys().map(String::as_str));
            match reference.get(key) {
                Some(expected) => self.value(value, expected, &path),
                None if prefix == "algorithm" => {
                    if let Some(reason) = self.refusal(key, value) {
                        self.report(&path, format!("{reason}{}", near()));
                    }
                }
                None => {
                    let known: Vec<&str> = reference.keys().map(String::as_str).collect();
                    self.report(&path, format!("there is no such key{} (known here: {})", near(), known.join(", ")));
                }
            }
        }
    }

    /// Why the algorithm has no such option, if so. Those without a fixed default are not in its table of defaults, so
    /// it is asked; an unknown algorithm is reported elsewhere.
    fn refusal(&self, option: &str, value: &Value) -> Option<String> {
        let context = Context {
            layers: &[],
            total_steps: 1_000,
            steps_per_epoch: 100,
            seed: 0,
            weight_decay: 5e-4,
            learning_rate: 0.1,
            momentum: 0.9,
            batch_size: 128,
        };
        let alone = Table::from_iter([(option.to_owned(), value.clone())]);
        match (self.entry?.build)(&alone, &context) {
            Err(AlgorithmError::Options { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    fn value(&mut self, value: &Value, expected: &Value, path: &str) {
        match (value, expected) {
            (Value::Table(inner), Value::Table(_)) if path == "sparsity.override" => {
                for (layer, level) in inner {
                    self.value(level, &Value::Float(0.0), &join(path, layer));
                }
            }
            (Value::Table(inner), Value::Table(reference)) => self.table(inner, reference, path),
            (Value::Integer(number), Value::Integer(_)) if *number < 0 => {
                self.report(path, format!("must not be negative, but is {number}"));
            }
            (Value::Integer(_), Value::Float(_)) => {}
            _ if !value.same_type(expected) => {
                let (found, wanted) = (value.type_str(), expected.type_str());
                self.report(path, format!("expected {} {wanted}, found {} {found}", article(wanted), article(found)));
            }
            (Value::String(word), _) => self.choice(word, path),
            _ => {}
        }
    }

    fn choice(&mut self, word: &str, path: &str) {
        let Some((_, list)) = CHOICES.iter().find(|(key, _)| *key == path) else { return };
        let list = list();
        if !list.contains(&word) {
            let near = hint(word, list.iter().copied());
            self.report(path, format!("unknown name `{word}`{near} (there is: {})", list.join(", ")));
        }
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// The origin of `key` or of the nearest table above it.
fn origin(origins: &Origins, key: &str) -> Option<Origin> {
    let mut key = key;
    loop {
        if let Some(origin) = origins.get(key) {
            return Some(origin.clone());
        }
        key = key.rsplit_once('.')?.0;
    }
}

/// Checks ranges and what only makes sense together.
pub(super) fn values(config: &Config, origins: &Origins) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut require = |ok: bool, key: &str, rule: &str, found: &dyn fmt::Display| {
        if !ok {
            problems.push(Problem::new(origin(origins, key), key, format!("{rule}, but is {found}")));
        }
    };
    let unit = |x: f64| (0.0..1.0).contains(&x);
    let non_negative = |x: f64| x >= 0.0 && x.is_finite();
    let Config { run, data, model, train, optim, sparsity, .. } = config;

    require(run.threads <= 1024, "run.threads", "must be at most 1024", &run.threads);
    require(run.log_interval > 0, "run.log_interval", "must be at least 1", &run.log_interval);
    let width_ok = model.width > 0.0 && model.width <= 64.0;
    require(width_ok, "model.width", "must be above 0 and at most 64", &model.width);
    require(train.epochs > 0, "train.epochs", "must be at least 1", &train.epochs);
    let batch_ok = (1..=65_536).contains(&train.batch_size);
    require(batch_ok, "train.batch_size", "must be between 1 and 65536", &train.batch_size);
    require(unit(train.smoothing), "train.smoothing", "must be at least 0 and below 1", &train.smoothing);
    require(non_negative(optim.lr), "optim.lr", "must be a finite number of at least 0", &optim.lr);
    require(unit(optim.momentum), "optim.momentum", "must be at least 0 and below 1", &optim.momentum);
    let nesterov_ok = !optim.nesterov || optim.momentum > 0.0;
    require(nesterov_ok, "optim.nesterov", "needs a momentum above 0", &"true with momentum 0");
    let decay = optim.weight_decay;
    require(non_negative(decay), "optim.weight_decay", "must be a finite number of at least 0", &decay);
    require(non_negative(optim.gamma), "optim.gamma", "must be a finite number of at least 0", &optim.gamma);
    let warmup_ok = (0.0..=train.epochs as f64).contains(&optim.warmup_epochs);
    require(warmup_ok, "optim.warmup_epochs", "must be between 0 and the number of epochs", &optim.warmup_epochs);
    let milestones_ok = optim.milestones.iter().all(|&m| unit(m)) && optim.milestones.is_sorted();
    let shown = format!("{:?}", optim.milestones);
    require(milestones_ok, "optim.milestones", "must be ascending fractions of the run, each below 1", &shown);
    let rule = "must be at least 0 and below 1 (0.9 means that 90% of the weights do not exist)";
    require(unit(sparsity.level), "sparsity.level", rule, &sparsity.level);
    for (layer, &level) in &sparsity.overrides {
        require(unit(level), &join("sparsity.override", layer), rule, &level);
    }
    for word in data.augment.iter().flatten() {
        let ok = apply_augment_word(&mut bidst_data::Augment::NONE.clone(), word);
        require(ok, "data.augment", "may hold `flip` and `crop:N` with N from 1 to 64", &format!("`{word}`"));
    }
    problems
}
