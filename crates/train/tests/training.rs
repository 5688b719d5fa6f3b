//! The loop on a tiny network and data set.

mod common;

use std::collections::BTreeSet;

use bidst_data::{Dataset, Splits};
use bidst_model::zoo;
use bidst_topology::algorithms;
use bidst_train::checkpoint;
use bidst_train::config::{Activations, Model};
use bidst_train::export::{About, ModelFile};
use bidst_train::metrics::{EpochRecord, EpochTiming};
use bidst_train::trainer::{Event, Trainer};
use bidst_train::{Config, TrainError};

/// Positions and values of one weight tensor.
type Stored = Vec<(u32, f32)>;

/// Everything of a trainer that matters, as bytes.
fn fingerprint(trainer: &Trainer) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint::save(trainer, folder.path()).unwrap();
    std::fs::read(path.join("state.safetensors")).unwrap()
}

/// Trains some epochs and returns the record of the last without its times.
fn train(trainer: &mut Trainer, epochs: usize) -> Option<EpochRecord> {
    let mut last = None;
    for _ in 0..epochs {
        let mut note = |event: Event<'_>| {
            if let Event::Epoch { record } = event {
                last = Some(EpochRecord { timing: EpochTiming::default(), ..record.clone() });
            }
            Ok(())
        };
        trainer.epoch(&mut note).unwrap();
    }
    last
}

/// Options that make every algorithm decide several times within 15 steps.
fn often(algorithm: &str) -> Config {
    let entry = algorithms::find(algorithm).unwrap();
    let defaults = (entry.defaults)();
    let wanted = [("update_interval", "3"), ("window", "2"), ("average_window", "2"), ("stop", "1.0"), ("rounds", "5")];
    let known = wanted.iter().filter(|(key, _)| defaults.contains_key(*key));
    let settings: Vec<String> = known.map(|(key, value)| format!("algorithm.{key}={value}")).collect();
    common::config(algorithm, &settings.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_run_with_bf16_activations_learns_and_resumes_bit_for_bit() {
    let mut config = often("bidst");
    config.engine.activations = Activations::Bf16;
    let run = |epochs: usize| {
        let mut trainer = Trainer::new(config.clone(), common::splits()).unwrap();
        train(&mut trainer, epochs);
        trainer
    };
    let (first, whole) = (run(1), run(3));
    let folder = tempfile::tempdir().unwrap();
    checkpoint::save(&first, folder.path()).unwrap();
    let path = checkpoint::latest(folder.path()).unwrap();
    let mut second = checkpoint::load(&path, config.clone(), common::splits()).unwrap();
    train(&mut second, 2);
    assert!(fingerprint(&whole) == fingerprint(&second));
    let mut full = Trainer::new(often("bidst"), common::splits()).unwrap();
    train(&mut full, 3);
    assert!(fingerprint(&whole) != fingerprint(&full), "activations were stored as f32");
}

/// Numbers of threads and of workers that load, beside one of each; all of them with `BIDST_LONG=1`.
fn circumstances() -> Vec<(usize, usize)> {
    match std::env::var_os("BIDST_LONG") {
        None => vec![(2, 0), (3, 4), (4, 1), (8, 4)],
        Some(_) => {
            [1, 2, 3, 4, 8].into_iter().flat_map(|threads| [0, 1, 4].map(|workers| (threads, workers))).collect()
        }
    }
}

/// Trains two epochs under all circumstances.
fn the_bits_are_the_same(config: &Config, data: fn() -> Splits) {
    let run = |(threads, workers)| {
        let mut config = config.clone();
        (config.run.threads, config.data.workers) = (threads, workers);
        let mut trainer = Trainer::new(config, data()).unwrap();
        train(&mut trainer, 2);
        fingerprint(&trainer)
    };
    let one = run((1, 1));
    for (threads, workers) in circumstances() {
        let (model, algorithm) = (&config.model.name, &config.algorithm.name);
        assert!(run((threads, workers)) == one, "{model}, {algorithm}: {threads} threads, {workers} workers");
    }
}

#[test]
fn every_algorithm_trains_to_the_same_bits_with_any_number_of_threads_and_workers() {
    for entry in algorithms::list() {
        let mut config = often(entry.name);
        config.data.augment = Some(vec!["crop:1".to_owned(), "flip".to_owned()]);
        the_bits_are_the_same(&config, common::splits);
    }
}

/// 40 training and 12 test images of noise in colour.
fn colours() -> Splits {
    let images = |name: &str, count: usize| {
        let pixel = |at: usize| (bidst_topology::rng::at(count as u64, at as u64) >> 56) as u8;
        let labels = (0..count).map(|index| (index % 4) as u16).collect();
        Dataset {
            name: name.to_owned(),
            channels: 3,
            height: 32,
            width: 32,
            classes: 4,
            images: (0..count * 3 * 32 * 32).map(pixel).collect::<Vec<u8>>().into(),
            labels,
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
        }
    };
    Splits { train: images("noise train", 40), test: images("noise test", 12) }
}

#[test]
fn every_model_trains_to_the_same_bits_with_any_number_of_threads_and_workers() {
    let all = algorithms::list().iter().map(|entry| entry.name);
    let algorithms: Vec<&str> =
        if std::env::var_os("BIDST_LONG").is_some() { all.collect() } else { vec!["bidst", "rigl-candidates"] };
    for entry in zoo::list() {
        for algorithm in &algorithms {
            let mut config = often(algorithm);
            config.model = Model { name: entry.name.to_owned(), width: 0.125, init: None };
            config.data.augment = Some(vec!["crop:4".to_owned(), "flip".to_owned()]);
            config.optim.lr = 0.01;
            the_bits_are_the_same(&config, colours);
        }
    }
}

#[test]
fn every_algorithm_ends_with_the_nonzeros_of_the_sparsity_and_the_dynamic_ones_move_the_pattern() {
    for entry in algorithms::list() {
        let mut trainer = Trainer::new(often(entry.name), common::splits()).unwrap();
        let patterns = |trainer: &Trainer| -> Vec<Vec<u32>> {
            trainer.network().weights().iter().map(|weight| weight.index().to_vec()).collect()
        };
        let before = patterns(&trainer);
        let mut moves = 0;
        for _ in 0..3 {
            let mut count = |event: Event<'_>| {
                if let Event::Decision { records, .. } = event {
                    moves += records.iter().map(|record| record.grown + record.dropped).sum::<u64>();
                }
                Ok(())
            };
            trainer.epoch(&mut count).unwrap();
        }
        let after = patterns(&trainer);
        let total = |patterns: &[Vec<u32>]| patterns.iter().map(Vec::len).sum::<usize>();
        assert!(total(&before) >= total(&after), "{}", entry.name);
        assert_eq!(total(&after), trainer.totals().nonzeros, "{}", entry.name);
        assert_eq!(moves > 0, before != after, "{}", entry.name);
        let fixed = ["dense", "static", "snip", "grasp", "synflow"].contains(&entry.name);
        assert!(fixed || moves > 0, "{} never moved a weight", entry.name);
    }
}

#[test]
fn a_first_mask_by_score_keeps_the_first_weights_and_differs_between_scores() {
    let first = |algorithm: &str| {
        let trainer = Trainer::new(common::config(algorithm, &["sparsity.dense_layers=[]"]), common::splits()).unwrap();
        let pairs = |weight: &bidst_engine::SparseTensor| -> Stored {
            weight.index().iter().copied().zip(weight.values().iter().copied()).collect()
        };
        (trainer.network().weights().iter().map(pairs).collect::<Vec<_>>(), trainer.network().memory())
    };
    let (all, dense) = first("gmp");
    let masks: Vec<_> = ["snip", "grasp", "synflow", "top-kast"].into_iter().map(first).collect();
    for (mask, memory) in &masks {
        let kept = |(mask, all): (&Stored, &Stored)| mask.iter().all(|pair| all.contains(pair));
        assert!(mask.iter().zip(&all).all(kept));
        assert_eq!(memory.weights_bytes, masks[0].1.weights_bytes);
        assert!(memory.parameter_bytes() < dense.parameter_bytes() / 2);
    }
    assert!((0..masks.len()).all(|i| (0..i).all(|j| masks[i].0 != masks[j].0)));
}

#[test]
fn a_loss_that_is_not_finite_stops_before_the_weights_change() {
    let mut trainer = Trainer::new(common::config("static", &["optim.lr=1e30"]), common::splits()).unwrap();
    let mut steps = 0;
    let error = trainer.epoch(&mut |_: Event<'_>| {
        steps += 1;
        Ok(())
    });
    let Err(TrainError::Diverged { offence, .. }) = error else { panic!("{error:?}") };
    assert_eq!(offence.step, steps);
}

#[test]
fn an_observer_can_end_the_training() {
    let mut trainer = Trainer::new(common::config("static", &[]), common::splits()).unwrap();
    let stop = |event: Event<'_>| match event {
        Event::Step { record, .. } if record.step == 2 => Err(TrainError::Stopped { step: 2 }),
        _ => Ok(()),
    };
    assert!(matches!(trainer.epoch(&mut { stop }), Err(TrainError::Stopped { step: 2 })));
}

#[test]
fn training_learns_the_tiny_data_set() {
    let config = common::config("set", &["train.epochs=6", "sparsity.level=0.5", "model.width=0.5"]);
    let mut trainer = Trainer::new(config, common::splits()).unwrap();
    let mut accuracy = 0.0;
    for _ in 0..6 {
        let mut last = |event: Event<'_>| {
            if let Event::Epoch { record } = event {
                accuracy = record.test_accuracy;
            }
            Ok(())
        };
        trainer.epoch(&mut last).unwrap();
    }
    assert!(accuracy >= 0.95, "{accuracy}");
}

#[test]
fn a_checkpoint_of_another_configuration_or_with_flipped_bytes_is_an_error() {
    let config = common::config("set", &[]);
    let mut trainer = Trainer::new(config.clone(), common::splits()).unwrap();
    train(&mut trainer, 1);
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint::save(&trainer, folder.path()).unwrap();
    assert!(checkpoint::load(&path, common::config("rigl", &["model.width=0.5"]), common::splits()).is_err());

    let file = path.join("state.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    for cut in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..cut]).unwrap();
        assert!(checkpoint::load(&path, config.clone(), common::splits()).is_err(), "cut at {cut}");
    }
    assert!(matches!(checkpoint::latest(&folder.path().join("none")), Err(TrainError::CannotResume { .. })));
}

#[test]
fn a_layer_that_the_distribution_leaves_full_is_resumed_too() {
    let config = common::config("set", &["sparsity.level=0.5", "sparsity.dense_layers=[]"]);
    let mut trainer = Trainer::new(config.clone(), common::splits()).unwrap();
    assert!(trainer.network().weights().iter().any(bidst_engine::SparseTensor::is_dense));
    train(&mut trainer, 1);
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint::save(&trainer, folder.path()).unwrap();
    let resumed = checkpoint::load(&path, config, common::splits()).unwrap();
    assert!(fingerprint(&trainer) == fingerprint(&resumed));
}

#[test]
fn only_the_two_newest_checkpoints_and_that_of_the_best_epoch_stay() {
    let mut trainer = Trainer::new(common::config("static", &["train.epochs=8"]), common::splits()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for epoch in 1..=8 {
        let best = train(&mut trainer, 1).unwrap().run.best_epoch + 1;
        checkpoint::save(&trainer, folder.path()).unwrap();
        let entries = std::fs::read_dir(folder.path().join("checkpoints")).unwrap();
        let names: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let epochs = [epoch, epoch - 1, best].into_iter().filter(|&epoch| epoch > 0);
        assert_eq!(names, epochs.map(|epoch| format!("step-{:08}", 5 * epoch)).collect());
    }
}

#[test]
fn an_exported_model_reads_back_with_the_same_logits() {
    let mut trainer = Trainer::new(common::config("set", &[]), common::splits()).unwrap();
    train(&mut trainer, 1);
    let about = About {
        version: 1,
        model: "small-cnn".to_owned(),
        width: 0.25,
        classes: 4,
        input: [1, 8, 8],
        data: "tiny".to_owned(),
        mean: vec![0.25],
        std: vec![0.25],
        sparse: Default::default(),
    };
    let model = trainer.model(about);
    let bytes = model.to_bytes().unwrap();
    assert_eq!(bytes, model.to_bytes().unwrap());
    let read = ModelFile::from_bytes(&bytes).unwrap();
    assert_eq!((&read.about, &read.weights, &read.vectors), (&model.about, &model.weights, &model.vectors));

    let options = || bidst_engine::Options {
        batch_size: 4,
        threads: 1,
        activations: bidst_engine::Storage::F32,
        instruction_set: None,
    };
    let images: Vec<f32> = (0..4 * 64).map(|i| (i as f32 * 0.7).sin()).collect();
    let logits = |model: &ModelFile| model.network(options()).unwrap().logits(&images, 4).unwrap();
    assert_eq!(logits(&model), logits(&read));
}
