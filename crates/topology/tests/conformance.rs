//! The laws that every listed algorithm obeys.

mod bidst;
mod pattern;
mod simulator;

use bidst_topology::algorithms::{self, Entry};
use bidst_topology::{Algorithm, Budget, Change, Needs};
use proptest::prelude::*;
use simulator::{Fault, Simulator};

const STEPS: u64 = 120;

/// Further options under which an algorithm is held to the same laws.
const VARIANTS: &[(&str, &str)] = &[
    ("set", "drop_schedule = 'constant'"),
    ("set", "drop_schedule = 'step'"),
    ("rigl", "average_window = 3"),
    ("rigl", "skip_weight_step = false"),
    ("srigl", "average_window = 3\nmin_salient = 0.9"),
    ("srigl", "min_salient = 0.0"),
    ("deep-r", "update_interval = 1"),
    ("deep-r", "update_interval = 1\nallocation = 'global'"),
    ("dsr", "threshold = 0.3\ndrop_target = 0.3\ndoublings = []"),
    ("snfs", "momentum = 0.0\nstop = 0.75"),
    ("mest", "gradient_weight = 0.5\ndrop_fraction = 0.5"),
    ("mest", "mode = 'em&s'"),
    ("mest", "mode = 'em&s'\nsoft_bound = 2.5\ndrop_schedule = 'cosine'"),
    ("rigl-candidates", "candidates = 'all'"),
    ("gmp", "begin = 0.0\nstop = 1.0"),
    ("granet", "initial_density = 1.0\nprune_stop = 0.8\nstop = 0.9"),
    ("granet", "initial_density = 0.0"),
    ("acdc", "phase = 0.2\nlast_sparse = 0.3"),
    ("top-kast", "reserve_ratio = 0.0"),
    ("top-kast", "reserve_ratio = 3.0\nstop = 0.5"),
    ("synflow", "rounds = 1"),
    ("chase", "channel_sparsity = 0.5\nmin_channels = 0.2"),
    ("chase", "drop_fraction = 0.5\nsoft_density = 1.0"),
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
        if !case.options.contains_key("update_interval") {
            case.set_if_known("update_interval", toml::Value::Integer(6));
        }
        case
    }

    /// Whether the algorithm knows this option; it is set then.
    fn set_if_known(&mut self, option: &str, value: toml::Value) -> bool {
        let mut options = self.options.clone();
        options.insert(option.into(), value);
        let mut simulator = Simulator::new(&[(10, 5)], 0, STEPS);
        let known = algorithms::start(self.entry.name, &options, &mut simulator.specs).is_ok()
            && algorithms::build(self.entry.name, &options, &simulator.context()).is_ok();
        if known {
            self.options = options;
        }
        known
    }

    /// A run that is about to take its first step.
    fn start(&self, layers: &[(usize, usize)], seed: u64) -> (Simulator, Box<dyn Algorithm>) {
        let (mut simulator, mut algorithm) = Simulator::start(layers, seed, STEPS, (self.entry.name, &self.options));
        simulator.prune_at_start(algorithm.as_mut()).unwrap();
        (simulator, algorithm)
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
            let (simulator, mut algorithm) = case.start(&layers, seed);
            let mut simulator = simulator.with_fault(fault);
            let decisions = simulator.run(algorithm.as_mut(), 0, STEPS);
            let points: Vec<u64> = (0..STEPS).filter(|&step| algorithm.decides_at(step)).collect();
            prop_assert_eq!(decisions.iter().map(|decision| decision.step).collect::<Vec<_>>(), points);
            prop_assert_eq!(simulator.nnz().iter().sum::<usize>(), simulator.target(), "{}", case.label());
        }
    }

    #[test]
    fn a_seed_determines_every_change_and_every_bit(layers in layers(), fault in fault(), seed: u64) {
        for case in Case::all() {
            let run = || {
                let (simulator, mut algorithm) = case.start(&layers, seed);
                let mut simulator = simulator.with_fault(fault);
                (simulator.run(algorithm.as_mut(), 0, STEPS).iter().map(|d| format!("{d:?}")).collect::<Vec<_>>(), simulator.bits())
            };
            prop_assert_eq!(run(), run(), "{}", case.label());
        }
    }

    #[test]
    fn saved_and_loaded_continues_as_if_uninterrupted(layers in layers(), seed: u64, cut in 0..STEPS) {
        for case in Case::all() {
            let (mut whole, mut algorithm) = case.start(&layers, seed);
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
            if !case.set_if_known("drop_fraction", toml::Value::Float(0.0)) {
                continue;
            }
            // Closed channels move their budget elsewhere.
            case.set_if_known("channel_sparsity", toml::Value::Float(0.0));
            let (simulator, mut algorithm) = case.start(&layers, seed);
            let mut simulator = simulator.with_fault(fault);
            for decision in simulator.run(algorithm.as_mut(), 0, STEPS) {
                let scheduled = matches!(algorithm.budget(decision.step), Budget::Scheduled(_));
                let moves = |change: &Change| if scheduled { !change.grown.is_empty() } else { !change.is_empty() };
                prop_assert!(!decision.changes.iter().any(moves), "{}", case.label());
            }
        }
    }
}

#[test]
fn nothing_is_asked_for_once_no_decision_is_left() {
    for case in Case::all() {
        let (mut simulator, mut algorithm) = case.start(&[(50, 10), (20, 4)], 3);
        for step in 0..STEPS {
            let idle = (0..2).all(|layer| algorithm.needs(step, layer) == Needs::Active);
            assert!(idle || algorithm.next_decision(step).is_some(), "step {step}: {}", case.label());
            simulator.run(algorithm.as_mut(), step, step + 1);
        }
    }
}

#[test]
fn nothing_is_decided_once_exploration_has_stopped() {
    for mut case in Case::all() {
        let known = case.set_if_known("stop", toml::Value::Float(0.5));
        let (_, algorithm) = case.start(&[(50, 10), (20, 4)], 3);
        assert!(!known || algorithm.next_decision(STEPS / 2).is_none(), "{}", case.label());
    }
}

#[test]
fn no_algorithm_starts_with_less_than_the_sparsity_allows_or_with_more_than_there_is() {
    for case in Case::all() {
        let mut specs = Simulator::new(&[(50, 10), (20, 20), (30, 0)], 3, STEPS).specs;
        algorithms::start(case.entry.name, &case.options, &mut specs).unwrap();
        assert!(specs.iter().all(|spec| spec.target <= spec.nnz && spec.nnz <= spec.len()), "{}", case.label());
    }
}

#[test]
fn first_masks_are_refused_if_the_scores_are_no_numbers() {
    for case in Case::all() {
        let start = Simulator::start(&[(50, 10), (20, 4)], 3, STEPS, (case.entry.name, &case.options));
        let (mut simulator, mut algorithm) = (start.0.with_fault(Fault::AllNan), start.1);
        let asks = ["snip", "grasp"].contains(&case.entry.name);
        assert_eq!(simulator.prune_at_start(algorithm.as_mut()).is_err(), asks, "{}", case.label());
    }
}

#[test]
fn algorithms_without_gradient_growth_ask_for_nothing_and_keep_nothing() {
    for name in ["dense", "static", "set", "deep-r", "dsr", "mest"] {
        let (mut simulator, mut algorithm) =
            Case::new(algorithms::find(name).unwrap(), "").start(&[(50, 10), (20, 4)], 3);
        simulator.run(algorithm.as_mut(), 0, STEPS);
        assert_eq!((simulator.probed, algorithm.dense_bytes()), (0, 0), "{name}");
    }
}

#[test]
fn every_dynamic_algorithm_ends_with_a_lower_loss_than_a_static_mask() {
    let lose = |case: &Case| {
        let (mut simulator, mut algorithm) = case.start(&[(400, 40), (300, 30)], 5);
        simulator.run(algorithm.as_mut(), 0, STEPS);
        simulator.loss()
    };
    let fixed = lose(&Case::new(algorithms::find("static").unwrap(), ""));
    // GraSP's score keeps gradients large rather than the loss low, and SynFlow's knows no loss.
    let others = ["dense", "static", "grasp", "synflow"];
    for case in Case::all().iter().filter(|case| !others.contains(&case.entry.name)) {
        let loss = lose(case);
        assert!(loss < fixed, "{loss} of {fixed}: {}", case.label());
    }
}

#[test]
fn a_damaged_or_foreign_state_is_refused_and_leaves_the_algorithm_as_it_was() {
    for case in Case::all() {
        let (mut simulator, mut algorithm) = case.start(&[(50, 10), (20, 4)], 3);
        simulator.run(algorithm.as_mut(), 0, 33);
        let state = algorithm.save();
        let (_, mut other) = case.start(&[(7, 2), (20, 4)], 3);
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
