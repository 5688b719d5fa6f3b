//! `bidst completions`

mod common;

use std::path::Path;
use std::process::Command;

use bidst_topology::algorithms;
use common::bidst;

fn script(shell: &str) -> String {
    let output = bidst(Path::new("."), ["completions", shell]).output();
    assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs that `--help` lists.
fn verbs() -> Vec<String> {
    let output = bidst(Path::new("."), ["--help"]).output();
    let help = String::from_utf8(output.stdout).unwrap();
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names =
        list.lines().filter(|line| !line.starts_with("   ")).map(|line| line.split_whitespace().next().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn the_script_of_every_shell_names_every_verb_its_flags_and_the_algorithms() {
    let verbs = verbs();
    assert!(verbs.len() > 10 && verbs.contains(&"completions".to_owned()), "{verbs:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = script(shell);
        let entries = algorithms::list().iter().filter(|_| shell != "elvish" && shell != "powershell");
        let words = verbs.iter().map(String::as_str).chain(entries.map(|entry| entry.name));
        for word in words.chain(["max-memory", "steps", "schema"]) {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
}

#[test]
fn a_shell_that_nobody_knows_is_refused_with_those_that_there_are() {
    let output = bidst(Path::new("."), ["completions", "dos"]).output();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && message.contains("bash") && message.contains("zsh"), "{message}");
}

/// What bash offers for the last of `words`.
#[cfg(unix)]
fn offered(words: &[&str]) -> Vec<String> {
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    let list = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let call = format!("COMP_WORDS=({list}); COMP_CWORD={}; _bidst bidst '{last}' '{before}'", words.len() - 1);
    let program = format!("{}\n{call}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"", script("bash"));
    let output = Command::new("bash").args(["--norc", "-c", &program]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[cfg(unix)]
#[test]
fn bash_completes_verbs_flags_and_names() {
    assert_eq!(offered(&["bidst", "comp"]), ["compare", "completions"]);
    assert_eq!(offered(&["bidst", "train", "--max"]), ["--max-memory"]);
    assert_eq!(offered(&["bidst", "train", "--algorithm", "rigl"]), ["rigl", "rigl-itop", "rigl-candidates"]);
    assert_eq!(offered(&["bidst", "bench", "st"]), ["step"]);
    assert_eq!(offered(&["bidst", "export", "--format", "o"]), ["onnx"]);
}
