//! `bidst compare`: what a person does with a grid.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use common::{Bidst, bidst, end_of, send};
use serde_json::Value;

const BASE: &str = "
[model]
name = 'mlp'
width = 0.03
[train]
epochs = 2
batch_size = 1000
[algorithm]
update_interval = 5
";

fn study(folder: &Path, grid: &str) -> String {
    let path = folder.join("study.toml");
    fs::write(&path, format!("{BASE}[grid]\n{grid}")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn command(folder: &Path, arguments: &[&str]) -> Bidst {
    bidst(folder, ["compare"].iter().chain(arguments))
}

/// Exit code, standard output and standard error.
fn compare(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = command(folder, arguments).output();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The Markdown table without what is measured.
fn table(folder: &Path) -> String {
    let markdown = fs::read_to_string(folder.join("table.md")).unwrap();
    markdown.split("## Time and memory").next().unwrap().to_owned()
}

#[test]
fn a_grid_is_trained_shown_and_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path(), "algorithm = ['static', 'set']\nseed = [0, 1]\n");
    let (code, out, error) = compare(folder.path(), &[&config, "--out", "out", "--jobs", "2"]);
    assert_eq!(code, 0, "{error}");
    for part in ["4 runs in out: 0 finished", "set_s90_seed1  epoch 2/2", "[4/4] finished", "## Accuracy", "| static "]
    {
        assert!(out.contains(part), "{part} in {out}");
    }
    let files = ["table.md", "table.csv", "table.json"].map(|name| folder.path().join("out").join(name));
    let written = files.each_ref().map(|path| fs::read(path).unwrap());
    files.iter().for_each(|path| fs::remove_file(path).unwrap());
    let (code, out, _) = compare(folder.path(), &["out", "--table"]);
    assert!(code == 0 && out.contains("4 of 4 runs are finished"), "{out}");
    assert_eq!(files.each_ref().map(|path| fs::read(path).unwrap()), written);

    let (code, out, _) = compare(folder.path(), &[&config, "--out", "out", "--progress", "json"]);
    assert!(code == 0 && out.is_empty(), "everything is finished: {out}");
}

#[test]
fn tables_come_with_the_report_that_bidst_report_makes_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        study(folder.path(), "algorithm = ['static', { name = 'hot', algorithm = 'set', lr = 1e30 }]\nseed = [0, 1]\n");
    let (_, out, error) = compare(folder.path(), &[&config, "--out", "out"]);
    assert!(out.contains("report in out/report.html"), "{out}{error}");
    let files = ["report.html", "report.png"].map(|name| folder.path().join("out").join(name));
    let written = files.each_ref().map(|path| fs::read(path).unwrap());
    let page = String::from_utf8(written[0].clone()).unwrap();
    assert!(page.contains("4 runs, 2 of them finished") && page.contains("over 2 runs"), "{page}");
    assert!(written[1].starts_with(b"\x89PNG"));
    files.iter().for_each(|path| fs::remove_file(path).unwrap());
    let again = bidst(folder.path(), ["report", "out"]).output();
    assert!(again.status.success());
    assert!(files.each_ref().map(|path| fs::read(path).unwrap()) == written, "`bidst report` draws something else");
}

#[test]
fn there_is_no_report_of_nothing_and_none_where_nobody_wants_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path(), "algorithm = ['static']\n");
    let (code, out, error) = compare(folder.path(), &[&config, "--out", "hot", "--set", "optim.lr=1e30"]);
    assert!(code == 3 && !out.contains("report in") && !folder.path().join("hot/report.html").exists(), "{out}{error}");
    let (code, out, error) = compare(folder.path(), &[&config, "--out", "out", "--set", "run.report=false"]);
    assert!(code == 0 && !out.contains("report in") && !folder.path().join("out/report.html").exists(), "{out}{error}");
}

#[test]
fn json_progress_has_an_object_per_start_epoch_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path(), "algorithm = ['static']\n");
    let (_, out, _) = compare(folder.path(), &[&config, "--out", "out", "--progress", "json"]);
    let objects = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kinds: Vec<String> = objects.map(|object| object["kind"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(kinds, ["start", "epoch", "epoch", "finish"], "{out}");
}

#[cfg(unix)]
#[test]
fn a_signal_stops_in_good_order_and_the_same_command_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path(), "seed = [0, 1, 2]\nepochs = [12]\n");
    let arguments = |out| [&config, "--out", out, "--jobs", "1"];
    assert_eq!(compare(folder.path(), &arguments("whole")).0, 0);

    let mut child = command(folder.path(), &arguments("cut")).spawn();
    let mut lines = BufReader::new(child.stdout()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("epoch 2/12")));
    send("-INT", &child);
    let rest: Vec<String> = lines.collect();
    assert_eq!(end_of(child).0, Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("stopped; it can go on")), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("interrupted, or still under way")), "{rest:?}");

    let (code, out, error) = compare(folder.path(), &["cut"]);
    assert!(code == 0 && out.contains("goes on after epoch"), "{out}{error}");
    assert_eq!(table(&folder.path().join("cut")), table(&folder.path().join("whole")));
}

#[test]
fn a_run_that_diverges_is_said_by_table_and_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path(), "algorithm = ['static', { name = 'hot', algorithm = 'set', lr = 1e30 }]\n");
    let (code, out, error) = compare(folder.path(), &[&config, "--out", "out"]);
    assert_eq!(code, 3, "{error}");
    assert!(out.contains("* `hot_s90_seed0`: training diverged") && out.contains("1 of 2 runs are finished"), "{out}");
    assert!(error.contains("1 of the runs failed"), "{error}");
}

#[test]
fn mistakes_are_usage_errors_and_nothing_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path(), "algorithm = ['static']\n");
    let refused = |arguments: &[&str], code: i32, parts: &[&str]| {
        let (found, _, error) = compare(folder.path(), arguments);
        assert_eq!(found, code, "{arguments:?}: {error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{arguments:?} should say {parts:?}, but says: {error}");
    };
    refused(&[&config], 2, &["--out"]);
    refused(&["nowhere.toml", "--out", "out"], 2, &["nowhere.toml"]);
    refused(&[".", "--table"], 2, &["compare.toml"]);
    refused(&[&config, "--out", "out", "--table"], 2, &["there is no folder out", "--table"]);
    refused(&[".", "--out", "out"], 2, &["--out", "folder"]);
    refused(&[&config, "--out", "out", "--set", "train.epochz=1"], 2, &["did you mean `epochs`"]);
    refused(&[&config, "--out", "out", "--set", "data.name=cifar10"], 4, &["--data-dir"]);
    fs::write(folder.path().join("plain.toml"), BASE).unwrap();
    refused(&["plain.toml", "--out", "out"], 2, &["there is no [grid]"]);
    assert!(!folder.path().join("out/runs").exists());

    assert_eq!(compare(folder.path(), &[&config, "--out", "out"]).0, 0);
    let other = ["static_s90_seed0", "`optim.lr`", "0.1", "0.3"];
    refused(&[&config, "--out", "out", "--set", "optim.lr=0.3"], 2, &other);
    refused(&[&config, "--out", "out", "--set", "optim.lr=0.3", "--table"], 2, &other);
    refused(&[&config, "--out", "out", "--set", "train.on_spike=skip"], 2, &["`train.on_spike`"]);
}

/// A million threads were begun, one after the other; two thousand made a folder that could not be read again.
#[test]
fn threads_are_those_of_the_flag_or_of_the_configuration_and_too_many_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path(), "epochs = [1]\n[run]\nthreads = 2\n");
    for many in ["2000", "1000000"] {
        let (code, _, error) = compare(folder.path(), &[&config, "--out", "many", "-j", many]);
        assert!(code == 2 && error.contains("`run.threads`") && error.contains("1024"), "{code} {error}");
    }
    let threads = |out: &str| {
        let run = only_run(&folder.path().join(out));
        let manifest: Value = serde_json::from_slice(&fs::read(run.join("manifest.json")).unwrap()).unwrap();
        manifest["threads"].as_u64().unwrap()
    };
    for (out, flag, expected) in [("two", &[][..], 2), ("three", &["-j", "3"], 3)] {
        let (code, _, error) = compare(folder.path(), &[&[config.as_str(), "--out", out], flag].concat());
        assert!(code == 0 && threads(out) == expected, "{out}: {} {error}", threads(out));
    }
    let plain = study(folder.path(), "epochs = [1]\n");
    assert_eq!(compare(folder.path(), &[&plain, "--out", "one"]).0, 0);
    assert_eq!(threads("one"), 1);
}

fn only_run(study: &Path) -> PathBuf {
    let runs: Vec<PathBuf> = fs::read_dir(study.join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}

/// Nobody was told but by a line that scrolled away.
#[test]
fn a_run_that_another_process_is_at_makes_the_comparison_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path(), "algorithm = ['static', 'set']\n");
    let run = folder.path().join("out/runs/static_s90_seed0");
    fs::create_dir_all(&run).unwrap();
    let lock = fs::File::create(run.join("lock")).unwrap();
    lock.lock().unwrap();
    let (code, out, error) = compare(folder.path(), &[&config, "--out", "out"]);
    assert!(code == 1 && out.contains("1 of 2 runs are finished"), "{code} {out}{error}");
    assert!(error.contains("static_s90_seed0") && error.contains("another bidst"), "{error}");
    drop(lock);
    assert_eq!(compare(folder.path(), &[&config, "--out", "out"]).0, 0);
}

/// They wrote one temporary file, and renamed it away from each other.
#[test]
fn tables_can_be_written_by_many_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path(), "algorithm = ['static']\n");
    assert_eq!(compare(folder.path(), &[&config, "--out", "out"]).0, 0);
    let written = fs::read(folder.path().join("out/table.json")).unwrap();
    for _ in 0..5 {
        let writers: Vec<_> = (0..6).map(|_| command(folder.path(), &["out", "--table"]).spawn()).collect();
        for writer in writers {
            let (code, error) = end_of(writer);
            assert_eq!(code, Some(0), "{error}");
        }
    }
    assert_eq!(fs::read(folder.path().join("out/table.json")).unwrap(), written);
    let left = fs::read_dir(folder.path().join("out")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("partial")));
}

#[test]
fn a_name_with_a_bar_keeps_to_its_column() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path(), "algorithm = [{ name = 'a|b', algorithm = 'set' }]\nepochs = [1]\n");
    let (code, out, error) = compare(folder.path(), &[&config, "--out", "out"]);
    assert!(code == 0 && out.contains(r"| a\|b "), "{out}{error}");
}

#[test]
fn the_study_of_the_documentation_can_be_trained() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compare.md")).unwrap();
    let study = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("study.toml"), study).unwrap();
    let small = ["train.epochs=1", "train.batch_size=1000", "model.name=mlp", "model.width=0.03"];
    let sets = small.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> =
        ["study.toml", "--out", "studies/first", "--jobs", "2"].into_iter().chain(sets).collect();
    let (code, out, error) = compare(folder.path(), &arguments);
    assert!(code == 0 && out.contains("27 of 27 runs are finished"), "{out}{error}");
    let csv = fs::read_to_string(folder.path().join("studies/first/table.csv")).unwrap();
    let keys = csv.lines().next().unwrap().split(',').skip(4).filter(|key| !key.ends_with("_std"));
    for key in keys {
        assert!(text.contains(&format!("`{key}`")), "docs/compare.md does not say what `{key}` is");
    }
}
