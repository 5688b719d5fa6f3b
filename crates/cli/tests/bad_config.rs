//! Wrong configurations get good messages: `bad_config.md` holds each with what is said to it, for people to read.
//!
//! `BIDST_BLESS=1 cargo test -p bidst --test bad_config` writes the messages of that file anew.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::bidst;

/// A case of `bad_config.md`: a heading, perhaps a `my.toml`, and a command with what it says.
struct Case<'a> {
    title: &'a str,
    toml: Option<&'a str>,
    command: &'a str,
    message: &'a str,
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_config.md")
}

/// What stands between the line that opens a block and the one that closes it.
fn block<'a>(text: &'a str, language: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\n```{language}\n"))?;
    Some(rest.split("```\n").next().unwrap_or(rest))
}

fn case(section: &str) -> Case<'_> {
    let (title, body) = section.split_once('\n').unwrap();
    let (command, message) = block(body, "text").unwrap().split_once('\n').unwrap();
    Case { title, toml: block(body, "toml"), command: command.strip_prefix("$ ").unwrap(), message }
}

/// Runs a command in a folder of its own; returns the exit code, and standard error.
fn run(case: &Case<'_>) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    if let Some(text) = case.toml {
        fs::write(folder.path().join("my.toml"), text).unwrap();
    }
    let arguments = case.command.strip_prefix("bidst ").unwrap().split(' ');
    let output = bidst(folder.path(), arguments).output();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.len() <= 1, "{}: left behind {left:?}", case.title);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn render(case: &Case<'_>, message: &str) -> String {
    let toml = case.toml.map_or_else(String::new, |text| format!("```toml\n{text}```\n\n"));
    format!("\n## {}\n\n{toml}```text\n$ {}\n{message}```\n", case.title, case.command)
}

#[test]
fn every_wrong_configuration_is_answered_as_written_down() {
    let text = fs::read_to_string(file()).unwrap();
    let mut sections = text.split("\n## ");
    let mut blessed = sections.next().unwrap().to_owned();
    let cases: Vec<Case<'_>> = sections.map(case).collect();
    assert!(cases.len() >= 40, "there are {} cases only", cases.len());
    let bless = std::env::var_os("BIDST_BLESS").is_some();
    for case in &cases {
        let (code, message) = run(case);
        assert_eq!(code, 2, "{}: {message}", case.title);
        blessed.push_str(&render(case, &message));
        assert!(bless || message == case.message, "{}\nsays    {message}\nshould  {}", case.title, case.message);
    }
    if bless {
        fs::write(file(), blessed).unwrap();
    }
}

#[test]
fn no_two_cases_have_the_same_answer() {
    let text = fs::read_to_string(file()).unwrap();
    let mut messages: Vec<&str> = text.split("\n## ").skip(1).map(|section| case(section).message).collect();
    let count = messages.len();
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages.len(), count);
    assert!(messages.iter().all(|message| message.contains("error: ")));
}

#[test]
fn files_that_are_no_text_too_large_or_too_deep_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    let large = format!("[run]\nseed = 0 # {}\n", "x".repeat(1 << 20));
    let deep = format!("[run]\nseed = {}1{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let many: String = (0..20_000).map(|key| format!("k{key} = 1\n")).collect();
    for (bytes, part) in [
        (&b"[run]\nseed = \xff\xfe\n"[..], "UTF-8"),
        (large.as_bytes(), "more than 1024 KiB"),
        (deep.as_bytes(), "my.toml:2: not valid TOML"),
        (many.as_bytes(), "my.toml:1: `k0`: there is no such key"),
    ] {
        fs::write(&path, bytes).unwrap();
        let output = bidst(folder.path(), ["train", "my.toml"]).output();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("my.toml") && message.contains(part), "{:.300}", message);
        assert!(message.len() < 20_000, "a message of {} bytes", message.len());
    }
}
