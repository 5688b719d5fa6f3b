//! `bidst report`, and the report that a training leaves.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

fn bidst(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = common::bidst(folder, arguments).output();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// Trains a tiny network and returns its folder.
fn train(folder: &Path, output: &str, more: &[&str]) -> PathBuf {
    let base =
        ["train", "--model", "mlp", "--width", "0.05", "--epochs", "1", "--batch-size", "1000", "--output", output];
    let (code, text) = bidst(folder, &[&base[..], more].concat());
    assert_eq!(code, 0, "{text}");
    let entry = fs::read_dir(folder.join(output)).unwrap().next().unwrap().unwrap();
    assert!(text.contains("report in ") || more.contains(&"run.report=false"), "{text}");
    entry.path()
}

fn is_report(html: &Path) -> bool {
    let page = fs::read_to_string(html).unwrap_or_default();
    let picture = fs::read(html.with_extension("png")).unwrap_or_default();
    page.starts_with("<!doctype html>") && page.ends_with("</html>\n") && picture.starts_with(b"\x89PNG")
}

#[test]
fn a_training_ends_with_a_report_that_can_be_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = train(folder.path(), "runs", &[]);
    assert!(is_report(&run.join("report.html")));
    fs::remove_file(run.join("report.html")).unwrap();
    let (code, text) = bidst(folder.path(), &["report", run.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    assert!(is_report(&run.join("report.html")) && text.contains("report.png"));
    let (code, _) = bidst(folder.path(), &["report", run.to_str().unwrap(), "--out", "mine.png"]);
    assert!(code == 0 && is_report(&folder.path().join("mine.html")));
}

#[test]
fn several_runs_or_a_folder_of_runs_come_to_one_report() {
    let folder = tempfile::tempdir().unwrap();
    let one = train(folder.path(), "one", &["--set", "run.report=false", "--set", "run.tensorboard=false"]);
    assert!(!one.join("report.html").exists() && !one.join("tb").exists());
    let two = train(folder.path(), "two", &["--algorithm", "static"]);
    let [one, two] = [one, two].map(|run| run.to_str().unwrap().to_owned());
    let (code, text) = bidst(folder.path(), &["report", &one, &two]);
    assert!(code == 0 && is_report(&folder.path().join("report.html")), "{text}");
    let (code, _) = bidst(folder.path(), &["report", &one, "--baseline", &two]);
    assert_eq!(code, 0);
    assert!(fs::read_to_string(Path::new(&one).join("report.html")).unwrap().contains("static, test"));
    fs::rename(&one, folder.path().join("two/first")).unwrap();
    let (code, text) = bidst(folder.path(), &["report", "two", "--out", "both.html"]);
    assert!(code == 0 && is_report(&folder.path().join("both.html")), "{text}");
    assert!(fs::read_to_string(folder.path().join("both.html")).unwrap().contains("2 runs, 2 of them finished"));
}

#[test]
fn what_is_no_run_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in
        [&["report", "nowhere"][..], &["report", "."], &["report"], &["report", ".", "--baseline", "nowhere"]]
    {
        let (code, text) = bidst(folder.path(), arguments);
        assert_eq!(code, 2, "{arguments:?}: {text}");
    }
    assert!(bidst(folder.path(), &["report", "nowhere"]).1.contains("neither a run folder"));
}

#[test]
fn plain_progress_keeps_to_eighty_columns_and_has_no_colours() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) =
        bidst(folder.path(), &["train", "--model", "mlp", "--epochs", "2", "--progress", "plain", "--output", "r"]);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains('\u{1b}'));
    let paths = ["run  ", "model ", "report in"];
    for line in text.lines().filter(|line| !paths.iter().any(|start| line.starts_with(start))) {
        assert!(line.chars().count() <= 80, "{}: {line}", line.chars().count());
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("epoch ")).count(), 2);
}
