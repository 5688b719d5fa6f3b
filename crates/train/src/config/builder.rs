//! Merges layers of settings: defaults, then files, then flags, then `--set`, the later winning.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::Config;
use super::check::{self, ConfigError, Origin, Problem};

/// Collects settings and where each came from. Problems are gathered and reported together by [`Builder::finish`].
///
/// Parameters of an algorithm belong to the name beside them: when a later layer names another algorithm, those of the
/// earlier one are dropped, so `--algorithm set` works on a recipe written for `rigl`.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    table: Table,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Builder {
    /// Only the defaults.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Adds the settings of a TOML file.
    pub fn file(mut self, path: &Path) -> Builder {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(path, &text),
            Err(error) => {
                let message = format!("the configuration cannot be read: {error}");
                self.problems.push(Problem::new(Some(Origin::File { path: path.to_owned(), line: 0 }), "", message));
                self
            }
        }
    }

    /// Adds the settings of TOML text that came from `path`.
    pub fn text(mut self, path: &Path, text: &str) -> Builder {
        let (spanned, errors) = DeTable::parse_recoverable(text);
        let at = |offset: usize| Origin::File { path: path.to_owned(), line: line_of(text, offset) };
        if !errors.is_empty() {
            let problem = |error: toml::de::Error| {
                Problem::new(
                    error.span().map(|span| at(span.start)),
                    "",
                    format!("not valid TOML: {}", error.message()),
                )
            };
            self.problems.extend(errors.into_iter().map(problem));
            return self;
        }
        let mut origins = BTreeMap::new();
        collect_origins(spanned.get_ref(), "", &at, &mut origins);
        match toml::from_str::<Table>(text) {
            Ok(table) => self.layer(table, origins),
            Err(error) => {
                let origin = error.span().map(|span| at(span.start));
                self.problems.push(Problem::new(origin, "", format!("not valid TOML: {}", error.message())));
                self
            }
        }
    }

    /// Adds one setting that a command-line flag gave, for example `("--lr", "optim.lr", 0.05)`.
    pub fn flag(self, flag: &str, key: &str, value: impl Into<Value>) -> Builder {
        let mut value = value.into();
        for part in key.rsplit('.') {
            value = Value::Table(Table::from_iter([(part.to_owned(), value)]));
        }
        let origins = BTreeMap::from([(key.to_owned(), Origin::Flag(flag.to_owned()))]);
        match value {
            Value::Table(table) => self.layer(table, origins),
            _ => self,
        }
    }

    /// Adds one setting written `key=value`: the value is TOML, or else a string without quotes.
    pub fn set(mut self, setting: &str) -> Builder {
        let origin = Origin::Flag(format!("--set {setting}"));
        let quoted = |(key, value): (&str, &str)| format!("{key} = {}", Value::from(value.trim()));
        let table = toml::from_str::<Table>(setting)
            .ok()
            .or_else(|| setting.split_once('=').and_then(|parts| toml::from_str(&quoted(parts)).ok()));
        let Some(table) = table.filter(|_| !setting.contains('\n')) else {
            let message = "expected `key=value`, for example `--set optim.lr=0.05`";
            self.problems.push(Problem::new(Some(origin), "", message.to_owned()));
            return self;
        };
        self.settings(&origin, table)
    }

    /// Adds settings that all came from one place.
    pub(crate) fn settings(self, origin: &Origin, table: Table) -> Builder {
        let mut origins = BTreeMap::new();
        each_leaf(&table, "", &mut |key| {
            origins.insert(key.to_owned(), origin.clone());
        });
        self.layer(table, origins)
    }

    /// Takes a section out that is no part of a configuration, with the places of its keys. `None` if it is not there.
    pub(crate) fn take(&mut self, section: &str) -> Option<(Value, BTreeMap<String, Origin>)> {
        let value = self.table.remove(section)?;
        let prefix = format!("{section}.");
        let own = |key: &String| *key == section || key.starts_with(&prefix);
        let origins =
            self.origins.iter().filter(|(key, _)| own(key)).map(|(key, origin)| (key.clone(), origin.clone()));
        let origins = origins.collect();
        self.origins.retain(|key, _| !own(key));
        Some((value, origins))
    }

    /// The settings so far as a table, without defaults.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The effective configuration: merged, checked, and with everything that was left to a default written out.
    ///
    /// # Errors
    /// All problems found, each with the file and line or flag, the key, and the nearest valid name.
    pub fn finish(mut self) -> Result<Config, ConfigError> {
        let mut reference = Table::try_from(Config::with_every_key()).expect("the schema is a table");
        self.problems.extend(check::keys_and_types(&self.table, &mut reference, &self.origins));
        if !self.problems.is_empty() {
            return Err(ConfigError::new(self.problems));
        }
        let mut config: Config = self.table.try_into().map_err(|error: toml::de::Error| {
            ConfigError::new(vec![Problem::new(None, "", error.message().to_owned())])
        })?;
        let problems = check::values(&config, &self.origins);
        if !problems.is_empty() {
            return Err(ConfigError::new(problems));
        }
        config.fill_in();
        Ok(config)
    }

    fn layer(mut self, table: Table, origins: BTreeMap<String, Origin>) -> Builder {
        let name_in = |table: &Table| {
            let name = table.get("algorithm").and_then(|section| section.get("name"));
            name.and_then(Value::as_str).map(str::to_owned)
        };
        let before = name_in(&self.table).unwrap_or_else(|| Config::default().algorithm.name);
        if name_in(&table).is_some_and(|name| name != before) {
            self.table.remove("algorithm");
            self.origins.retain(|key, _| !key.starts_with("algorithm."));
        }
        merge(&mut self.table, table);
        self.origins.extend(origins);
        self
    }
}

/// Puts `layer` over `base`: tables are merged, everything else is replaced.
pub(crate) fn merge(base: &mut Table, layer: Table) {
    for (key, value) in layer {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Calls `visit` with the dotted path of every value that is not a table.
fn each_leaf(table: &Table, prefix: &str, visit: &mut impl FnMut(&str)) {
    for (key, value) in table {
        let path = join(prefix, key);
        visit(&path);
        if let Value::Table(inner) = value {
            each_leaf(inner, &path, visit);
        }
    }
}

fn collect_origins(
    table: &DeTable<'_>,
    prefix: &str,
    at: &impl Fn(usize) -> Origin,
    origins: &mut BTreeMap<String, Origin>,
) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        origins.insert(path.clone(), at(Spanned::span(key).start));
        if let DeValue::Table(inner) = value.get_ref() {
            collect_origins(inner, &path, at, origins);
        }
    }
}

/// Appends a key to a dotted path.
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// The 1-based line of a byte offset.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count()
}
