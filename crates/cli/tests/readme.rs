//! The commands of the README do what they say. (`cargo run --release` and `cargo test` are run by `check.sh`.)

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::cargo::cargo_bin_cmd;

/// The `bidst …` lines of the README's shell blocks.
fn commands() -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).filter(|line| line.starts_with("bidst ")).map(str::to_owned).collect()
}

/// Runs one command line; returns exit code, standard output and standard error.
fn run(folder: &Path, line: &str) -> (i32, String, String) {
    let output = cargo_bin_cmd!("bidst").current_dir(folder).args(line.split(' ').skip(1)).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_command_of_the_readme_works() {
    let folder = tempfile::tempdir().unwrap();
    let newest_run = || -> PathBuf {
        let runs = fs::read_dir(folder.path().join("runs")).unwrap();
        runs.map(|entry| entry.unwrap().path()).max().unwrap()
    };
    let commands = commands();
    assert!(commands.len() >= 8, "the README lost its commands: {commands:?}");
    for line in commands {
        // The recipes of configs/ need files that nobody can ship; they are loaded by a test of their own.
        if line.contains("DIR") {
            continue;
        }
        let line = if line.contains("RUN") { line.replace("RUN", newest_run().to_str().unwrap()) } else { line };
        let (code, out, error) = run(folder.path(), &line);
        if line.contains("--resume") {
            assert!(code == 2 && error.contains("finished"), "a finished run is not continued: {error}");
            continue;
        }
        assert_eq!(code, 0, "{line}: {error}");
        if line.contains("--json") {
            serde_json::from_str::<serde_json::Value>(&out).unwrap_or_else(|e| panic!("{line}: {e} in {out}"));
        }
    }
}
