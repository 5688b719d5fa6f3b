//! `bidst data`: what is in a folder, and training on it past what is damaged.

mod common;

use std::fs;
use std::path::Path;

use common::bidst;
use serde_json::Value;

/// Runs `bidst` with `arguments` in `folder`; returns the exit code, standard output and standard error.
fn run_in(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = bidst(folder, arguments).output();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A folder of CIFAR-100 with 64 training and 20 test images, `damaged` training labels of which are out of range.
fn cifar100(folder: &Path, damaged: usize) {
    let record = |number: usize, label: u8| {
        let pixels = (0..3072).map(move |pixel| (number * 37 + pixel * 11) as u8);
        [0, label].into_iter().chain(pixels).collect::<Vec<u8>>()
    };
    let label = |number: usize| if number < damaged { 100 } else { (number % 100) as u8 };
    fs::create_dir_all(folder.join("data/cifar-100-binary")).unwrap();
    let train: Vec<u8> = (0..64).flat_map(|number| record(number, label(number))).collect();
    let test: Vec<u8> = (0..20).flat_map(|number| record(number, number as u8)).collect();
    fs::write(folder.join("data/cifar-100-binary/train.bin"), train).unwrap();
    fs::write(folder.join("data/cifar-100-binary/test.bin"), test).unwrap();
}

#[test]
fn list_names_every_data_set_with_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text, _) = run_in(folder.path(), &["data", "list"]);
    assert_eq!(code, 0);
    let (_, array, _) = run_in(folder.path(), &["data", "list", "--json"]);
    let array: Value = serde_json::from_str(&array).unwrap();
    for (source, object) in bidst_data::list().iter().zip(array.as_array().unwrap()) {
        assert!(text.contains(source.name) && text.contains(source.summary), "{text}");
        assert_eq!(object["name"], source.name);
        for layout in source.layouts {
            assert!(layout.files.iter().all(|file| text.contains(file)), "{text}");
        }
    }
}

#[test]
fn check_of_a_good_folder_says_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    cifar100(folder.path(), 0);
    let (code, text, error) = run_in(folder.path(), &["data", "check", "data"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(text.contains("cifar100 in") && text.contains("(binary)"), "{text}");
    assert!(text.contains("train: 64 images of 3x32x32, 100 classes, 0 to 1 each"), "{text}");
    assert!(!text.contains("mean"), "{text}");
}

#[test]
fn stats_has_mean_deviation_and_counts_per_class() {
    let folder = tempfile::tempdir().unwrap();
    cifar100(folder.path(), 0);
    let (code, text, _) = run_in(folder.path(), &["data", "stats", "data", "--json"]);
    let object: Value = serde_json::from_str(&text).unwrap();
    let train = &object["splits"][0];
    assert_eq!((code, &train["images"], &train["per_class"][63]), (0, &64.into(), &serde_json::json!(["63", 1])));
    let mean = train["mean"][0].as_f64().unwrap();
    assert!((0.4..0.6).contains(&mean) && train["std"].as_array().unwrap().len() == 3, "{train}");
    let (_, text, _) = run_in(folder.path(), &["data", "stats", "data"]);
    assert!(text.contains(&format!("mean {mean:.4} ")) && text.contains("standard deviation"), "{text}");
}

#[test]
fn check_lists_damage_and_ends_with_the_code_for_data() {
    let folder = tempfile::tempdir().unwrap();
    cifar100(folder.path(), 3);
    let (code, text, error) = run_in(folder.path(), &["data", "check", "data"]);
    assert_eq!(code, 4, "{error}");
    assert_eq!(text.matches("damaged: ").count(), 3, "{text}");
    assert!(text.contains("train.bin, record 2: fine label 100 is out of range"), "{text}");
    assert!(error.contains("3 records or files") && error.contains("data.skip_bad = 3"), "{error}");
    let (code, text, _) = run_in(folder.path(), &["data", "check", "data", "--json"]);
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &object["damaged"], object["damage"].as_array().unwrap().len()), (4, &3.into(), 3));
}

#[test]
fn folders_of_nothing_known_are_data_errors() {
    let folder = tempfile::tempdir().unwrap();
    for (path, part) in [(".", "holds no data set that is known"), ("absent", "absent is not a folder")] {
        let (code, _, error) = run_in(folder.path(), &["data", "check", path]);
        assert!(code == 4 && error.contains(part), "{code} {error}");
    }
    let (code, _, error) = run_in(folder.path(), &["data", "chek", "."]);
    assert!(code == 2 && error.contains("check"), "{code} {error}");
}

#[test]
fn training_goes_on_past_as_much_damage_as_allowed() {
    let folder = tempfile::tempdir().unwrap();
    cifar100(folder.path(), 2);
    let train = |skip: &str| {
        let skip = format!("data.skip_bad={skip}");
        let arguments = ["train", "--dataset", "cifar100", "--data-dir", "data", "--epochs", "1", "--width", "0.25"];
        run_in(
            folder.path(),
            &[&arguments[..], &["--batch-size", "31", "--progress", "plain", "--set", &skip]].concat(),
        )
    };
    let (code, _, error) = train("0");
    assert!(code == 4 && error.contains("record 0: fine label 100"), "{code} {error}");
    let (code, _, error) = train("1");
    assert!(code == 4 && error.contains("2 damaged records or files, but 1 are tolerated"), "{code} {error}");
    let (code, out, error) = train("2");
    assert_eq!((code, out.matches("left out: ").count()), (0, 2), "{out}{error}");
    let run = fs::read_dir(folder.path().join("runs")).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_to_string(run.join("config.toml")).unwrap().contains("skip_bad = 2"));
}
