//! A run that stopped anywhere and went on equals one that never stopped, bit for bit: for every listed algorithm, its
//! weights, patterns, momentum, own state, counters and records.

use bidst_data::{Dataset, Pixels, Splits};
use bidst_topology::algorithms;

use super::*;

const STEPS: u64 = 15;
const STEPS_PER_EPOCH: u64 = 5;

/// An uninterrupted run.
struct Whole {
    config: Config,
    records: Vec<Value>,
    /// Steps at which it decided.
    decisions: Vec<u64>,
    state: (Vec<u8>, Value),
}

impl Whole {
    fn new(algorithm: &str) -> Whole {
        let config = often(algorithm);
        let mut trainer = trainer(&config);
        let Recorder { records, decisions, .. } = train_epochs(&mut trainer, 3);
        Whole { config, records, decisions, state: state(&trainer) }
    }

    /// Stops `first`, which was trained to some step with these records, and goes on in another trainer.
    fn assert_goes_on(&self, first: Trainer, mut records: Vec<Value>, place: &str) {
        let disk = FaultyDisk::new();
        save(&disk, &first).unwrap();
        let before = state(&first);
        drop(first);
        let mut second = load(&disk, &self.config);
        let name = &self.config.algorithm.name;
        assert!(state(&second) == before, "{name}, {place}: what was loaded is not what was saved");
        let left = 3 - records.iter().filter(|record| record.get("test_loss").is_some()).count();
        records.extend(train_epochs(&mut second, left).records);
        for (found, expected) in records.iter().zip(&self.records) {
            assert_eq!(found, expected, "{name}, {place}");
        }
        assert_eq!(records.len(), self.records.len(), "{name}, {place}");
        let (found, expected) = (state(&second), &self.state);
        assert_eq!(found.1, expected.1, "{name}, {place}");
        assert!(found.0 == expected.0, "{name}, {place}: other weights, patterns, momentum or state");
    }

    fn assert_goes_on_after(&self, step: u64, place: &str) {
        let mut first = trainer(&self.config);
        let records = if step == 0 { Vec::new() } else { train_to(&mut first, step).records };
        self.assert_goes_on(first, records, place);
    }
}

#[test]
fn a_run_stopped_anywhere_goes_on_bit_for_bit_for_every_algorithm() {
    for entry in algorithms::list() {
        let whole = Whole::new(entry.name);
        // A decision of step n is taken at its end, so that n steps are done before it and n + 1 after it.
        let decision = whole.decisions.iter().find(|&&step| step > 1).copied().unwrap_or(8);
        whole.assert_goes_on_after(1, "after the first step");
        whole.assert_goes_on_after(STEPS_PER_EPOCH + 2, "in the middle of an epoch");
        whole.assert_goes_on_after(STEPS_PER_EPOCH, "before an evaluation");
        whole.assert_goes_on_after(decision, "before a decision");
        whole.assert_goes_on_after(decision + 1, "after a decision");
        whole.assert_goes_on_after(decision + 2, "a step after a decision");
        whole.assert_goes_on_after(STEPS, "after the last step");
        let mut first = trainer(&whole.config);
        let records = train_epochs(&mut first, 1).records;
        whole.assert_goes_on(first, records, "after an evaluation");
    }
}

#[test]
fn a_run_stopped_after_any_step_goes_on_bit_for_bit() {
    let long = std::env::var_os("BIDST_LONG").is_some();
    for entry in algorithms::list().iter().filter(|entry| long || ["bidst", "snip"].contains(&entry.name)) {
        let whole = Whole::new(entry.name);
        (0..=STEPS).for_each(|step| whole.assert_goes_on_after(step, &format!("after {step} steps")));
    }
}

#[test]
fn the_data_go_on_at_every_position_of_two_epochs() {
    let config = often("static");
    let losses =
        |records: &[Value]| -> Vec<Value> { records.iter().filter_map(|record| record.get("loss").cloned()).collect() };
    let all = losses(&train_epochs(&mut trainer(&config), 2).records);
    let mut whole = trainer(&config);
    for step in 1..2 * STEPS_PER_EPOCH {
        train_to(&mut whole, step);
        let disk = FaultyDisk::new();
        save(&disk, &whole).unwrap();
        let mut second = load(&disk, &config);
        let left = 2 - (step / STEPS_PER_EPOCH) as usize + usize::from(step % STEPS_PER_EPOCH == 0);
        let rest = losses(&train_epochs(&mut second, left).records);
        assert_eq!(rest, all[step as usize..], "after {step} steps");
    }
}

/// It went on with them, at another batch of another epoch.
#[test]
fn a_data_set_that_has_changed_is_refused_with_what_it_was_and_is() {
    let config = common::config("set", &[]);
    let (disk, _) = saved(&config, 7);
    let refused = |change: fn(&mut Splits), part: &str| {
        let mut splits = common::splits();
        change(&mut splits);
        let message = newest(&disk, &config).unwrap().load(config.clone(), splits).map(drop).unwrap_err().to_string();
        assert!(message.contains("75 training and 20 test images") && message.contains(part), "{message}");
    };
    refused(|splits| add_an_image(&mut splits.train), "now has 76 training");
    refused(|splits| add_an_image(&mut splits.test), "21 test images");
    refused(|splits| splits.train.labels.swap(0, 1), "labels");
    refused(|splits| pixels(&mut splits.train)[0] ^= 1, "pixels");
    refused(|splits| pixels(&mut splits.test)[0] ^= 1, "pixels");
}

fn pixels(set: &mut Dataset) -> &mut Vec<u8> {
    let Pixels::Memory(pixels) = &mut set.images else { panic!("the images are in memory") };
    pixels
}

fn add_an_image(set: &mut Dataset) {
    pixels(set).extend([0; 64]);
    set.labels.push(0);
}
