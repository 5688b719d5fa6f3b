//! The keys as Markdown tables, for the documentation.

use super::key::Key;
use super::sections::SECTIONS;

/// A table for every section: key, what it may hold, default, flag, meaning.
pub fn tables() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let about: Vec<&str> = section.about.iter().map(|line| line.trim()).collect();
        text.push_str(&format!("### `[{}]`\n\n{}\n\n", section.name, about.join(" ")));
        text.push_str("| key | holds | default | flag | meaning |\n| --- | --- | --- | --- | --- |\n");
        section.keys.iter().for_each(|key| text.push_str(&row(key)));
        text.push('\n');
    }
    text
}

fn row(key: &Key) -> String {
    let default = key.default_value().map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
    let flag = match (key.flag, key.short) {
        (Some(flag), Some(short)) => format!("`--{flag}`, `-{short}`"),
        (Some(flag), None) => format!("`--{flag}`"),
        (None, _) => String::new(),
    };
    let (_, name) = key.parts();
    format!("| `{name}` | {} | {default} | {flag} | {} |\n", key.kind.describe(), key.meaning())
}
