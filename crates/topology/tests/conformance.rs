//! The laws that every listed algorithm obeys.

mod bidst;
mod simulator;

use bidst_topology::algorithms::{self, Entry};
use bidst_topology::{Algorithm, Needs};
use proptest::prelude::*;
use simulator::{Fault, Simulator};

const STEPS: u64 = 120;

/// Further options under which an algorithm is held to the same laws.
const VARIANTS: &[(&str, &str)] = &[
    ("set", "drop_schedule = 'constant'"),
    ("rigl", "average_window = 3"),
    ("rigl", "skip_weight_step = false"),
    ("bidst", "candidates = 'random'\ncandidate_ratio = 0.5"),
    ("bidst", "candidates = 'all'\nflag = 'interval'"),
    ("bidst", "allocation = 'global'\nlayer_floor = 0.5"),
    ("bidst", "score = 'bilevel'\ntemperature = 0.3\nrho_psi = 0.5"),
    ("bidst", "score = 'bilevel'\nimplicit_form = 'A'\nstored_weights = true"),
    ("bidst", "score = 'fixed_point'\nflag = 'budget'\ndecisions = 7\naverage = false"),
    ("bidst", "score = 'literal'"),
    ("bidst", "score = 'literal'\nstored_weights = true\nflag = 'drift'"),
    ("bidst", "stationary = false\ndebias = false"),
    ("bidst", "score = 'gradient'"),
    ("bidst", "score = 'random'\nflag = 'interval'"),
    ("bidst", "hysteresis = false\nflag = 'interval'"),
];

/// A listed algorithm with the options to test it under; those among `short` that it knows make its runs eventful.
struct Case {
    entry: &'static Entry,
    options: toml::Table,
}

impl Case {
    fn all() -> Vec<Case> {
        let listed = algorithms::list().iter().map(|entry| (entry, ""));
        let variants = VARIANTS.iter().map(|&(name, options)| (algorithms::find(name).unwrap(), options));
        listed.chain(variants).map(|(entry, options)| Case::new(entry, options)).collect()
    }

    fn new(entry: &'static Entry, options: &str) -> Self {
        let mut case = Case { entry, options: options.parse().unwrap() };
        case.set_if_known("update_interval", toml::Value::Integer(6));
        case
    }

    /// Whether the algorithm knows this option; it is set then.
    fn set_if_known(&mut self, option: &str, value: toml::Value) -> bool {
        let mut options = self.options.clone();
        options.insert(option.into(), value);
        let simulator = Simulator::new(&[(10, 5)], 0, STEPS);
        let known = algorithms::build(self.entry.name, &options, &simulator.context()).is_ok();
        if known {
            self.options = options;
        }
        known
    }

    fn build(&self, simulator: &Simulator) -> Box<dyn Algorithm> {
        algorithms::build(self.entry.name, &self.options, &simulator.context()).unwrap()
    }

    fn label(&self) -> String {
        format!("{} with {}", self.entry.name, self.options)
    }
}

/// Layers of any density, 0 and 1 included, down to a single position.
fn layers() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let layer = (1usize..60, 0.0f64..=1.0, 0..4u8).prop_map(|(len, density, kind)| match kind {
        0 => (len, 0),
        1 => (len, len),
        _ => (len, (density * len as f64).round() as usize),
    });
    prop::collection::vec(layer, 1..4)
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        1 => Just(Fault::AllZero),
        1 => Just(Fault::AllNan),
        1 => Just(Fault::SomeNan),
        1 => Just(Fault::AllEqual),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_change_is_legal_and_every_count_exact(layers in layers(), fault in fault(), seed: u64) {
        for case in Case::all() {
            let mut simulator = Simulator::new(&layers, seed, STEPS).with_fault(fault);
            let mut algorithm = case.build(&simulator);
            let decisions = simulator.run(algorithm.as_mut(), 0, STEPS);
            let points: Vec<u64> = (0..STEPS).filter(|&step| algorithm.decides_at(step)).collect();
            prop_assert_eq!(decisions.iter().map(|decision| decision.step).collect::<Vec<_>>(), points);
        }
    }

    #[test]
    fn a_seed_determines_every_change_and_every_bit(layers in layers(), fault in fault(), seed: u64) {
        for case in Case::all() {
            let run = || {
                let mut simulator = Simulator::new(&layers, seed, STEPS).with_fault(fault);
                let mut algorithm = case.build(&simulator);
                (simulator.run(algorithm.as_mut(), 0, STEPS).iter().map(|d| format!("{d:?}")).collect::<Vec<_>>(), simulator.bits())
            };
            prop_assert_eq!(run(), run(), "{}", case.label());
        }
    }

    #[test]
    fn saved_and_loaded_continues_as_if_uninterrupted(layers in layers(), seed: u64, cut in 0..STEPS) {
        for case in Case::all() {
            let mut whole = Simulator::new(&layers, seed, STEPS);
            let mut algorithm = case.build(&whole);
            whole.run(algorithm.as_mut(), 0, cut);
            let (mut resumed, state) = (whole.clone(), algorithm.save());
            let rest = whole.run(algorithm.as_mut(), cut, STEPS);

            let mut fresh = case.build(&resumed);
            fresh.load(&state).unwrap();
            prop_assert_eq!(fresh.save(), state);
            prop_assert_eq!(resumed.run(fresh.as_mut(), cut, STEPS), rest, "{}", case.label());
            prop_assert_eq!(resumed.bits(), whole.bits(), "{}", case.label());
        }
    }

    #[test]
    fn a_drop_fraction_of_zero_changes_nothing(layers in layers(), fault in fault(), seed: u64) {
        for mut case in Case::all() {
            let decides = case.set_if_known("drop_fraction", toml::Value::Float(0.0));
            let mut simulator = Simulator::new(&layers, seed, STEPS).with_fault(fault);
            let mut algorithm = case.build(&simulator);
            let decisions = simulator.run(algorithm.as_mut(), 0, STEPS);
            prop_assert!(decides || decisions.is_empty());
            prop_assert!(decisions.iter().all(|d| d.changes.iter().all(|change| change.is_empty())));
        }
    }
}

#[test]
fn nothing_is_decided_or_asked_for_once_the_mask_is_frozen() {
    for case in Case::all() {
        let mut simulator = Simulator::new(&[(50, 10), (20, 4)], 3, STEPS);
        let mut algorithm = case.build(&simulator);
        simulator.run(algorithm.as_mut(), 0, STEPS * 3 / 4);
        for step in STEPS * 3 / 4..STEPS {
            assert_eq!(algorithm.next_decision(step), None, "{}", case.label());
            assert!((0..2).all(|layer| algorithm.needs(step, layer) == Needs::Active), "{}", case.label());
        }
    }
}

#[test]
fn algorithms_without_gradient_growth_ask_for_nothing_and_keep_nothing() {
    for name in ["dense", "static", "set"] {
        let mut simulator = Simulator::new(&[(50, 10), (20, 4)], 3, STEPS);
        let mut algorithm = Case::new(algorithms::find(name).unwrap(), "").build(&simulator);
        simulator.run(algorithm.as_mut(), 0, STEPS);
        assert_eq!((simulator.probed, algorithm.dense_bytes()), (0, 0), "{name}");
    }
}

#[test]
fn every_dynamic_algorithm_ends_with_a_lower_loss_than_a_static_mask() {
    let lose = |case: &Case| {
        let mut simulator = Simulator::new(&[(400, 40), (300, 30)], 5, STEPS);
        let mut algorithm = case.build(&simulator);
        simulator.run(algorithm.as_mut(), 0, STEPS);
        simulator.loss()
    };
    let fixed = lose(&Case::new(algorithms::find("static").unwrap(), ""));
    for case in Case::all().iter().filter(|case| !["dense", "static"].contains(&case.entry.name)) {
        let loss = lose(case);
        assert!(loss < fixed, "{loss} of {fixed}: {}", case.label());
    }
}

#[test]
fn a_damaged_or_foreign_state_is_refused_and_leaves_the_algorithm_as_it_was() {
    for case in Case::all() {
        let mut simulator = Simulator::new(&[(50, 10), (20, 4)], 3, STEPS);
        let mut algorithm = case.build(&simulator);
        simulator.run(algorithm.as_mut(), 0, 33);
        let state = algorithm.save();
        let foreign = Simulator::new(&[(7, 2), (20, 4)], 3, STEPS);
        let mut other = case.build(&foreign);
        let untouched = other.save();
        let vectors = state.f32s.values().map(Vec::len).chain(state.u32s.values().map(Vec::len)).sum::<usize>();
        assert!(vectors == 0 || other.load(&state).is_err(), "{}", case.label());
        assert!(vectors == 0 || other.save() == untouched, "{}", case.label());
        if state != Default::default() {
            assert!(algorithm.load(&Default::default()).is_err(), "{}", case.label());
            assert_eq!(algorithm.save(), state);
        }
    }
}
