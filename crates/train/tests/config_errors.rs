//! What is wrong with a configuration is said with file, line, key and nearest name, all at once.

use std::path::Path;

use bidst_topology::algorithms;
use bidst_train::config::{Builder, OptionKind, options};

fn errors(text: &str) -> String {
    match Builder::new().text(Path::new("my.toml"), text).finish() {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn unknown_keys_are_named_with_line_and_nearest_key() {
    let message = errors("[optim]\nlr = 0.1\nmomentun = 0.9\n");
    assert!(message.contains("my.toml:3: `optim.momentun`"), "{message}");
    assert!(message.contains("did you mean `momentum`?"), "{message}");
    assert!(
        errors("[optimizer]\nlr = 1\n")
            .contains("my.toml:1: `optimizer`: there is no such section; did you mean `optim`?")
    );
    assert!(errors("[algorithm]\nname = \"set\"\nstopp = 0.5\n").contains("my.toml:3: `algorithm.stopp`"));
    assert!(errors("[algorithm]\nname = \"set\"\nstopp = 0.5\n").contains("did you mean `stop`?"));
}

#[test]
fn all_problems_are_reported_at_once() {
    let message = errors("[train]\nepochs = \"ten\"\n[optim]\nlrr = 1\n[model]\nname = \"resnet-32\"\n");
    assert_eq!(message.lines().count(), 4, "{message}");
    assert!(message.starts_with("the configuration has 3 problems\n"), "{message}");
    assert!(message.contains("my.toml:2: `train.epochs`: expected an integer, found the string `ten`"), "{message}");
    assert!(
        message.contains("my.toml:6: `model.name`: unknown name `resnet-32`; did you mean `resnet32`?"),
        "{message}"
    );
}

#[test]
fn values_out_of_range_are_named_with_their_line() {
    let message = errors("[sparsity]\nlevel = 1.5\n[train]\nbatch_size = 0\nsmoothing = nan\n");
    assert!(message.contains("my.toml:2: `sparsity.level`: must be at least 0 and below 1"), "{message}");
    assert!(message.contains("my.toml:4: `train.batch_size`"), "{message}");
    assert!(message.contains("my.toml:5: `train.smoothing`"), "{message}");
    assert!(errors("[train]\nepochs = -3\n").contains("`train.epochs`: must be between 1 and 1000000, but is -3"));
    assert!(errors("[data]\naugment = [\"crop:x\"]\n").contains("`data.augment`"));
    assert!(errors("sparsity.override.conv2 = 1.0\n").contains("my.toml:1: `sparsity.override.conv2`"));
}

#[test]
fn bad_toml_is_reported_with_its_line() {
    let message = errors("[train]\nepochs = 3\nbatch_size = = 4\n");
    assert!(message.contains("my.toml:3: not valid TOML"), "{message}");
    assert!(errors("[train\n").contains("my.toml:1: not valid TOML"));
    assert!(errors("[train]\nepochs = 1\nepochs = 2\n").contains("my.toml:3"));
}

#[test]
fn what_stands_above_a_mistake_in_the_toml_is_checked_too_and_so_are_flags() {
    let text = "[train]\nepochz = 3\n[optim]\nlr = = 1\nmomentum = 7\n";
    let error = Builder::new().text(Path::new("my.toml"), text).set("model.width=0").finish().unwrap_err();
    let keys: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["train.epochz", "", "model.width"], "{error}");
}

#[test]
fn a_key_that_is_wrong_by_itself_is_no_reason_to_complain_about_others() {
    // An unknown network has no layers that could be missing, an unknown algorithm no options.
    let text = "[model]\nname = 'resnet-20'\n[sparsity]\ndense_layers = ['layer1.0.conv1']\n[algorithm]\nname = 'rigle'\nstop = 0.5\n";
    let error = Builder::new().text(Path::new("my.toml"), text).finish().unwrap_err();
    let keys: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["model.name", "algorithm.name"], "{error}");
    let error = Builder::new().set("optim.momentum=2").set("optim.warmup_epochs=-1").finish().unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
}

#[test]
fn every_option_of_every_algorithm_has_a_kind_that_its_default_fits() {
    for entry in algorithms::list() {
        let (options, defaults) = (options(entry), (entry.defaults)());
        assert!(options.len() >= defaults.len(), "{}", entry.name);
        for option in options {
            let default = option.default.as_ref();
            assert_eq!(default, defaults.get(&option.name), "{}: {}", entry.name, option.name);
            let fits = default.is_none_or(|value| match &option.kind {
                OptionKind::Integer => value.is_integer(),
                OptionKind::Number => value.is_float(),
                OptionKind::Boolean => value.is_bool(),
                OptionKind::Choice(names) => names.iter().any(|name| value.as_str() == Some(name)),
                OptionKind::Numbers => value.is_array(),
                OptionKind::Text => value.is_str(),
            });
            assert!(fits, "{}: {option:?}", entry.name);
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Builder::new().file(Path::new("no/such.toml")).finish().unwrap_err();
    assert!(error.to_string().starts_with("no/such.toml: the configuration cannot be read"), "{error}");
}

#[test]
fn later_layers_win_and_a_bad_flag_is_named() {
    let file = "[optim]\nlr = 0.5\nmomentum = 0.8\n[train]\nepochs = 3\n";
    let base = || Builder::new().text(Path::new("my.toml"), file).flag("--lr", "optim.lr", 0.2);
    let config = base().set("optim.momentum=0.7").set("model.name=mlp").set("data.augment=[]").finish().unwrap();
    assert_eq!((config.optim.lr, config.optim.momentum, config.train.epochs), (0.2, 0.7, 3));
    assert_eq!((config.model.name.as_str(), config.data.augment), ("mlp", Some(Vec::new())));
    assert_eq!(config.optim.weight_decay, 5e-4);
    let error = base().flag("--sparsity", "sparsity.level", 1.5).set("optim.lrr=3").finish().unwrap_err();
    assert!(error.to_string().contains("--set optim.lrr=3: `optim.lrr`"), "{error}");
    let error = base().flag("--sparsity", "sparsity.level", 1.5).finish().unwrap_err();
    assert!(error.to_string().starts_with("--sparsity: `sparsity.level`"), "{error}");
    assert!(base().set("nonsense").finish().unwrap_err().to_string().contains("key=value"));
}

#[test]
fn naming_another_algorithm_drops_the_options_of_the_first() {
    let file = "[algorithm]\nname = \"rigl\"\naverage_window = 5\n";
    let config =
        Builder::new().text(Path::new("my.toml"), file).flag("--algorithm", "algorithm.name", "set").finish().unwrap();
    assert_eq!(config.algorithm.name, "set");
    assert!(!config.algorithm.parameters.contains_key("average_window"));
    assert!(config.algorithm.parameters.contains_key("drop_fraction"));
}

#[test]
fn the_dense_baseline_has_sparsity_zero() {
    let config = Builder::new().flag("--algorithm", "algorithm.name", "dense").finish().unwrap();
    assert_eq!(config.sparsity.level, 0.0);
}
