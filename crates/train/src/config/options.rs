//! The options of an algorithm, as it describes them itself: by its defaults, and by what it says to a wrong value.

use bidst_topology::algorithms::{self, Entry};
use bidst_topology::{AlgorithmError, Context};
use toml::{Table, Value};

use super::Config;
use super::key::{unknown_name, wrong_type};
use super::problem::MOST;
use crate::nearest::hint;

/// A word that is the value of no option.
const NOTHING: &str = "?";

/// An option of an algorithm.
#[derive(Clone, Debug)]
pub struct AlgorithmOption {
    /// Its name.
    pub name: String,
    /// Its default; without one it takes its value from the run.
    pub default: Option<Value>,
    /// What it may hold.
    pub kind: OptionKind,
}

/// Values that an option takes. Ranges are the algorithm's to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// One of some names.
    Choice(Vec<String>),
    /// A list of numbers.
    Numbers,
    /// Text that only the algorithm can judge, such as `2:4`.
    Text,
}

/// All options of an algorithm, in alphabetical order.
pub fn options(entry: &Entry) -> Vec<AlgorithmOption> {
    let defaults = (entry.defaults)();
    let reason = refusal(entry, "no option has this name", &Value::from(NOTHING)).unwrap_or_default();
    let mut names: Vec<String> = quoted(&reason).skip(1).map(str::to_owned).collect();
    names.sort();
    let option = |name: String| {
        let default = defaults.get(&name).cloned();
        AlgorithmOption { kind: kind(entry, &name, default.as_ref()), default, name }
    };
    names.into_iter().map(option).collect()
}

fn kind(entry: &Entry, name: &str, default: Option<&Value>) -> OptionKind {
    let reason = refusal(entry, name, &Value::from(NOTHING)).unwrap_or_default();
    let expected = reason.rsplit("expected ").next().unwrap_or_default();
    match default {
        Some(Value::Integer(_)) => OptionKind::Integer,
        Some(Value::Float(_)) => OptionKind::Number,
        Some(Value::Boolean(_)) => OptionKind::Boolean,
        Some(Value::Array(_)) => OptionKind::Numbers,
        _ if reason.starts_with("unknown variant") => {
            OptionKind::Choice(quoted(&reason).skip(1).map(str::to_owned).collect())
        }
        _ if expected.starts_with(['u', 'i']) => OptionKind::Integer,
        _ if expected.starts_with("f32") || expected.starts_with("f64") => OptionKind::Number,
        _ if expected.starts_with("a boolean") => OptionKind::Boolean,
        _ => OptionKind::Text,
    }
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What is wrong with the options in `settings` (the section without its name), by option. Problems that depend on the length
/// of the run, and on nothing else, are left to its start.
pub(super) fn problems(entry: &Entry, settings: &Table, config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let known = options(entry);
    let mut sound = Table::new();
    for (name, value) in settings {
        match known.iter().find(|option| option.name == *name) {
            None if found.len() < MOST => found.push((name.clone(), unknown_option(entry, name, &known))),
            // It is counted, and hardly looked at by anybody.
            None => found.push((name.clone(), format!("`{}` has no such option", entry.name))),
            Some(option) => match wrong(entry, option, value) {
                Some(message) => found.push((name.clone(), message)),
                None => {
                    sound.insert(name.clone(), value.clone());
                }
            },
        }
    }
    // An algorithm names one value at a time: leave that out, and ask again.
    while let Err(AlgorithmError::Value { option, value, rule, .. }) = (entry.build)(&sound, &any_run(config)) {
        found.push((option.to_owned(), format!("{rule} (it is {value})")));
        if sound.remove(option).is_none() {
            break;
        }
    }
    found
}

fn unknown_option(entry: &Entry, name: &str, known: &[AlgorithmOption]) -> String {
    let algorithm = entry.name;
    let names: Vec<&str> = known.iter().map(|option| option.name.as_str()).collect();
    let near = hint(name, names.iter().copied());
    let owners: Vec<&str> =
        algorithms::list().iter().filter(|other| has(other, name)).map(|other| other.name).collect();
    match (near.is_empty(), owners.is_empty(), names.is_empty()) {
        (false, ..) => format!("`{algorithm}` has no such option{near}"),
        (true, false, _) => format!("`{algorithm}` has no such option; these have it: {}", owners.join(", ")),
        (true, true, false) => format!("`{algorithm}` has no such option (it has: {})", names.join(", ")),
        (true, true, true) => format!("`{algorithm}` has no options"),
    }
}

fn has(entry: &Entry, name: &str) -> bool {
    let reason = refusal(entry, name, &Value::from(NOTHING));
    !reason.is_some_and(|reason| reason.starts_with("unknown field"))
}

/// What is wrong with the type or the word of an option.
fn wrong(entry: &Entry, option: &AlgorithmOption, value: &Value) -> Option<String> {
    let reason = refusal(entry, &option.name, value)?;
    let wanted = match &option.kind {
        OptionKind::Choice(names) => match value {
            Value::String(word) => {
                return Some(unknown_name(word, &names.iter().map(String::as_str).collect::<Vec<_>>()));
            }
            _ => "a string",
        },
        OptionKind::Integer if value.as_integer().is_some_and(|number| number < 0) => {
            return Some(format!("must not be negative, but is {value}"));
        }
        OptionKind::Integer => "an integer",
        OptionKind::Number => "a number",
        OptionKind::Boolean => "true or false",
        OptionKind::Numbers => "a list of numbers",
        OptionKind::Text if value.is_str() => return Some(reason),
        OptionKind::Text => "a string",
    };
    Some(wrong_type(wanted, value))
}

/// What an algorithm says to one option alone, if it does not take it.
fn refusal(entry: &Entry, option: &str, value: &Value) -> Option<String> {
    let alone = Table::from_iter([(option.to_owned(), value.clone())]);
    match (entry.build)(&alone, &any_run(&Config::default())) {
        Err(AlgorithmError::Options { reason, .. }) => Some(reason),
        _ => None,
    }
}

/// A run so long that what an algorithm refuses there, it refuses in any.
pub(crate) fn any_run(config: &Config) -> Context<'static> {
    Context {
        layers: &[],
        total_steps: 1_000_000,
        steps_per_epoch: 25_000,
        seed: config.run.seed,
        weight_decay: config.optim.weight_decay as f32,
        learning_rate: config.optim.lr as f32,
        momentum: config.optim.momentum as f32,
        batch_size: config.train.batch_size,
    }
}
