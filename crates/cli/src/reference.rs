//! `docs/commands.md`: every verb and flag, in the words of `--help`.

use std::fs;
use std::path::{Path, PathBuf};

use bidst_train::config::keys;
use clap::{Arg, Command, CommandFactory};

use crate::Cli;

const HEAD: &str = "# Commands

Every verb and flag, in the words of `bidst VERB --help`. Flags that stand for a key of the configuration are in the
[tables of the keys](config.md).

<!-- Written by BIDST_BLESS=1 cargo test -p bidst --bin bidst -->
";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn command() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true).term_width(0);
    command.build();
    command
}

/// A section per command, verbs of verbs after their verb.
fn sections(command: &Command, name: &str, page: &mut String) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    page.push_str(&format!("\n## {name}\n\n{}\n", about.trim()));
    let is_key = |argument: &&Arg| keys().any(|key| key.name == argument.get_id().as_str());
    let (of_keys, own): (Vec<&Arg>, Vec<&Arg>) = command.get_arguments().partition(is_key);
    let own: Vec<String> = own.into_iter().filter(|argument| argument.get_id() != "help").map(row).collect();
    if !own.is_empty() {
        page.push_str(&format!("\n| | |\n| --- | --- |\n{}", own.concat()));
    }
    if !of_keys.is_empty() {
        page.push_str("\nAnd the flags of the [keys](config.md).\n");
    }
    for verb in command.get_subcommands() {
        sections(verb, &format!("{name} {}", verb.get_name()), page);
    }
}

fn row(argument: &Arg) -> String {
    let short = argument.get_short().map(|letter| format!("-{letter}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let takes_value = argument.get_action().takes_values();
    let values = argument.get_value_names().unwrap_or_default().iter().filter(|_| takes_value).map(ToString::to_string);
    let usage: Vec<String> =
        Some(names.join(", ")).filter(|names| !names.is_empty()).into_iter().chain(values).collect();
    let mut help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let possible: Vec<String> =
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if takes_value && !possible.is_empty() {
        help.push_str(&format!(" [possible values: {}]", possible.join(", ")));
    }
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes_value && !defaults.is_empty() {
        help.push_str(&format!(" [default: {}]", defaults.join(", ")));
    }
    format!("| `{}` | {} |\n", usage.join(" ").replace('|', "\\|"), help.replace('|', "\\|"))
}

/// `BIDST_BLESS=1` writes the page anew.
#[test]
fn the_page_of_the_commands_is_what_help_says() {
    let mut expected = HEAD.to_owned();
    sections(&command(), "bidst", &mut expected);
    let path = docs().join("commands.md");
    if std::env::var_os("BIDST_BLESS").is_some() {
        return fs::write(&path, expected).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == expected,
        "docs/commands.md is not what --help says; run this test with BIDST_BLESS=1"
    );
}

#[test]
fn the_guide_shows_every_verb_and_every_flag_that_goes_without_one() {
    let guide = fs::read_to_string(docs().join("guide.md")).unwrap();
    let command = command();
    for verb in command.get_subcommands() {
        let nested: Vec<_> =
            verb.get_subcommands().map(|what| format!("bidst {} {}", verb.get_name(), what.get_name())).collect();
        let lines = if nested.is_empty() { vec![format!("bidst {}", verb.get_name())] } else { nested };
        for line in lines {
            assert!(guide.contains(&line), "docs/guide.md does not show `{line}`");
        }
    }
    for flag in command.get_arguments().filter_map(Arg::get_long) {
        assert!(guide.contains(&format!("--{flag}")), "docs/guide.md does not show --{flag}");
    }
}
