//! `bidst config`, and that keys are described once: tables, schema and help say the same.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bidst_topology::algorithms;
use bidst_train::config::{Builder, keys, options, tables};
use common::bidst;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs `bidst` in `folder`; returns exit code, standard output and standard error.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = bidst(folder, arguments).output();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let (code, out, error) = run(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    out
}

/// The lines of `show` without the space before comments.
fn squeezed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// `BIDST_BLESS=1` writes the tables anew.
#[test]
fn the_tables_of_the_documentation_are_those_of_the_keys() {
    let path = root().join("docs/config.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- keys:").unwrap();
    let (head, rest) = rest.split_once("-->\n").unwrap();
    let (found, after) = rest.split_once("<!-- end of keys -->").unwrap();
    let expected = format!("\n{}", tables());
    if std::env::var_os("BIDST_BLESS").is_some() {
        let page = format!("{before}<!-- keys:{head}-->\n{expected}<!-- end of keys -->{after}");
        return fs::write(&path, page).unwrap();
    }
    assert_eq!(found, expected, "docs/config.md is not what the keys say; run this test with BIDST_BLESS=1");
}

#[test]
fn the_later_layer_wins_and_show_says_which_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[optim]\nlr = 0.5\nmomentum = 0.8\nweight_decay = 1e-4\n\n[algorithm]\nname = \"set\"\nstop = 0.5\n";
    fs::write(folder.path().join("my.toml"), text).unwrap();
    let arguments =
        ["config", "show", "my.toml", "--lr", "0.2", "--momentum", "0.7", "--set", "optim.momentum=0.6", "--seed", "3"];
    let lines = squeezed(&succeed(folder.path(), &arguments));
    for line in [
        "seed = 3 # --seed",
        "output = \"runs\" # default",
        "# dir = # not set",
        "augment = [\"flip\"] # usual for fashion-mini",
        "lr = 0.2 # --lr",
        "momentum = 0.6 # --set optim.momentum=0.6",
        "weight_decay = 0.0001 # my.toml:4",
        "nesterov = true # default",
        "override = {} # default",
        "name = \"set\" # my.toml:7",
        "stop = 0.5 # my.toml:8",
        "drop_fraction = 0.3 # default of set",
    ] {
        assert!(lines.iter().any(|found| found == line), "no `{line}` in {lines:#?}");
    }
    // The order of flags does not matter, and naming another algorithm drops the options of the first.
    let arguments = ["config", "show", "my.toml", "--set", "optim.lr=0.3", "--lr", "0.2", "--algorithm", "dense"];
    let lines = squeezed(&succeed(folder.path(), &arguments));
    assert!(lines.contains(&"lr = 0.3 # --set optim.lr=0.3".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"level = 0.0 # dense trains every weight".to_owned()), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.starts_with("stop")), "{lines:#?}");
}

/// Those without a default were missing, such as `update_interval`.
#[test]
fn options_that_take_their_values_from_the_run_are_shown_too() {
    for entry in algorithms::list() {
        let page = succeed(&root(), &["algorithms", entry.name]);
        let list: Value = serde_json::from_str(&succeed(&root(), &["algorithms", entry.name, "--json"])).unwrap();
        let shown = squeezed(&succeed(&root(), &["config", "show", "--algorithm", entry.name]));
        let mut places = Vec::new();
        for option in options(entry) {
            let parameters = list[0]["parameters"].as_object().unwrap();
            assert_eq!(parameters[&option.name], serde_json::to_value(&option.default).unwrap(), "{page}");
            let (line, start) = match &option.default {
                Some(default) => (format!("{} = {default}", option.name), format!("{} = ", option.name)),
                None => (format!("# {} = (from the run)", option.name), format!("# {} = # from the run", option.name)),
            };
            places.push(page.lines().position(|found| found == line).unwrap_or_else(|| panic!("no `{line}`: {page}")));
            assert!(shown.iter().any(|found| found.starts_with(&start)), "no `{start}` in {shown:#?}");
        }
        assert!(places.is_sorted(), "not in alphabetical order: {page}");
    }
    let lines = squeezed(&succeed(&root(), &["config", "show", "--set", "algorithm.update_interval=7"]));
    assert!(lines.contains(&"update_interval = 7 # --set algorithm.update_interval=7".to_owned()), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.starts_with("# update_interval")), "{lines:#?}");
}

#[test]
fn what_show_prints_is_the_same_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        ["sparsity.override={\"conv2\"=0.5,\"conv?\"=0.8}", "sparsity.dense_layers=[\"fc\"]", "data.dir='a b'"];
    let mut arguments = vec!["config", "show"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let shown = succeed(folder.path(), &arguments);
    let path = folder.path().join("shown.toml");
    fs::write(&path, &shown).unwrap();
    let expected = settings.iter().fold(Builder::new(), |builder, setting| builder.set(setting)).finish().unwrap();
    assert_eq!(Builder::new().file(&path).finish().unwrap(), expected, "{shown}");
    assert_eq!(expected.sparsity.overrides["conv2"], 0.5);
}

#[test]
fn check_reports_all_files_and_fails_if_one_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good.toml"), "[train]\nepochs = 1\n").unwrap();
    fs::write(folder.path().join("bad.toml"), "[train]\nepochs = 0\n").unwrap();
    fs::write(folder.path().join("worse.toml"), "[trian]\nepochs = 1\n").unwrap();
    fs::write(folder.path().join("study.toml"), "[grid]\nseed = [0, 1]\nsparsity = [0.5, 0.9]\n").unwrap();
    let out = succeed(folder.path(), &["config", "check", "good.toml", "study.toml"]);
    assert_eq!(out, "good.toml: right\nstudy.toml: right, a study of 4 runs\n");
    let (code, out, error) = run(folder.path(), &["config", "check", "bad.toml", "good.toml", "worse.toml"]);
    assert_eq!((code, out.as_str()), (2, "good.toml: right\n"));
    for part in ["bad.toml:2: `train.epochs`", "worse.toml:1: `trian`", "2 of 3 files are wrong"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "check writes nothing");
}

#[test]
fn the_schema_has_every_key_and_every_option() {
    let schema: Value = serde_json::from_str(&succeed(&root(), &["config", "schema"])).unwrap();
    let sections = &schema["properties"];
    for key in keys().filter(|key| key.name != "algorithm.name") {
        let (section, name) = key.name.split_once('.').unwrap();
        let found = &sections[section]["properties"][name];
        assert_eq!(found["description"], key.meaning().as_str(), "{}", key.name);
        assert!(found["type"].is_string(), "{}", key.name);
    }
    assert_eq!(sections["optim"]["properties"]["lr"]["default"], 0.1);
    assert_eq!(sections["sparsity"]["properties"]["level"]["exclusiveMaximum"], 1.0);
    let kinds = sections["algorithm"]["oneOf"].as_array().unwrap();
    assert_eq!(kinds.len(), algorithms::list().len());
    for (entry, kind) in algorithms::list().iter().zip(kinds) {
        assert_eq!(kind["properties"]["name"]["const"], entry.name);
        for option in options(entry) {
            assert!(kind["properties"][&option.name]["type"].is_string(), "{}: {}", entry.name, option.name);
        }
        for (name, default) in (entry.defaults)() {
            let found = &kind["properties"][&name]["default"];
            assert_eq!(*found, serde_json::to_value(default).unwrap(), "{}: {name}", entry.name);
        }
    }
}

/// Whether `value` fits `schema`, for the words of JSON Schema that ours uses.
fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(choices) = schema["oneOf"].as_array() {
        let fitting = choices.iter().filter(|choice| fits(choice, value).is_ok()).count();
        return if fitting == 1 { Ok(()) } else { Err(format!("{value} fits {fitting} of {schema}")) };
    }
    let same = |word: &str| schema.get(word).is_none_or(|constant| constant == value);
    let listed = schema["enum"].as_array().is_none_or(|list| list.contains(value));
    let typed = match schema["type"].as_str() {
        Some("integer") => value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        _ => true,
    };
    let least = schema["minimum"].as_f64().is_none_or(|least| value.as_f64() >= Some(least));
    let below = schema["exclusiveMaximum"].as_f64().is_none_or(|most| value.as_f64() < Some(most));
    if !(same("const") && listed && typed && least && below) {
        return Err(format!("{value} does not fit {schema}"));
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    let required = schema["required"].as_array().into_iter().flatten();
    if let Some(missing) = required.filter_map(Value::as_str).find(|name| !object.contains_key(*name)) {
        return Err(format!("no {missing}"));
    }
    object.iter().try_for_each(|(name, value)| match (&schema["properties"][name], &schema["additionalProperties"]) {
        (Value::Null, Value::Bool(false)) => Err(format!("no key {name}")),
        (Value::Null, Value::Null) => Ok(()),
        (Value::Null, other) => fits(other, value),
        (property, _) => fits(property, value),
    })
}

#[test]
fn every_recipe_fits_the_schema_and_a_wrong_one_does_not() {
    let schema: Value = serde_json::from_str(&succeed(&root(), &["config", "schema"])).unwrap();
    let read = |text: &str| serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    let folders = [root().join("configs"), root().join("configs/published")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    assert!(files.len() >= 14, "{files:?}");
    for file in files {
        fits(&schema, &read(&fs::read_to_string(&file).unwrap())).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
    for wrong in [
        "[optim]\nlr = -1.0\n",
        "[optim]\nlrr = 1.0\n",
        "[sparsity]\nlevel = 1.0\n",
        "[algorithm]\nname = 'set'\nscore = 'curvature'\n",
        "[algorithm]\nname = 'nobody'\n",
        "[model]\nname = 'resnet-32'\n",
    ] {
        assert!(fits(&schema, &read(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn help_has_every_flag_with_what_its_key_means() {
    let help = succeed(&root(), &["train", "--help"]);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let help = words(&help);
    for key in keys() {
        let Some(flag) = key.flag else { continue };
        assert!(help.contains(&format!("--{flag} <")), "no --{flag} in {help}");
        assert!(help.contains(&words(&key.meaning().replace('`', ""))), "--{flag} does not say: {}", key.meaning());
    }
}

#[test]
fn the_version_names_the_compiler_and_the_target() {
    let version = succeed(&root(), &["--version"]);
    let start = format!("bidst {} (rustc ", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&start) && version.contains(std::env::consts::ARCH), "{version}");
}
