//! What `bidst import` and `--init` say when something is missing or wrong.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use common::bidst;
use safetensors::tensor::{Dtype, TensorView};

/// Runs `bidst` with `arguments` in `folder`; returns the exit code and standard error.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = bidst(folder, arguments).output();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A multilayer perceptron's state as PyTorch saves it: 28x28 pixels, hidden layers of 5 and 3, 7 classes.
fn perceptron(rename: impl Fn(&'static str) -> &'static str) -> Vec<u8> {
    let layers = [("fc1", 784, 5), ("fc2", 5, 3), ("fc3", 3, 7)];
    let data: Vec<(String, Vec<usize>)> = layers
        .into_iter()
        .flat_map(|(name, inputs, outputs)| {
            let weight = (format!("{}.weight", rename(name)), vec![outputs, inputs]);
            [weight, (format!("{}.bias", rename(name)), vec![outputs])]
        })
        .collect();
    let ones = 1f32.to_le_bytes().repeat(784 * 5);
    let views = data.into_iter().map(|(name, shape)| {
        let bytes = 4 * shape.iter().product::<usize>();
        (name, TensorView::new(Dtype::F32, shape, &ones[..bytes]).unwrap())
    });
    safetensors::serialize(views, None::<HashMap<String, String>>).unwrap()
}

#[test]
fn a_state_without_any_metadata_comes_in_with_what_the_flags_say() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state"), perceptron(|name| name)).unwrap();
    let how =
        ["import", "state", "--model", "mlp", "--width", "0.01", "--mean", "0.5", "--std", "0.25", "--out", "model"];
    assert_eq!(run(folder.path(), &how), (0, String::new()));
    let output = bidst(folder.path(), ["inspect", "model", "--json"]).output();
    let inspection: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let about = &inspection["about"];
    assert_eq!((&about["classes"], &about["mean"][0], &about["input"][1]), (&7.into(), &0.5.into(), &28.into()));
}

/// It said that there is no data set `none`.
#[test]
fn a_model_that_names_no_data_set_is_evaluated_on_the_one_of_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state"), perceptron(|name| name)).unwrap();
    let how = ["import", "state", "--model", "mlp", "--width", "0.01", "--mean", "0.5", "--std", "0.25", "--out", "m"];
    assert_eq!(run(folder.path(), &how), (0, String::new()));
    for (arguments, parts) in [
        (&["eval", "m"][..], &["m: does not say which data set", "--dataset NAME"][..]),
        (&["eval", "m", "--dataset", "fooo"], &["no data set `fooo`"]),
        (&["eval", "m", "--dataset", "fashion-mini"], &["does not fit the images of `fashion-mini`"]),
    ] {
        let (code, message) = run(folder.path(), arguments);
        assert_eq!(code, 2, "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

/// Seven classes were taken for two.
#[test]
fn the_classes_of_a_state_from_data_parallel_training_are_seen_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let layers = |name| match name {
        "fc1" => "module.fc1",
        "fc2" => "module.fc2",
        _ => "module.fc3",
    };
    fs::write(folder.path().join("state"), perceptron(layers)).unwrap();
    let how = ["import", "state", "--model", "mlp", "--width", "0.01", "--mean", "0.5", "--std", "0.25", "--out", "m"];
    assert_eq!(run(folder.path(), &how), (0, String::new()));
}

/// It used those of the data set, whatever the file said.
#[test]
fn images_are_normalised_as_the_model_says() {
    let folder = tempfile::tempdir().unwrap();
    let train =
        ["train", "--model", "mlp", "--width", "0.05", "--epochs", "1", "--batch-size", "1000", "--output", "runs"];
    assert_eq!(run(folder.path(), &[&train[..], &["--progress", "none"]].concat()), (0, String::new()));
    let run_folder = fs::read_dir(folder.path().join("runs")).unwrap().next().unwrap().unwrap().path();
    let model = run_folder.join("model.safetensors");
    let logits = |name: &str, normalisation: &[&str]| {
        let (state, file) = (model.to_str().unwrap(), format!("{name}.npy"));
        let import = [&["import", state, "--out", name][..], normalisation].concat();
        assert_eq!(run(folder.path(), &import), (0, String::new()));
        let eval = ["eval", name, "--dataset", "fashion-mini", "--no-latency", "--logits", &file];
        assert_eq!(run(folder.path(), &eval), (0, String::new()));
        fs::read(folder.path().join(file)).unwrap()
    };
    let own = logits("own", &[]);
    assert!(own == logits("same", &["--dataset", "fashion-mini"]));
    assert!(own != logits("other", &["--mean", "0.9", "--std", "0.05"]));
}

/// It was written over.
#[test]
fn an_import_does_not_overwrite_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let source = perceptron(|name| name);
    fs::write(folder.path().join("state"), &source).unwrap();
    let how = ["import", "state", "--model", "mlp", "--width", "0.01", "--mean", "0.5", "--std", "0.25", "--out"];
    for out in ["state", "./state"] {
        let (code, message) = run(folder.path(), &[&how[..], &[out]].concat());
        assert_eq!(code, 2, "{message}");
        assert!(message.contains("--out") && message.contains("is the file that is imported"), "{message}");
    }
    assert!(fs::read(folder.path().join("state")).unwrap() == source);
}

#[test]
fn what_is_not_known_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state"), perceptron(|name| name)).unwrap();
    for (arguments, code, parts) in [
        (&["import", "state", "--out", "m"][..], 2, &["--model NAME"][..]),
        (&["import", "state", "--model", "mlp", "--out", "m"], 2, &["--dataset", "--mean", "--std"]),
        (&["import", "state", "--model", "mpl", "--dataset", "fashion-mini", "--out", "m"], 2, &["mpl", "mlp"]),
        (&["import", "state", "--model", "mlp", "--mean", "0,0", "--std", "1", "--out", "m"], 2, &["mean", "channel"]),
        (&["import", "state", "--model", "mlp", "--mean", "nan", "--std", "1", "--out", "m"], 2, &["mean", "finite"]),
        (&["import", "state", "--model", "mlp", "--mean", "0", "--std", "inf", "--out", "m"], 2, &["std", "finite"]),
        (&["import", "nowhere", "--model", "mlp", "--out", "m"], 2, &["nowhere", "no such file"]),
        (&["import", ".", "--model", "mlp", "--out", "m"], 2, &["is a folder"]),
        (&["import", "state", "--model", "mlp", "--dataset", "fashion-mini", "--out", "m"], 4, &["fc3.bias", "[10]"]),
        (&["train", "--init", "nowhere", "--progress", "none"], 2, &["nowhere", "no such file"]),
        (&["train", "--init", ".", "--progress", "none"], 2, &["is a folder"]),
        (&["train", "--init", "state", "--progress", "none"], 4, &["small-cnn", "conv1.weight", "fc2.weight"]),
    ] {
        let (found, message) = run(folder.path(), arguments);
        assert_eq!(found, code, "{arguments:?}: {message}");
        assert!(!message.contains("panicked"), "{message}");
        for part in parts {
            assert!(message.contains(part), "{arguments:?} should say `{part}`, but says: {message}");
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
}

/// They were looked for in the metadata of the file, which has none.
#[test]
fn wrong_numbers_of_flags_are_said_of_the_flags() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state"), perceptron(|name| name)).unwrap();
    let import = ["import", "state", "--model", "mlp", "--out", "m"];
    for (flags, part) in [
        (["--mean", "0.5,0.5", "--std", "0.25", "--width", "1"], "--mean is [0.5, 0.5], but takes one finite number"),
        (["--mean", "0.5", "--std", "0", "--width", "1"], "--std is [0.0], but takes one positive"),
        (["--mean", "0.5", "--std", "0.25", "--width", "100"], "--width is 100.0, but takes 0 to 64"),
    ] {
        let (code, message) = run(folder.path(), &[&import[..], &flags].concat());
        assert_eq!(code, 2, "{message}");
        assert!(message.contains(part) && !message.contains("metadata"), "should say `{part}`: {message}");
    }
}

#[test]
fn wrong_names_are_all_listed_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let renamed = |name: &str| {
        if name == "fc2" {
            "fc_2"
        } else if name == "fc3" {
            "classifier"
        } else {
            "fc1"
        }
    };
    fs::write(folder.path().join("state"), perceptron(renamed)).unwrap();
    let how =
        ["import", "state", "--model", "mlp", "--width", "0.01", "--mean", "0.5", "--std", "0.25", "--out", "model"];
    let (code, message) = run(folder.path(), &how);
    assert_eq!(code, 4, "{message}");
    for part in [
        "`fc2.weight` is missing; the file has `fc_2.weight`",
        "`fc3.bias` is missing",
        "`fc_2.bias` does not belong to the network; did you mean `fc2.bias`?",
        "`classifier.weight` does not belong",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}
