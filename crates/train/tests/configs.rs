//! Every recipe in `configs/` is complete and true to its name.

use std::fs;
use std::path::{Path, PathBuf};

use bidst_model::zoo;
use bidst_topology::distribution::Distribution;
use bidst_train::Config;
use bidst_train::bench::Bench;
use bidst_train::compare::Comparison;
use bidst_train::config::{Builder, Schedule};
use bidst_train::sparsity::Allocation;

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
        if ["demo", "bidst-paper"].contains(&name.as_str()) {
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
    let sizes = [
        ("study-ablation", 51, 3),
        ("study-confirm", 9, 1),
        ("study-demo", 4, 2),
        ("study-grid", 19, 3),
        ("study-tune", 14, 1),
    ];
    let names: Vec<_> = studies.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, sizes.map(|(name, ..)| name));
    for (path, (_, cells, seeds)) in studies.iter().zip(sizes) {
        let folder = path.with_extension("");
        let comparison = Comparison::new(&folder, Builder::new().file(path)).unwrap_or_else(|error| panic!("{error}"));
        // The dense network has no sparsity and is one cell.
        assert_eq!(comparison.runs().len(), cells * seeds, "{}", path.display());
        let first = &comparison.runs()[0].config;
        for run in comparison.runs() {
            let mut config = Config { algorithm: first.algorithm.clone(), ..run.config.clone() };
            (config.run.seed, config.sparsity.level) = (first.run.seed, first.sparsity.level);
            if run.name.contains(&format!("-{}_", config.train.epochs)) {
                config.train.epochs = first.train.epochs;
            }
            if run.name.starts_with("erk-") {
                assert_eq!(config.sparsity.distribution, Distribution::Erk, "{}", run.name);
                config.sparsity.distribution = first.sparsity.distribution;
            }
            assert_eq!(&config, first, "{}", run.name);
        }
    }
}

/// A recipe of `configs/published` with settings over it, as `bidst train` takes them.
fn published(name: &str, settings: &[&str]) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../configs/published/{name}.toml"));
    let builder = settings.iter().fold(Builder::new().file(&path), |builder, setting| builder.set(setting));
    builder.finish().unwrap_or_else(|error| panic!("{error}"))
}

/// The network of a recipe with its non-zeros shared out.
fn allocation(config: &Config) -> Allocation {
    let entry = zoo::list().iter().find(|entry| entry.name == config.model.name).unwrap();
    let classes = if config.data.name == "cifar100" { 100 } else { 10 };
    let options = zoo::Options { width: config.model.width, classes, input: entry.input };
    Allocation::new(&zoo::build(entry.name, &options).unwrap(), &config.sparsity).unwrap()
}

/// Sparsities over all weights in percent, as counted by hand for the tables of the literature.
const OVERALL: &[(&str, [f64; 3])] = &[
    ("cifar10-resnet32-w2", [89.40, 94.37, 97.35]),
    ("cifar100-resnet32-w2", [88.85, 93.78, 96.75]),
    ("cifar10-vgg19", [89.97, 94.97, 97.97]),
    ("cifar100-vgg19", [89.76, 94.75, 97.74]),
];

#[test]
fn every_published_setting_on_cifar_has_its_protocol_and_its_sparsity() {
    for data in ["cifar10", "cifar100"] {
        for (network, model, width) in
            [("resnet32-w2", "resnet32", 2.0), ("vgg19", "vgg19", 1.0), ("mobilenet-v2", "mobilenet-v2", 1.0)]
        {
            let name = format!("{data}-{network}");
            for (at, level) in [0.9, 0.95, 0.98].into_iter().enumerate() {
                let config = published(&name, &[&format!("sparsity.level={level}")]);
                let Config { train, optim, .. } = &config;
                assert_eq!(
                    (config.data.name.as_str(), config.model.name.as_str(), config.model.width),
                    (data, model, width)
                );
                assert_eq!((train.epochs, train.batch_size, train.smoothing), (160, 64, 0.0), "{name}");
                assert_eq!((optim.lr, optim.momentum, optim.nesterov, optim.weight_decay), (0.1, 0.9, false, 1e-4));
                assert_eq!(config.data.augment.as_deref().unwrap(), ["crop:4", "flip"]);
                let totals = allocation(&config).totals();
                assert!((totals.sparsified() - level).abs() < 1e-4, "{name}: {}", totals.sparsified());
                if let Some((_, overall)) = OVERALL.iter().find(|(known, _)| *known == name) {
                    assert!((100.0 * totals.overall() - overall[at]).abs() < 0.006, "{name}: {}", totals.overall());
                }
            }
        }
    }
}

#[test]
fn every_published_setting_on_imagenet_has_its_protocol_and_its_sparsity() {
    for model in ["resnet34", "resnet50"] {
        for level in [0.8, 0.9, 0.95] {
            let config = published(&format!("imagenet-{model}"), &[&format!("sparsity.level={level}")]);
            let Config { train, optim, .. } = &config;
            assert_eq!((config.model.name.as_str(), config.model.width), (model, 1.0));
            assert_eq!((train.epochs, train.batch_size, train.smoothing), (100, 256, 0.1));
            assert_eq!((optim.lr, optim.weight_decay, optim.warmup_epochs), (0.1, 1e-4, 5.0));
            assert_eq!((optim.schedule, &optim.milestones[..]), (Schedule::MultiStep, &[0.3, 0.7, 0.9][..]));
            let totals = allocation(&config).totals();
            assert!((totals.sparsified() - level).abs() < 1e-4, "{model}: {}", totals.sparsified());
        }
    }
}

#[test]
fn the_other_protocols_of_the_literature_are_settings_on_the_same_recipe() {
    let grasp = ["train.batch_size=128", "optim.schedule=multistep", "optim.weight_decay=5e-4"];
    let config = published("cifar10-vgg19", &grasp);
    assert_eq!((config.optim.schedule, config.optim.milestones), (Schedule::MultiStep, vec![0.5, 0.75]));
    assert_eq!((config.train.batch_size, config.optim.weight_decay), (128, 5e-4));
}

#[test]
fn every_published_recipe_builds_its_network_and_takes_a_step() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/published");
    let published = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paper = recipes().into_iter().find(|path| path.ends_with("bidst-paper.toml")).unwrap();
    let files: Vec<PathBuf> = published.chain([paper]).collect();
    assert!(files.len() >= 9, "{files:?}");
    for file in files {
        // Random images of the size that the network usually gets: the files of the data set play no part.
        let config = Builder::new().file(&file).set("train.batch_size=2").set("run.threads=1").finish().unwrap();
        let step = Bench::new(config).and_then(|mut bench| bench.step());
        assert!(step.is_ok(), "{}: {}", file.display(), step.unwrap_err());
    }
}
