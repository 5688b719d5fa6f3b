//! The loop on a tiny network and data set.

mod common;

use bidst_topology::algorithms;
use bidst_train::checkpoint;
use bidst_train::config::Activations;
use bidst_train::export::{About, ModelFile};
use bidst_train::trainer::{Event, Trainer};
use bidst_train::{Config, TrainError};

/// Everything of a trainer that matters, as bytes.
fn fingerprint(trainer: &Trainer) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint::save(trainer, folder.path()).unwrap();
    std::fs::read(path.join("state.safetensors")).unwrap()
}

/// Without the metadata, which hold times.
fn body(bytes: &[u8]) -> &[u8] {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    &bytes[8 + header..]
}

fn train(trainer: &mut Trainer, epochs: usize) {
    for _ in 0..epochs {
        trainer.epoch(&mut |_: Event<'_>| Ok(())).unwrap();
    }
}

/// Options that make every algorithm decide several times within 15 steps.
fn often(algorithm: &str) -> Config {
    let entry = algorithms::find(algorithm).unwrap();
    let defaults = (entry.defaults)();
    let wanted = [("update_interval", "3"), ("window", "2"), ("average_window", "2"), ("stop", "1.0")];
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
    assert!(body(&fingerprint(&whole)) == body(&fingerprint(&second)));
    let mut full = Trainer::new(often("bidst"), common::splits()).unwrap();
    train(&mut full, 3);
    assert!(body(&fingerprint(&whole)) != body(&fingerprint(&full)), "activations were stored as f32");
}

#[test]
fn a_resumed_run_equals_the_uninterrupted_one_bit_for_bit_for_every_algorithm() {
    for entry in algorithms::list() {
        let config = often(entry.name);
        let mut whole = Trainer::new(config.clone(), common::splits()).unwrap();
        train(&mut whole, 3);

        let folder = tempfile::tempdir().unwrap();
        let mut first = Trainer::new(config.clone(), common::splits()).unwrap();
        train(&mut first, 1);
        checkpoint::save(&first, folder.path()).unwrap();
        drop(first);
        let path = checkpoint::latest(folder.path()).unwrap();
        let mut second = checkpoint::load(&path, config, common::splits()).unwrap();
        train(&mut second, 2);
        assert!(body(&fingerprint(&whole)) == body(&fingerprint(&second)), "{}", entry.name);
    }
}

#[test]
fn every_algorithm_keeps_the_number_of_nonzeros_and_the_dynamic_ones_move_the_pattern() {
    for entry in algorithms::list() {
        let mut trainer = Trainer::new(often(entry.name), common::splits()).unwrap();
        let patterns = |trainer: &Trainer| -> Vec<Vec<u32>> {
            trainer.network().weights().iter().map(|weight| weight.index().to_vec()).collect()
        };
        let before = patterns(&trainer);
        let mut swaps = 0;
        for _ in 0..3 {
            let mut count = |event: Event<'_>| {
                if let Event::Decision { records } = event {
                    swaps += records.iter().map(|record| record.grown).sum::<usize>();
                }
                Ok(())
            };
            trainer.epoch(&mut count).unwrap();
        }
        let after = patterns(&trainer);
        let total = |patterns: &[Vec<u32>]| patterns.iter().map(Vec::len).sum::<usize>();
        assert_eq!(total(&before), total(&after), "{}", entry.name);
        assert_eq!(swaps > 0, before != after, "{}", entry.name);
        let moves = !entry.dense && entry.name != "static";
        assert!(!moves || swaps > 0, "{} never moved a weight", entry.name);
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_before_the_weights_change() {
    let mut trainer = Trainer::new(common::config("static", &["optim.lr=1e30"]), common::splits()).unwrap();
    let mut steps = 0;
    let error = trainer.epoch(&mut |_: Event<'_>| {
        steps += 1;
        Ok(())
    });
    let Err(TrainError::Diverged { step, .. }) = error else { panic!("{error:?}") };
    assert_eq!(step, steps);
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
fn only_the_two_newest_checkpoints_stay() {
    let mut trainer = Trainer::new(common::config("static", &[]), common::splits()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        train(&mut trainer, 1);
        checkpoint::save(&trainer, folder.path()).unwrap();
    }
    let entries = std::fs::read_dir(folder.path().join("checkpoints")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["epoch-00002", "epoch-00003"]);
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
