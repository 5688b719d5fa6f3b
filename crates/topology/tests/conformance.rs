//! The laws that every listed algorithm obeys.

mod bidst;
mod cases;
mod pattern;

use bidst_topology::testing::{Fault, Simulator, matrices};
use bidst_topology::{Algorithm, Mask, algorithms};
use cases::{Case, STEPS, worlds};

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
    ("bidst", "trials = true\nrho_psi = 0.5\nprobe_share = 0.5"),
    ("bidst", "score = 'bilevel'\nimplicit_form = 'A'\nstored_weights = true"),
    ("bidst", "score = 'fixed_point'\nflag = 'budget'\ndecisions = 7\naverage = false"),
    ("bidst", "score = 'literal'"),
    ("bidst", "score = 'literal'\nstored_weights = true\nflag = 'drift'"),
    ("bidst", "stationary = false\ndebias = false"),
    ("bidst", "candidates = 'rotating'"),
    ("bidst", "trials = true\ncandidate_ratio = 0.5\nallocation = 'global'\ntrial_rule = 'uniform'"),
    ("bidst", "trials = true\nallocation = 'layer'\nlayer_floor = 0.9"),
    ("bidst", "score = 'gradient'"),
    ("bidst", "score = 'random'\nflag = 'interval'"),
    ("bidst", "hysteresis = false\nflag = 'interval'"),
    ("static", "pattern = '2:4'"),
    ("set", "pattern = 'fan-in'"),
    ("set", "pattern = '4x1'"),
    ("rigl", "pattern = '2:4'"),
    ("rigl", "pattern = '2x4'\naverage_window = 3"),
    ("mest", "pattern = '1:16'"),
    ("mest", "pattern = 'fan-in'"),
];

fn listed() -> impl Iterator<Item = Case> {
    algorithms::list().iter().map(|entry| Case::new(entry.name, ""))
}

fn variants() -> impl Iterator<Item = Case> {
    VARIANTS.iter().map(|(name, options)| Case::new(name, options))
}

/// All cases that fit layers of any shape.
fn unpatterned() -> impl Iterator<Item = Case> {
    listed().chain(variants()).filter(|case| !case.options.contains_key("pattern"))
}

/// A run that is about to take its first step.
fn start(case: &Case, layers: &[(usize, usize)]) -> (Simulator, Box<dyn Algorithm>) {
    let (mut simulator, mut algorithm) = Simulator::start(&case.listed(), matrices(layers), 3, STEPS).unwrap();
    simulator.prune_at_start(algorithm.as_mut()).unwrap().unwrap();
    (simulator, algorithm)
}

fn obey(cases: impl Iterator<Item = Case>) {
    for case in cases {
        case.subject_with(|listed| listed).check(worlds()).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn every_listed_algorithm_obeys_every_law() {
    obey(listed());
}

#[test]
fn every_algorithm_obeys_every_law_under_other_options() {
    obey(variants());
}

#[test]
fn the_measures_of_a_decision_are_those_recomputed_from_its_masks() {
    for case in unpatterned() {
        let (mut simulator, mut algorithm) = start(&case, &[(50, 10), (20, 4), (8, 8)]);
        let masks = |simulator: &Simulator| simulator.layers.iter().map(|layer| layer.mask.clone()).collect::<Vec<_>>();
        let mut before: Vec<Mask> = masks(&simulator);
        let mut ever: Vec<Vec<u32>> = before.iter().map(|mask| mask.active().to_vec()).collect();
        for decision in simulator.run(algorithm.as_mut(), 0, STEPS).unwrap() {
            for (i, (measured, now)) in decision.layers.iter().zip(&decision.masks).enumerate() {
                ever[i].extend(now.active());
                ever[i].sort_unstable();
                ever[i].dedup();
                assert_eq!((measured.nnz, measured.iou), (now.nnz(), before[i].iou(now)), "{}", case.label());
                assert_eq!(measured.itop, ever[i].len() as f64 / now.len() as f64, "{}", case.label());
            }
            before = decision.masks;
        }
    }
}

#[test]
fn first_masks_are_refused_if_the_scores_are_no_numbers() {
    for case in unpatterned() {
        let layers = matrices(&[(50, 10), (20, 4)]);
        let (mut simulator, mut algorithm) = Simulator::start(&case.listed(), layers, 3, STEPS).unwrap();
        simulator.fault = Fault::AllNan;
        let asks = ["snip", "grasp"].contains(&case.entry.name);
        assert_eq!(simulator.prune_at_start(algorithm.as_mut()).is_err(), asks, "{}", case.label());
    }
}

#[test]
fn algorithms_without_gradient_growth_ask_for_nothing_and_keep_no_more_than_signs() {
    for (name, kept) in [("dense", 0), ("static", 0), ("set", 0), ("deep-r", 4 * 14), ("dsr", 0), ("mest", 0)] {
        let (mut simulator, mut algorithm) = start(&Case::new(name, ""), &[(50, 10), (20, 4)]);
        simulator.run(algorithm.as_mut(), 0, STEPS).unwrap();
        assert_eq!((simulator.probed, algorithm.state_bytes()), (0, kept), "{name}");
    }
}

#[test]
fn a_state_of_other_layers_is_refused_and_leaves_the_algorithm_as_it_was() {
    for case in unpatterned() {
        let (mut simulator, mut algorithm) = start(&case, &[(50, 10), (20, 4)]);
        simulator.run(algorithm.as_mut(), 0, 33).unwrap();
        let state = algorithm.save();
        let (_, mut other) = start(&case, &[(7, 2), (20, 4)]);
        let untouched = other.save();
        let vectors = state.f32s.values().map(Vec::len).chain(state.u32s.values().map(Vec::len)).sum::<usize>();
        assert!(vectors == 0 || other.load(&state).is_err(), "{}", case.label());
        assert!(vectors == 0 || other.save() == untouched, "{}", case.label());
    }
}
