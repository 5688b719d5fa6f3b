//! Reports of real, damaged, hostile and large runs.

use std::fs;
use std::path::{Path, PathBuf};

use resvg::usvg::{Options, Tree};
use serde_json::json;

use super::svg::clashes;
use super::*;
use crate::Session;
use crate::config::Builder;
use crate::trainer::Event;

/// Trains a tiny perceptron into the folder `name` of `output`.
fn trained(output: &Path, name: &str, settings: &[&str]) -> PathBuf {
    let base = ["model.name=mlp", "model.width=0.05", "train.batch_size=1000", "train.epochs=2", "run.log_interval=1"];
    let more = ["run.tensorboard=false", "run.report=false", "run.threads=1", "algorithm.name=static"];
    let builder =
        base.iter().chain(&more).chain(settings).fold(Builder::new(), |builder, setting| builder.set(setting));
    let run = output.join(name);
    let session = Session::start_at(&run, builder.finish().unwrap_or_else(|error| panic!("{error}"))).unwrap();
    session.run(&mut |_: Event<'_>| Ok(())).unwrap();
    run
}

const MOVING: [&str; 2] = ["algorithm.name=set", "algorithm.update_interval=2"];

/// No text of a report may touch another or leave its panel or the picture, and all of it must be valid XML.
fn assert_tidy(content: &Content) {
    let panels = content.columns.iter().flatten();
    for panel in panels {
        assert_eq!(clashes(&panel.canvas), Vec::<String>::new(), "{}", panel.title);
        Tree::from_str(&panel.canvas.document(""), &Options::default()).unwrap();
    }
    assert_eq!(clashes(&picture::lay_out(content)), Vec::<String>::new());
}

/// A page that fetches or runs nothing, and shows no control character.
fn assert_harmless(page: &str) {
    for forbidden in ["<script", "http://", "https://", "<img", "<link", "onload=", "javascript:"] {
        assert!(!page.to_lowercase().contains(forbidden), "{forbidden}");
    }
    assert!(page.chars().all(|letter| !letter.is_control() || letter == '\n'));
}

#[test]
fn the_report_of_a_run_shows_everything_and_its_twin_in_grey() {
    let output = tempfile::tempdir().unwrap();
    let run = trained(output.path(), "a", &MOVING);
    trained(output.path(), "b", &[]);
    trained(output.path(), "c", &["run.seed=1"]);
    let records = Records::read(&run);
    let twin = twin::find(&records).unwrap();
    assert_eq!((twin.name.as_str(), records.notes.len()), ("b", 0));
    let content = one(&records, Some(&twin));
    assert_tidy(&content);
    let titles: Vec<&str> = content.columns.iter().flatten().map(|panel| panel.title.as_str()).collect();
    assert_eq!(titles.len(), 9, "{titles:?}");
    let page = page::html(&content);
    assert_harmless(&page);
    for word in
        ["static, test", "ever active (ITOP)", "fc1", "momentum", "optimiser", "class=\"hit\"", "prefers-color-scheme"]
    {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("missing or damaged") && !page.contains("Nothing is recorded"));

    let report = write_run(&run, None, &path(&run)).unwrap();
    let picture = fs::read(report.png).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000);
    assert_eq!(fs::read_to_string(report.html).unwrap(), page);
}

#[test]
fn a_dense_twin_is_preferred_and_another_recipe_is_none() {
    let output = tempfile::tempdir().unwrap();
    let run = trained(output.path(), "run", &MOVING);
    trained(output.path(), "other", &["train.epochs=1"]);
    trained(output.path(), "sparser", &["sparsity.level=0.95"]);
    let found = || twin::find(&Records::read(&run)).map(|twin| twin.name);
    assert_eq!(found(), None);
    trained(output.path(), "fixed", &[]);
    assert_eq!(found().as_deref(), Some("fixed"));
    trained(output.path(), "all", &["algorithm.name=dense"]);
    assert_eq!(found().as_deref(), Some("all"));
}

#[test]
fn any_file_may_be_missing_cut_or_nonsense() {
    let output = tempfile::tempdir().unwrap();
    let run = trained(output.path(), "run", &MOVING);
    let names = [
        "config.toml",
        "manifest.json",
        "metrics.jsonl",
        "topology.jsonl",
        "kernels.json",
        "inventory.json",
        "result.json",
    ];
    for name in names {
        let path = run.join(name);
        let whole = fs::read(&path).unwrap();
        let cut = whole[..2 * whole.len() / 3].to_vec();
        let numbers = String::from_utf8_lossy(&whole).replace("0.", "-9e300").into_bytes();
        for damage in
            [None, Some(Vec::new()), Some(cut), Some(vec![0xff; 3_000]), Some(b"[[[[[[".repeat(2_000)), Some(numbers)]
        {
            match &damage {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let content = one(&Records::read(&run), None);
            assert_tidy(&content);
            assert_harmless(&page::html(&content));
            assert_tidy(&many::content(&[Records::read(&run)]));
        }
        fs::write(&path, whole).unwrap();
    }
    let words = ["metrics.jsonl is missing", "topology.jsonl is missing", "kernels.json is missing", "inventory.json"];
    names.iter().for_each(|name| fs::remove_file(run.join(name)).unwrap());
    let page = page::html(&one(&Records::read(&run), None));
    words.iter().for_each(|word| assert!(page.contains(word), "{word}"));
}

#[test]
fn a_spike_of_the_loss_is_told_and_was_taken_for_a_damaged_line() {
    let output = tempfile::tempdir().unwrap();
    let run = trained(output.path(), "run", &MOVING);
    let path = run.join("metrics.jsonl");
    let spike = |step: u64, loss: f64, z: f64| {
        let record = crate::metrics::SpikeRecord { step, loss, mean: 1.125, deviation: 0.1, z };
        let mut line = serde_json::to_value(record).unwrap();
        line["kind"] = "spike".into();
        format!("{line}\n")
    };
    let lines = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{lines}{}", spike(3, 2.5, 9.0))).unwrap();
    assert_eq!(Records::read(&run).notes, ["The loss stood out once at step 3: 2.5000 after a mean of 1.1250."]);
    fs::write(&path, format!("{lines}{}{}", spike(2, 4.0, 12.0), spike(3, 2.5, 9.0))).unwrap();
    let records = Records::read(&run);
    assert_eq!(records.notes, ["The loss stood out 2 times, most at step 2: 4.0000 after a mean of 1.1250."]);
    assert_tidy(&one(&records, None));
    fs::write(&path, format!("{lines}{}", spike(3, 1e300, 9.0))).unwrap();
    assert_eq!(Records::read(&run).notes, Vec::<String>::new());
}

/// It said that the loss was no number.
#[test]
fn a_run_that_a_spike_ended_gives_its_own_reason() {
    let output = tempfile::tempdir().unwrap();
    let run = trained(output.path(), "run", &MOVING);
    let path = run.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["status"] = "diverged".into();
    manifest["reason"] = "stopped at a spike: of 2.5".into();
    fs::write(&path, manifest.to_string()).unwrap();
    let page = page::html(&one(&Records::read(&run), None));
    assert!(page.contains("diverged") && page.contains("stopped at a spike: of 2.5"), "{page}");
    assert!(!page.contains("no number"), "{page}");
}

#[test]
fn names_with_markup_control_bytes_or_great_length_do_no_harm() {
    let output = tempfile::tempdir().unwrap();
    let run = trained(output.path(), "run", &MOVING);
    let names = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onload='alert(1)",
        "&lt;b&gt; &amp; ]]> <!-- -->",
        "a\u{0}b\u{1b}[31m\u{7}\r\n",
        "\u{202e}txt.exe\u{2066}",
        "</text></svg><a href=\"javascript:alert(1)\">",
        "name\u{fffe}\u{ffff}",
        "漢字ラベル🦀 ﷽",
        &"very_long_".repeat(4_000),
    ];
    let layers = names.map(|name| json!({ "name": name, "shape": [4, 5], "target": 3, "nnz": 3 }));
    let bytes = json!({ "weights": 1 });
    fs::write(
        run.join("inventory.json"),
        json!({ "layers": layers, "bytes": bytes, "dense_bytes": bytes }).to_string(),
    )
    .unwrap();
    let choices = names.map(
        |name| json!({ "layer": name, "density": 0.2, "forward": "sparse", "backward": "dense", "measured": null }),
    );
    fs::write(run.join("kernels.json"), json!(choices).to_string()).unwrap();
    let mut records = Records::read(&run);
    assert_eq!(records.inventory.as_ref().map(|inventory| inventory.layers.len()), Some(10));
    for name in names {
        records.name = font::plain(name);
        let content = one(&records, Some(&records));
        assert_tidy(&content);
        let page = page::html(&content);
        for forbidden in ["<script", "<img", "<a href", "</svg><a", "' onload='"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.chars().all(|letter| !letter.is_control() || letter == '\n'));
    }
}

#[test]
fn a_long_run_of_a_deep_network_stays_tidy_and_small() {
    let output = tempfile::tempdir().unwrap();
    let run = trained(output.path(), "run", &MOVING);
    let name = |layer: usize| format!("stage{}.block{layer}.branch2.conv_with_a_long_name.weight", layer / 10);
    let measured = json!({ "forward_sparse_ms": 0.01, "forward_dense_ms": 5.0, "backward_sparse_ms": 0.3, "backward_dense_ms": 0.31 });
    let choice = |layer| json!({ "layer": name(layer), "density": 0.02, "forward": "sparse", "backward": "dense", "measured": measured });
    fs::write(run.join("kernels.json"), json!((0..200).map(choice).collect::<Vec<_>>()).to_string()).unwrap();
    fs::remove_file(run.join("inventory.json")).unwrap();
    let line = |at: u64| {
        let (iou, step) = (1.0 - 0.5 / (at + 1) as f64, 40 * at);
        json!({ "step": step, "layer": name(0), "nnz": 70_000_000, "density": 0.02, "dropped": 9_000_000, "grown": 9_000_000 - at, "iou": iou })
    };
    let lines: String = (0..6_000).map(|at| line(at).to_string() + "\n").collect();
    fs::write(run.join("topology.jsonl"), lines).unwrap();
    let epoch = |at: u64| {
        let value = 1.0 / (at + 1) as f64;
        json!({ "kind": "epoch", "epoch": at, "steps": 1_000 * at, "train_loss": 900.0 * value, "test_loss": value, "test_accuracy": 1.0 - value })
    };
    let lines: String = (0..1_000).map(|at| epoch(at).to_string() + "\n").collect();
    fs::write(run.join("metrics.jsonl"), lines).unwrap();
    let content = one(&Records::read(&run), None);
    assert_tidy(&content);
    let page = page::html(&content);
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    assert!(page.contains("and 120 more layers") && page.contains("500×"));
}

#[test]
fn several_runs_are_grouped_by_all_but_their_seed() {
    let output = tempfile::tempdir().unwrap();
    for seed in ["run.seed=0", "run.seed=1"] {
        for level in ["sparsity.level=0.8", "sparsity.level=0.9"] {
            let name = |algorithm: &str| format!("{algorithm}-{level}-{seed}");
            trained(output.path(), &name("static"), &[seed, level]);
            trained(output.path(), &name("set"), &[&MOVING[..], &[seed, level]].concat());
            trained(
                output.path(),
                &name("slow"),
                &[&MOVING[..], &["algorithm.update_interval=5", seed, level]].concat(),
            );
        }
        trained(output.path(), &format!("dense-{seed}"), &["algorithm.name=dense", seed]);
    }
    let mut paths: Vec<PathBuf> = fs::read_dir(output.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let records: Vec<Records> = paths.iter().map(|path| Records::read(path)).collect();
    let content = many::content(&records);
    assert_tidy(&content);
    let rows = &content.tables[0].rows;
    assert_eq!(rows[0][..3], ["sparsity", "algorithm", "n"]);
    let found: Vec<String> = rows[1..].iter().map(|row| row[..3].join(" ")).collect();
    let expected = [
        "0 dense 2",
        "0.8 set update_interval 2 2",
        "0.8 set update_interval 5 2",
        "0.8 static 2",
        "0.9 set update_interval 2 2",
        "0.9 set update_interval 5 2",
        "0.9 static 2",
    ];
    assert_eq!(found, expected);
    let page = page::html(&content);
    assert_harmless(&page);
    assert!(page.contains("14 runs, 14 of them finished") && page.contains("(n = 2)") && page.contains("Best at 90%"));
    let report = write_runs(&paths, &output.path().join("all.html")).unwrap();
    assert!(fs::read(report.png).unwrap().starts_with(b"\x89PNG"));
}
