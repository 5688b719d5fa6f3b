//! The effective configuration with where each value came from.

use std::collections::BTreeMap;

use bidst_topology::algorithms;
use toml::{Table, Value};

use super::Config;
use super::options::options;
use super::problem::{Origins, join, origin};
use super::sections::SECTIONS;

/// Column of the comments, if the settings leave room.
const COLUMN: usize = 32;

/// A configuration and the places of what was written.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The configuration.
    pub config: Config,
    /// Where keys came from; those of defaults are absent.
    pub origins: Origins,
}

impl Effective {
    /// The configuration as TOML, each value with a comment that says where it came from. Keys without a value stand in
    /// comments, as do options of the algorithm that take theirs from the run.
    pub fn to_annotated_toml(&self) -> String {
        let values = Table::try_from(&self.config).expect("a configuration has only string keys");
        let mut text = String::new();
        for section in SECTIONS {
            text.push_str(&format!("{}[{}]\n", if text.is_empty() { "" } else { "\n" }, section.name));
            let Some(Value::Table(table)) = values.get(section.name) else { continue };
            for key in section.keys {
                let name = key.parts().1;
                match table.get(name) {
                    Some(value) => text.push_str(&self.line(section.name, name, value)),
                    None => text.push_str(&commented(&format!("# {name} ="), "not set")),
                }
            }
            let is_key = |name: &str| section.keys.iter().any(|key| key.parts().1 == name);
            let mut others = if section.name == "algorithm" { self.left_to_the_run() } else { BTreeMap::new() };
            for (name, value) in table.iter().filter(|(name, _)| !is_key(name)) {
                others.insert(name.clone(), self.line(section.name, name, value));
            }
            text.extend(others.into_values());
        }
        text
    }

    /// Lines for the options of the algorithm that have no default.
    fn left_to_the_run(&self) -> BTreeMap<String, String> {
        let options = algorithms::find(&self.config.algorithm.name).map(options).unwrap_or_default();
        let left = options.into_iter().filter(|option| option.default.is_none());
        left.map(|option| (option.name.clone(), commented(&format!("# {} =", option.name), "from the run"))).collect()
    }

    fn line(&self, section: &str, name: &str, value: &Value) -> String {
        let setting = Table::from_iter([(name.to_owned(), Value::from("?"))]).to_string();
        let setting = setting.trim_end().replace("\"?\"", &inline(value));
        commented(&setting, &self.source(section, name))
    }

    /// `my.toml:3`, `--lr`, `default`.
    fn source(&self, section: &str, name: &str) -> String {
        let key = join(section, name);
        let algorithm = &self.config.algorithm.name;
        let is_dense = algorithms::find(algorithm).is_ok_and(|entry| entry.dense);
        if is_dense && (key == "sparsity.level" || key == "sparsity.override") {
            return format!("{algorithm} trains every weight");
        }
        match origin(&self.origins, &key).filter(|_| self.is_written(&key)) {
            Some(origin) => origin.to_string(),
            None if key == "data.augment" => format!("usual for {}", self.config.data.name),
            None if section == "algorithm" && name != "name" => format!("default of {algorithm}"),
            None => "default".to_owned(),
        }
    }

    fn is_written(&self, key: &str) -> bool {
        let below = format!("{key}.");
        self.origins.keys().any(|written| written == key || written.starts_with(&below))
    }
}

fn commented(setting: &str, comment: &str) -> String {
    format!("{setting:COLUMN$}# {comment}\n", COLUMN = COLUMN.max(setting.chars().count() + 2))
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let entries: Vec<String> =
                table.iter().map(|(key, value)| format!("{} = {}", quoted(key), inline(value))).collect();
            if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
        }
        value => value.to_string(),
    }
}

/// A key in quotes, as layer names need them.
fn quoted(key: &str) -> String {
    Value::from(key).to_string()
}
