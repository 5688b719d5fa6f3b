//! The configuration as a JSON Schema, for editors.

use bidst_topology::algorithms::{self, Entry};
use serde_json::{Map, Value, json};

use super::Config;
use super::key::{Bounds, Key, Kind};
use super::options::{AlgorithmOption, OptionKind, options};
use super::sections::{SECTIONS, Section};

/// The schema: what each key may hold, its default and its meaning, and the options of every algorithm.
pub fn json_schema() -> Value {
    let mut sections: Map<String, Value> = SECTIONS.iter().map(|part| (part.name.to_owned(), section(part))).collect();
    sections.insert(
        "grid".to_owned(),
        json!({ "type": "object", "description": "Lists to go through, for `bidst compare`." }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bidst configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    })
}

fn section(section: &Section) -> Value {
    let about: Vec<&str> = section.about.iter().map(|line| line.trim()).collect();
    let own = |key: &Key| (key.parts().1.to_owned(), property(key));
    let mut schema = json!({ "type": "object", "description": about.join(" ") });
    if section.name == "algorithm" {
        schema["oneOf"] = algorithms::list().iter().map(algorithm).collect();
    } else {
        schema["additionalProperties"] = false.into();
        schema["properties"] = Value::Object(section.keys.iter().map(own).collect());
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = kind(&key.kind);
    schema["description"] = key.meaning().into();
    if let Some(default) = key.default_value() {
        schema["default"] = json!(default);
    }
    schema
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Integer(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Kind::Number(bounds) => number(bounds),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Path | Kind::Size | Kind::ChoiceOrFile(_) => json!({ "type": "string" }),
        Kind::Choice(names) => json!({ "type": "string", "enum": names() }),
        Kind::Numbers(bounds) => json!({ "type": "array", "items": number(bounds) }),
        Kind::Words(..) => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Levels(bounds) => json!({ "type": "object", "additionalProperties": number(bounds) }),
    }
}

fn number(bounds: &Bounds) -> Value {
    let mut schema = json!({ "type": "number" });
    schema[if bounds.above { "exclusiveMinimum" } else { "minimum" }] = bounds.from.into();
    if bounds.to.is_finite() {
        schema[if bounds.below { "exclusiveMaximum" } else { "maximum" }] = bounds.to.into();
    }
    schema
}

/// The section with the options of one algorithm. Without a name, it is the default one.
fn algorithm(entry: &Entry) -> Value {
    let mut properties = Map::new();
    properties.insert("name".to_owned(), json!({ "const": entry.name, "description": entry.summary }));
    properties.extend(options(entry).into_iter().map(|option| (option.name.clone(), option_schema(&option))));
    let is_default = entry.name == Config::default().algorithm.name;
    let required: &[&str] = if is_default { &[] } else { &["name"] };
    json!({ "title": entry.name, "additionalProperties": false, "properties": properties, "required": required })
}

fn option_schema(option: &AlgorithmOption) -> Value {
    let mut schema = match &option.kind {
        OptionKind::Integer => json!({ "type": "integer", "minimum": 0 }),
        OptionKind::Number => json!({ "type": "number" }),
        OptionKind::Boolean => json!({ "type": "boolean" }),
        OptionKind::Choice(names) => json!({ "type": "string", "enum": names }),
        OptionKind::Numbers => json!({ "type": "array", "items": { "type": "number" } }),
        OptionKind::Text => json!({ "type": "string" }),
    };
    if let Some(default) = &option.default {
        schema["default"] = json!(default);
    }
    schema
}
