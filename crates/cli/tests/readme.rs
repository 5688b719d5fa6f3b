//! The commands of the README and the guides do what they say. (`cargo run --release`, `cargo test` and `bidst` alone are run by
//! `check.sh`.)

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::bidst;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The `bidst …` lines of a page's shell blocks.
fn commands(page: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).filter(|line| line.starts_with("bidst ")).map(str::to_owned).collect()
}

/// The words of a command line, as a shell splits it; single quotes are the only ones there are.
fn words(line: &str) -> Vec<String> {
    let quoted = |(index, part): (usize, &str)| match index % 2 {
        1 => vec![part.to_owned()],
        _ => part.split_whitespace().map(str::to_owned).collect(),
    };
    line.split('\'').enumerate().flat_map(quoted).collect()
}

/// Runs one command line; returns exit code, standard output and standard error.
fn run(folder: &Path, line: &str) -> (i32, String, String) {
    let output = bidst(folder, words(line).into_iter().skip(1)).output();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A folder with the recipes in it, as a checkout has them.
fn checkout() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for from in ["configs", "configs/published"] {
        let to = folder.path().join(from);
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(root().join(from)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    folder
}

/// What stands for a command that needs data that nobody can ship: its configuration is checked, and its flags are.
fn without_data(line: &str) -> String {
    let flags = line.replace(" --data-dir DIR", "");
    match flags.strip_prefix("bidst train ") {
        Some(rest) => format!("bidst config show {rest}"),
        None => format!("bidst config check {}", words(&flags)[2]),
    }
}

fn assert_commands_work(page: &str, least: usize) {
    let folder = checkout();
    let newest_run = || -> PathBuf {
        let runs = fs::read_dir(folder.path().join("runs")).unwrap();
        runs.map(|entry| entry.unwrap().path()).max().unwrap()
    };
    let commands = commands(page);
    assert!(commands.len() >= least, "{page} lost its commands: {commands:?}");
    let data = common::write_data(folder.path());
    for line in commands {
        let line = match line.contains("DIR") {
            true if line.starts_with("bidst data ") => line.replace("DIR", data.to_str().unwrap()),
            true => without_data(&line),
            false => line,
        };
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

#[test]
fn every_command_of_the_readme_works() {
    assert_commands_work("README.md", 8);
}

#[test]
fn every_command_of_the_guide_works() {
    assert_commands_work("docs/guide.md", 30);
}

#[test]
fn every_command_of_the_page_about_configurations_works() {
    assert_commands_work("docs/config.md", 5);
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut pages: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| root().join(page)).into();
    for folder in ["docs", "docs/algorithms", "bench", "bench/results"] {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    let mut links = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") && !link.contains([' ', '\n']) {
                assert!(page.with_file_name(link).exists(), "{}: {link}", page.display());
                links += 1;
            }
        }
    }
    assert!(links > 20, "{links}");
}
