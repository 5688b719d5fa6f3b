//! Every recipe in `configs/` is complete and true to its name.

use std::fs;
use std::path::{Path, PathBuf};

use bidst_train::Config;
use bidst_train::compare::Comparison;
use bidst_train::config::Builder;

/// The files of `configs/`: studies, which have a grid, or recipes for single runs.
fn files(studies: bool) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let is_study = |path: &Path| path.file_name().unwrap().to_str().unwrap().starts_with("study-");
    let wanted = |path: &PathBuf| path.extension().is_some_and(|e| e == "toml") && is_study(path) == studies;
    let mut files: Vec<PathBuf> = paths.filter(wanted).collect();
    files.sort();
    files
}

fn recipes() -> Vec<PathBuf> {
    let recipes = files(false);
    assert!(recipes.len() >= 6, "{recipes:?}");
    recipes
}

#[test]
fn every_recipe_is_valid_and_its_effective_form_is_a_fixed_point() {
    for path in recipes() {
        let config = Builder::new().file(&path).finish().unwrap_or_else(|error| panic!("{error}"));
        let text = config.to_toml();
        let again = Builder::new().text(&path, &text).finish().unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(again, config);
        assert_eq!(again.to_toml(), text);
    }
}

#[test]
fn a_recipe_is_called_after_its_data_model_algorithm_and_sparsity() {
    for path in recipes() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let config = Builder::new().file(&path).finish().unwrap();
        if name == "demo" {
            continue;
        }
        let data = config.data.name.split('-').next().unwrap();
        let Config { model, algorithm, sparsity, .. } = &config;
        let width = if model.width == 1.0 { String::new() } else { format!("-w{}", model.width) };
        let level = (sparsity.level * 100.0).round();
        assert_eq!(name, format!("{data}-{}{width}-{}-{level}", model.name, algorithm.name));
    }
}

#[test]
fn the_demo_recipe_is_the_defaults() {
    let demo = recipes().into_iter().find(|path| path.ends_with("demo.toml")).unwrap();
    assert_eq!(Builder::new().file(&demo).finish().unwrap(), Builder::new().finish().unwrap());
}

#[test]
fn recipes_that_are_compared_differ_in_the_algorithm_only() {
    let load = |path: &PathBuf| Builder::new().file(path).finish().unwrap();
    let family = |prefix: &str| -> Vec<Config> {
        let starts = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
        recipes().iter().filter(starts).map(load).collect()
    };
    for prefix in ["cifar10-resnet32-w2-", "fashion-small-cnn-"] {
        let mut family = family(prefix);
        let first = family.remove(0);
        assert!(!family.is_empty());
        for other in family {
            assert_eq!(Config { algorithm: first.algorithm.clone(), ..other }, first);
        }
    }
}

#[test]
fn every_study_spans_valid_runs_that_differ_in_their_grid_only() {
    let studies = files(true);
    assert_eq!(studies.len(), 2, "{studies:?}");
    for (path, cells, seeds) in [(&studies[0], 8, 1), (&studies[1], 15, 3)] {
        let folder = path.with_extension("");
        let comparison = Comparison::new(&folder, Builder::new().file(path)).unwrap_or_else(|error| panic!("{error}"));
        // The dense network has no sparsity and is one cell.
        assert_eq!(comparison.runs().len(), cells * seeds, "{}", path.display());
        let first = &comparison.runs()[0].config;
        for run in comparison.runs() {
            let mut config = Config { algorithm: first.algorithm.clone(), ..run.config.clone() };
            (config.run.seed, config.sparsity.level) = (first.run.seed, first.sparsity.level);
            assert_eq!(&config, first, "{}", run.name);
        }
    }
}
