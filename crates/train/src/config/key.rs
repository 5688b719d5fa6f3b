//! What a key may hold: one description from which checks, tables, the editor's schema and the help of flags derive.

use std::fmt;
use std::path::Path;

use toml::{Table, Value};

use super::Config;
use super::problem::{join, shown};
use crate::nearest::{hint, nearest};
use crate::units::parse_size;

/// Why a layer has no number but a table.
const DOTTED: &str =
    "expected a number, found a table; a layer name with dots needs quotes, such as \"layer1.0.conv1\" = 0.5";

/// A key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Section and name, such as `optim.lr`.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What it means, line by line, as its field is documented.
    pub doc: &'static [&'static str],
    /// The command-line flag that stands for it, without dashes.
    pub flag: Option<&'static str>,
    /// The one-letter form of that flag.
    pub short: Option<char>,
}

/// Values that a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number from the first to the second.
    Integer(u64, u64),
    /// A number within bounds.
    Number(Bounds),
    /// True or false.
    Boolean,
    /// A folder or file.
    Path,
    /// A number of bytes with a unit, such as `2GB`.
    Size,
    /// One of some names.
    Choice(fn() -> Vec<&'static str>),
    /// One of some names, or a file.
    ChoiceOrFile(fn() -> Vec<&'static str>),
    /// Ascending numbers within bounds.
    Numbers(Bounds),
    /// A list of words. What is wrong with it, if anything.
    Words(&'static str, fn(&[&str]) -> Option<String>),
    /// Layer names, each with a number within bounds.
    Levels(Bounds),
}

/// An interval of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Lower end.
    pub from: f64,
    /// Upper end, perhaps infinite; infinity itself is never inside.
    pub to: f64,
    /// Whether the lower end is outside.
    pub above: bool,
    /// Whether the upper end is outside.
    pub below: bool,
}

impl Bounds {
    /// At least 0.
    pub const NATURAL: Bounds = Bounds { from: 0.0, to: f64::INFINITY, above: false, below: false };
    /// At least 0 and below 1.
    pub const SHARE: Bounds = Bounds { from: 0.0, to: 1.0, above: false, below: true };
    /// Above 0 and at most `to`.
    pub const fn positive(to: f64) -> Bounds {
        Bounds { from: 0.0, to, above: true, below: false }
    }

    /// Whether `x` is inside.
    pub fn hold(&self, x: f64) -> bool {
        let low = if self.above { x > self.from } else { x >= self.from };
        let high = if self.below { x < self.to } else { x <= self.to };
        low && high && x.is_finite()
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        write!(f, "{} {from}", if self.above { "above" } else { "at least" })?;
        match (to.is_infinite(), self.below) {
            (true, _) => Ok(()),
            (false, true) => write!(f, " and below {to}"),
            (false, false) => write!(f, " and at most {to}"),
        }
    }
}

impl Key {
    /// The section and the name in it.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or((self.name, ""))
    }

    /// What it means, as one line of Markdown.
    pub fn meaning(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    /// What it is when nobody sets it, if that is a value.
    pub fn default_value(&self) -> Option<Value> {
        let (section, name) = self.parts();
        let mut defaults = Table::try_from(Config::default()).expect("a configuration has only string keys");
        defaults.get_mut(section)?.as_table_mut()?.remove(name)
    }

    /// A word from the command line as a value of this key. What cannot be one stays a string, and is refused as such.
    pub fn value(&self, word: &str) -> Value {
        let value = match self.kind {
            Kind::Integer(..) => word.parse().map(Value::Integer).ok(),
            Kind::Number(_) => word.parse().map(Value::Integer).ok().or_else(|| word.parse().map(Value::Float).ok()),
            Kind::Boolean => word.parse().map(Value::Boolean).ok(),
            _ => None,
        };
        value.unwrap_or_else(|| Value::from(word))
    }
}

impl Kind {
    /// What it may hold, for tables.
    pub fn describe(&self) -> String {
        let list = |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match self {
            Kind::Integer(from, to) if *to >= i64::MAX as u64 => format!("integer, at least {from}"),
            Kind::Integer(from, to) => format!("integer, {from} to {to}"),
            Kind::Number(bounds) => format!("number, {bounds}"),
            Kind::Boolean => "`true` or `false`".to_owned(),
            Kind::Path => "path".to_owned(),
            Kind::Size => "size, such as `512MB`, `2GB` or `2GiB`".to_owned(),
            Kind::Choice(names) => format!("one of {}", list(names())),
            Kind::ChoiceOrFile(names) => format!("one of {}, or a file", list(names())),
            Kind::Numbers(bounds) => format!("ascending list of numbers, {bounds}"),
            Kind::Words(what, _) => format!("list of {what}"),
            Kind::Levels(bounds) => format!("table of layer names and numbers, {bounds}"),
        }
    }

    /// Reports what is wrong with `value` at `path`.
    pub(super) fn check(&self, path: &str, value: &Value, report: &mut impl FnMut(&str, String)) {
        match (self, value) {
            (Kind::Integer(from, to), Value::Integer(number)) => {
                if !u64::try_from(*number).is_ok_and(|number| (*from..=*to).contains(&number)) {
                    let range = match *to >= i64::MAX as u64 {
                        true => format!("at least {from}"),
                        false => format!("between {from} and {to}"),
                    };
                    report(path, format!("must be {range}, but is {number}"));
                }
            }
            (Kind::Number(bounds), value) => bounds.check(path, value, report),
            (Kind::Boolean, Value::Boolean(_)) | (Kind::Path, Value::String(_)) => {}
            (Kind::Size, Value::String(word)) => {
                if parse_size(word).is_none() {
                    report(path, format!("must be a size such as 512MB, 2GB or 2GiB, but is {}", shown(value)));
                }
            }
            (Kind::ChoiceOrFile(names), Value::String(word)) => {
                let names = names();
                let is_name = names.contains(&word.as_str()) || nearest(word, names.iter().copied()).is_none();
                if !is_name && !Path::new(word).exists() {
                    report(path, format!("{}, and no file of that name", unknown_name(word, &names)));
                }
            }
            (Kind::Choice(names), Value::String(word)) => {
                let names = names();
                if !names.contains(&word.as_str()) {
                    report(path, unknown_name(word, &names));
                }
            }
            (Kind::Choice(names), value) => {
                let (found, names) = (found(value), names().join(", "));
                report(path, format!("expected a name in quotes, found {found} (there is: {names})"));
            }
            (Kind::Numbers(bounds), Value::Array(items)) => {
                let numbers: Vec<f64> = items.iter().filter_map(number).collect();
                let inside = numbers.len() == items.len() && numbers.iter().all(|&x| bounds.hold(x));
                if !(inside && numbers.is_sorted()) {
                    report(path, format!("must hold ascending numbers, {bounds}, but is {}", shown(value)));
                }
            }
            (Kind::Words(_, rule), Value::Array(items)) => {
                let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                match words {
                    Some(words) => rule(&words).into_iter().for_each(|message| report(path, message)),
                    None => report(path, format!("expected a list of strings, but found {}", shown(value))),
                }
            }
            (Kind::Levels(bounds), Value::Table(levels)) => {
                for (layer, level) in levels {
                    let path = join(path, layer);
                    match level {
                        Value::Table(_) => report(&path, DOTTED.to_owned()),
                        level => bounds.check(&path, level, report),
                    }
                }
            }
            _ => report(path, wrong_type(self.type_name(), value)),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Kind::Integer(..) => "an integer",
            Kind::Number(_) => "a number",
            Kind::Boolean => "true or false",
            Kind::Path | Kind::Size | Kind::Choice(_) | Kind::ChoiceOrFile(_) => "a string",
            Kind::Numbers(_) => "a list of numbers",
            Kind::Words(..) => "a list of strings",
            Kind::Levels(_) => "a table of layers",
        }
    }
}

impl Bounds {
    fn check(&self, path: &str, value: &Value, report: &mut impl FnMut(&str, String)) {
        let Some(x) = number(value) else { return report(path, wrong_type("a number", value)) };
        if !self.hold(x) {
            let percent = (self.below && self.to == 1.0 && (10.0..100.0).contains(&x)).then(|| x / 100.0);
            let hint = percent.map_or_else(String::new, |share| format!("; did you mean {share}?"));
            let finite = if x.is_infinite() && self.to.is_infinite() { "finite and " } else { "" };
            report(path, format!("must be {finite}{self}, but is {}{hint}", shown(value)));
        }
    }
}

/// The number that a value is, if it is one.
fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|number| number as f64))
}

/// `unknown name ...` with the nearest and all others.
pub(super) fn unknown_name(word: &str, names: &[&str]) -> String {
    let near = hint(word, names.iter().copied());
    format!("unknown name {}{near} (there is: {})", shown(&Value::from(word)), names.join(", "))
}

/// `expected an integer, found a string`, with what was probably meant.
pub(super) fn wrong_type(wanted: &str, value: &Value) -> String {
    let found = found(value);
    let advice = match (wanted, value) {
        ("an integer" | "a number" | "true or false", Value::String(word)) if is_bare(word) => {
            format!("; write it without quotes: {word}")
        }
        ("an integer", Value::Float(number)) if number.fract() == 0.0 => format!("; write {number:.0}"),
        ("a list of strings" | "a list of numbers", Value::String(_) | Value::Integer(_) | Value::Float(_)) => {
            format!("; write it as a list: {}", shown(&Value::Array(vec![value.clone()])))
        }
        ("a table of layers", Value::String(_) | Value::Integer(_) | Value::Float(_)) => {
            "; write it as { \"LAYER\" = 0.5 }".to_owned()
        }
        ("a string", Value::Integer(_) | Value::Float(_) | Value::Boolean(_)) => "; write it in quotes".to_owned(),
        _ => String::new(),
    };
    format!("expected {wanted}, found {found}{advice}")
}

fn found(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".to_owned(),
        Value::Array(_) => format!("the list {}", shown(value)),
        Value::String(_) => format!("the string {}", shown(value)),
        _ => shown(value),
    }
}

fn is_bare(word: &str) -> bool {
    word.parse::<f64>().is_ok() || word.parse::<bool>().is_ok()
}
