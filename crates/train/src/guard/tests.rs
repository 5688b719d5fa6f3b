//! Twenty injected numbers, each found in its step, with nothing moved.

use std::time::Instant;

use bidst_data::{Batch, Dataset, Splits};

use crate::config::{Builder, OnSpike};
use crate::error::TrainError;
use crate::trainer::Trainer;

#[path = "../../tests/common/mod.rs"]
mod common;

/// Where a number is put.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Input,
    LabelWeight,
    Activation,
    Gradient,
    Momentum,
}

const PLACES: [Place; 5] = [Place::Input, Place::LabelWeight, Place::Activation, Place::Gradient, Place::Momentum];

/// Everything that a step may move, as bits.
fn bits(trainer: &Trainer) -> Vec<u32> {
    let network = trainer.network();
    let weights = network.weights().iter().flat_map(|weight| weight.values().iter().chain(weight.momentum()));
    let vectors = network.vectors().iter().flat_map(|vector| vector.values.iter().chain(&vector.momentum));
    weights.chain(vectors).map(|value| value.to_bits()).collect()
}

fn at_step_three(lr: &str) -> (Trainer, Batch) {
    let config = common::config("rigl", &["algorithm.update_interval=3", &format!("optim.lr={lr}")]);
    let mut trainer = Trainer::new(config, common::splits()).unwrap();
    let mut batches: Vec<Batch> = trainer.train.epoch(0, 0).take(4).map(Result::unwrap).collect();
    let last = batches.pop().unwrap();
    batches.iter().for_each(|batch| drop(trainer.train_on(batch).unwrap()));
    (trainer, last)
}

/// Puts `value` somewhere into step 3, and returns what was moved before and after, and the error.
fn inject(place: Place, value: f32, lr: f64) -> (Vec<u32>, Vec<u32>, TrainError) {
    let (mut trainer, mut batch) = at_step_three("0.1");
    trainer.rate.base = lr;
    match place {
        Place::Input => batch.images[70] = value,
        Place::LabelWeight => trainer.config.train.smoothing = f64::from(value),
        Place::Activation => {
            let vectors = trainer.network.vectors_mut();
            vectors.iter_mut().find(|vector| vector.name == "bn1.bias").unwrap().values[0] = value;
        }
        Place::Gradient => {}
        Place::Momentum => trainer.network.weights_mut()[1].momentum_mut()[5] = value,
    }
    let before = bits(&trainer);
    let error = match place {
        Place::Gradient => {
            let sgd = trainer.sgd(lr);
            trainer.guard.remember(&trainer.network);
            let output = trainer.network.forward_backward(&batch.images, &batch.labels, 0.0).unwrap();
            trainer.network.vectors_mut().last_mut().unwrap().gradients[1] = value;
            trainer.judge(&output, &sgd).err()
        }
        _ => trainer.train_on(&batch).err(),
    };
    (before, bits(&trainer), error.unwrap_or_else(|| panic!("{value} in {place:?} was not found")))
}

#[test]
fn twenty_injected_numbers_are_found_in_their_step_before_anything_moves() {
    let kinds = [(f32::NAN, 0.1), (f32::INFINITY, 0.1), (f32::NEG_INFINITY, 0.1), (f32::MAX, 1e3)];
    for place in PLACES {
        for (value, lr) in kinds {
            let (before, after, error) = inject(place, value, lr);
            assert!(before == after, "{value} in {place:?}: something has moved");
            let message = error.to_string();
            let TrainError::Diverged { offence, .. } = error else { panic!("{value} in {place:?}: {message}") };
            assert_eq!((offence.step, offence.epoch, offence.batch), (3, 0, 3), "{message}");
            for part in ["diverged: the ", "of step 3 (epoch 0, batch 3)", "at learning rate", "--lr"] {
                assert!(message.contains(part), "{value} in {place:?} should say `{part}`: {message}");
            }
        }
    }
}

#[test]
fn the_message_names_the_layer() {
    let message = |place, value, lr| inject(place, value, lr).2.to_string();
    assert!(message(Place::Momentum, f32::NAN, 0.1).contains("the momentum of conv2.weight"));
    assert!(message(Place::Momentum, f32::MAX, 1e3).contains("the update of conv2.weight"));
    assert!(message(Place::Gradient, f32::INFINITY, 0.1).contains("the gradient of fc.bias"));
    assert!(message(Place::LabelWeight, f32::NAN, 0.1).contains("the loss"));
}

#[test]
fn running_statistics_are_put_back_when_the_loss_is_no_number() {
    let (mut trainer, mut batch) = at_step_three("0.1");
    let before = bits(&trainer);
    batch.images[3] = 1e30;
    trainer.config.train.smoothing = f64::NAN;
    assert!(trainer.train_on(&batch).is_err());
    assert!(bits(&trainer) == before);
    trainer.config.train.smoothing = 0.0;
    batch.images[3] = 0.0;
    trainer.train_on(&batch).unwrap();
    assert!(bits(&trainer) != before);
}

/// Trains on one batch until its loss can be judged, then gives the same images other labels; returns what was moved
/// before and after that step, and what came of it.
fn spike(on_spike: OnSpike) -> (Vec<u32>, Vec<u32>, Result<Option<u64>, TrainError>) {
    let mut config = common::config("static", &["optim.lr=0.05", "train.epochs=40"]);
    config.train.on_spike = on_spike;
    let mut trainer = Trainer::new(config, common::splits()).unwrap();
    let mut batch = trainer.train.epoch(0, 0).next().unwrap().unwrap();
    (0..80).for_each(|_| drop(trainer.train_on(&batch).unwrap()));
    batch.labels.iter_mut().for_each(|label| *label = (*label + 1) % 4);
    batch.images.iter_mut().for_each(|pixel| *pixel *= 3.0);
    let before = bits(&trainer);
    let ended = trainer.train_on(&batch).map(|_| trainer.spike.map(|spike| spike.step));
    (before, bits(&trainer), ended)
}

#[test]
fn a_loss_that_stands_out_warns_skips_the_step_or_stops() {
    let (before, after, ended) = spike(OnSpike::Warn);
    assert!(before != after && ended.unwrap() == Some(80));
    let (before, after, ended) = spike(OnSpike::Skip);
    assert!(before == after && ended.unwrap() == Some(80));
    let (before, after, ended) = spike(OnSpike::Stop);
    let message = ended.unwrap_err().to_string();
    assert!(before == after && message.contains("the loss of step 80") && message.contains("--on-spike"), "{message}");
}

fn cifar_like() -> Dataset {
    let pixels = (0..128 * 3 * 32 * 32_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8);
    Dataset {
        name: "grey".to_owned(),
        channels: 3,
        height: 32,
        width: 32,
        classes: 10,
        images: pixels.collect::<Vec<u8>>().into(),
        labels: (0..128).map(|index| index % 10).collect(),
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    }
}

#[test]
#[ignore = "a measurement: ./check.sh bench; shows the share of the guard in a step of resnet20 at 95%"]
fn the_guard_takes_a_small_share_of_a_step() {
    let builder = Builder::new().flag("--algorithm", "algorithm.name", "static");
    let settings = ["model.name=resnet20", "sparsity.level=0.95", "run.threads=1", "train.batch_size=128"];
    let config = settings.iter().fold(builder, |builder, setting| builder.set(setting)).finish().unwrap();
    let mut trainer = Trainer::new(config, Splits { train: cifar_like(), test: cifar_like() }).unwrap();
    let batch = trainer.train.epoch(0, 0).next().unwrap().unwrap();
    let mut steps = Vec::new();
    let mut guards = Vec::new();
    for _ in 0..30 {
        let start = Instant::now();
        trainer.train_on(&batch).unwrap();
        steps.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        trainer.guard.remember(&trainer.network);
        assert_eq!(trainer.guard.find(&trainer.network, &trainer.sgd(0.1)), None);
        guards.push(start.elapsed().as_secs_f64());
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (step, guard) = (median(&mut steps), median(&mut guards));
    println!("a step {:.2} ms, the guard {:.1} us: {:.3}%", 1e3 * step, 1e6 * guard, 100.0 * guard / step);
}
