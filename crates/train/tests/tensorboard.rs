//! The event files of a run say what its `metrics.jsonl` says, once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bidst_train::config::Builder;
use bidst_train::log::events::{self, What};
use bidst_train::session::Circumstances;
use bidst_train::trainer::Event;
use bidst_train::{Config, Session, TrainError};
use serde_json::Value;

fn config() -> Config {
    let settings = [
        "model.name=mlp",
        "model.width=0.05",
        "train.batch_size=1000",
        "train.epochs=3",
        "run.log_interval=2",
        "run.report=false",
        "run.threads=1",
        "algorithm.name=set",
        "algorithm.update_interval=4",
    ];
    settings.iter().fold(Builder::new(), |builder, setting| builder.set(setting)).finish().unwrap()
}

fn quiet(_: Event<'_>) -> Result<(), TrainError> {
    Ok(())
}

/// All scalars in the event files of a run, by tag and step; a pair that comes twice is an error.
fn scalars(run: &Path) -> BTreeMap<(String, u64), f32> {
    let mut paths: Vec<_> = fs::read_dir(run.join("tb")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut found = BTreeMap::new();
    for path in paths {
        let file = fs::read(&path).unwrap();
        let events = events::read(&file);
        assert_eq!((&events[0].0.what, events.last().unwrap().1), (&What::Version, file.len()));
        for (event, _) in events {
            let What::Scalars(values) = event.what else { continue };
            for (tag, value) in values {
                assert!(found.insert((tag.clone(), event.step), value).is_none(), "{tag} at {} twice", event.step);
            }
        }
    }
    found
}

#[test]
fn the_scalars_are_those_of_the_records() {
    let output = tempfile::tempdir().unwrap();
    let run = output.path().join("run");
    Session::start_at(&run, config()).unwrap().run(&mut quiet).unwrap();
    let found = scalars(&run);
    let at = |tag: &str, step: u64| found[&(tag.to_owned(), step)];
    let (mut steps, mut epochs) = (0, 0);
    for line in fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| line[name].as_f64().unwrap() as f32;
        if line["kind"] == "step" {
            let step = line["step"].as_u64().unwrap();
            assert_eq!(at("step/loss", step), number("loss"));
            assert_eq!(at("step/learning_rate", step), number("learning_rate"));
            steps += 1;
        } else {
            let step = line["steps"].as_u64().unwrap() - 1;
            assert_eq!(at("epoch/test_accuracy", step), number("test_accuracy"));
            assert_eq!(at("mask/itop", step), number("itop"));
            epochs += 1;
        }
    }
    assert_eq!((steps, epochs), (15, 3));
    let first = fs::read_to_string(run.join("topology.jsonl")).unwrap();
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    let step = first["step"].as_u64().unwrap();
    assert!(at("mask/iou", step) < 1.0);
    let layer = format!("density/{}", first["layer"].as_str().unwrap());
    assert_eq!(at(&layer, step), first["density"].as_f64().unwrap() as f32);
}

#[test]
fn a_resumed_run_has_every_point_once() {
    let output = tempfile::tempdir().unwrap();
    let (whole, cut) = (output.path().join("whole"), output.path().join("cut"));
    Session::start_at(&whole, config()).unwrap().run(&mut quiet).unwrap();
    let mut stop = |event: Event<'_>| match event {
        Event::Step { record, .. } if record.step == 15 => Err(TrainError::Stopped { step: 15 }),
        _ => Ok(()),
    };
    Session::start_at(&cut, config()).unwrap().run(&mut stop).unwrap_err();
    let before = scalars(&cut);
    assert!(before.contains_key(&("step/loss".to_owned(), 14)) && !before.contains_key(&("step/loss".to_owned(), 16)));
    let only = fs::read_dir(cut.join("tb")).unwrap().next().unwrap().unwrap().path();
    let torn = [fs::read(&only).unwrap(), vec![7; 9]].concat();
    fs::write(&only, torn).unwrap();
    Session::resume(&cut, &Circumstances::default()).unwrap().run(&mut quiet).unwrap();
    assert_eq!(fs::read_dir(cut.join("tb")).unwrap().count(), 2);
    let untimed = |run: &Path| {
        let mut found = scalars(run);
        found.retain(|(tag, _), _| !["step/ms", "step/images_per_s", "epoch/images_per_s"].contains(&tag.as_str()));
        found
    };
    let (whole, cut) = (untimed(&whole), untimed(&cut));
    assert_eq!(whole, cut);
}

#[test]
fn a_run_that_begins_anew_in_its_folder_forgets_its_points() {
    let output = tempfile::tempdir().unwrap();
    let run = output.path().join("run");
    for _ in 0..2 {
        Session::start_at(&run, config()).unwrap().run(&mut quiet).unwrap();
        assert_eq!(scalars(&run).keys().filter(|(tag, _)| tag == "step/loss").count(), 15);
    }
}
