//! Merges layers of settings: defaults, then files, then flags, then `--set`, the later winning.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::problem::{ConfigError, Origin, Origins, Problem, join, shown};
use super::{Config, Effective, check};

/// Bytes that a configuration file may have.
pub const MAX_BYTES: u64 = 1 << 20;

/// Collects settings and where each came from. Problems are gathered and reported together by [`Builder::finish`].
///
/// Parameters of an algorithm belong to the name beside them: when a later layer names another algorithm, those of the
/// earlier one are dropped, so `--algorithm set` works on a recipe written for `rigl`.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    table: Table,
    origins: Origins,
    problems: Vec<Problem>,
    /// A file could not be read to its end: what follows from what it says as a whole is not known.
    partial: bool,
}

impl Builder {
    /// Only the defaults.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Adds the settings of a TOML file.
    pub fn file(mut self, path: &Path) -> Builder {
        match read(path) {
            Ok(text) => self.text(path, &text),
            Err(error) => {
                let message = format!("the configuration cannot be read: {error}");
                self.problems.push(Problem::new(Some(Origin::File { path: path.to_owned(), line: 0 }), "", message));
                self.partial = true;
                self
            }
        }
    }

    /// Adds the settings of TOML text that came from `path`.
    pub fn text(mut self, path: &Path, text: &str) -> Builder {
        let lines = Lines::of(text);
        let at = |offset: usize| Origin::File { path: path.to_owned(), line: lines.at(offset) };
        let (_, errors) = DeTable::parse_recoverable(text);
        let place = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let mut faulty = BTreeSet::new();
        for error in &errors {
            // One mistake often makes a parser complain several times.
            if faulty.insert(lines.at(place(error))) {
                let message = error.message().trim_end_matches(", expected nothing");
                self.problems.push(Problem::new(Some(at(place(error))), "", format!("not valid TOML: {message}")));
            }
        }
        self.partial |= !errors.is_empty();
        let first = faulty.first().map_or(text.len(), |&line| lines.start(line));
        // What stands above the first mistake is checked too.
        let sound = text.get(..first).unwrap_or_default();
        let both = DeTable::parse(sound).and_then(|spanned| Ok((spanned, toml::from_str::<Table>(sound)?)));
        let (spanned, table) = match both {
            Ok(both) => both,
            Err(error) => {
                // Such as a number that no type holds.
                self.problems.push(Problem::new(Some(at(place(&error))), "", error.message().to_owned()));
                self.partial = true;
                return self;
            }
        };
        let mut origins = BTreeMap::new();
        collect_origins(spanned.get_ref(), "", &at, &mut origins);
        self.layer(table, origins)
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
        let origin = Origin::Flag(format!("--set {}", shown(&Value::from(setting)).trim_matches('`')));
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

    /// Whether there is a `[grid]`: then this is the base of a comparison.
    pub fn is_study(&self) -> bool {
        self.table.contains_key("grid")
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
    pub fn finish(self) -> Result<Config, ConfigError> {
        Ok(self.resolve()?.config)
    }

    /// As [`Builder::finish`], with where each value came from.
    ///
    /// # Errors
    /// As [`Builder::finish`].
    pub fn resolve(mut self) -> Result<Effective, ConfigError> {
        self.problems.extend(check::each_key(&mut self.table, &self.origins));
        let mut config: Config = self.table.clone().try_into().map_err(|error: toml::de::Error| {
            ConfigError::new(vec![Problem::new(None, "", error.message().to_owned())])
        })?;
        if !self.partial {
            let faulty = |key: &str| self.problems.iter().any(|problem| problem.key == key);
            let mut found = check::contradictions(&config, &self.origins, faulty);
            if !faulty("algorithm.name") {
                found.extend(check::each_option(&mut self.table, &config, &self.origins));
            }
            self.problems.extend(found);
        }
        if !self.problems.is_empty() {
            return Err(ConfigError::new(self.problems));
        }
        config.fill_in();
        Ok(Effective { config, origins: self.origins })
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

/// The text of a file of reasonable size.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {} KiB, too much for a configuration",
            MAX_BYTES >> 10
        )));
    }
    Ok(text)
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at.saturating_add(1))).collect())
    }

    /// The 1-based line of a byte offset.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|&start| start <= offset)
    }

    /// The offset at which a 1-based line begins.
    fn start(&self, line: usize) -> usize {
        self.0.get(line.saturating_sub(1)).copied().unwrap_or(0)
    }
}
