//! What is wrong with settings, and where it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::Value;

use super::sections::keys;
use crate::text::plain;

/// Letters of a value that a message shows.
const SHOWN: usize = 60;

/// Problems that a message shows.
pub(super) const MOST: usize = 100;

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

/// Where each key came from. Keys that nobody wrote are absent.
pub type Origins = BTreeMap<String, Origin>;

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name may have line breaks, and what is shown may be a comment.
        let shown = |path: &PathBuf| plain(&path.display().to_string(), usize::MAX);
        match self {
            Origin::File { path, line: 0 } => f.write_str(&shown(path)),
            Origin::File { path, line } => write!(f, "{}:{line}", shown(path)),
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

    /// The place in the order of reading: lines of files, then flags and settings by their keys, then the rest.
    fn rank(&self) -> (u8, usize) {
        let place = || keys().position(|key| key.name == self.key).unwrap_or(usize::MAX);
        match &self.origin {
            Some(Origin::File { line, .. }) => (0, *line),
            Some(Origin::Flag(_)) => (1, place()),
            None => (2, place()),
        }
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
    /// In the order in which a reader meets them.
    pub(crate) fn new(mut problems: Vec<Problem>) -> ConfigError {
        problems.sort_by_key(Problem::rank);
        ConfigError { problems }
    }

    /// One problem with a key that was found only when the run was set up.
    pub fn of_key(key: &str, message: String) -> ConfigError {
        ConfigError::new(vec![Problem::new(None, key, message)])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = &self.problems[..] {
            return problem.fmt(f);
        }
        write!(f, "the configuration has {} problems", self.problems.len())?;
        self.problems.iter().take(MOST).try_for_each(|problem| write!(f, "\n  {problem}"))?;
        match self.problems.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The origin of `key` or of the nearest table above it.
pub(super) fn origin(origins: &Origins, key: &str) -> Option<Origin> {
    let mut key = key;
    loop {
        if let Some(origin) = origins.get(key) {
            return Some(origin.clone());
        }
        key = key.rsplit_once('.')?.0;
    }
}

/// Appends a key to a dotted path.
pub(super) fn join(prefix: &str, key: &str) -> String {
    let key = plain(key, SHOWN);
    if prefix.is_empty() { key } else { format!("{prefix}.{key}") }
}

/// A value as TOML would write it, strings in backticks; cut short, and without anything that moves a terminal's cursor.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(word) => format!("`{}`", plain(word, SHOWN)),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().take(SHOWN).map(|item| item.to_string()).collect();
            plain(&format!("[{}]", items.join(", ")), SHOWN)
        }
        value => plain(&value.to_string(), SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the comments of `config show` it began a line of its own.
    #[test]
    fn a_file_is_named_on_one_line_whatever_its_name() {
        let origin = Origin::File { path: "a\nb.toml".into(), line: 3 };
        assert_eq!(origin.to_string(), r"a\nb.toml:3");
    }
}
