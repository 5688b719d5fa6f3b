//! What BiDST must be identical to, and what its options promise.

use bidst_topology::testing::{Decision, Fault, Simulator};
use bidst_topology::{Mask, Needs, algorithms};
use std::collections::BTreeMap;

const STEPS: u64 = 200;
const LAYERS: &[(usize, usize)] = &[(300, 30), (200, 40), (64, 64), (50, 0), (1, 1)];

fn run_on(mut simulator: Simulator, name: &str, options: &str) -> (Simulator, Vec<Decision>) {
    let options = options.parse().unwrap();
    let mut algorithm = algorithms::build(name, &options, &simulator.context()).unwrap();
    let decisions = simulator.run(algorithm.as_mut(), 0, STEPS).unwrap();
    (simulator, decisions)
}

fn run(name: &str, options: &str) -> (Simulator, Vec<Decision>) {
    run_on(Simulator::new(LAYERS, 8, STEPS), name, options)
}

fn swaps(decisions: &[Decision]) -> usize {
    decisions.iter().flat_map(|decision| &decision.changes).map(|change| change.grown.len()).sum()
}

#[test]
fn without_candidates_it_is_static_training_bit_for_bit() {
    let (fixed, _) = run("static", "");
    for score in ["curvature", "bilevel", "fixed_point", "random"] {
        let (simulator, decisions) = run("bidst", &format!("candidate_ratio = 0.0\nscore = '{score}'"));
        assert_eq!(simulator.bits(), fixed.bits(), "{score}");
        assert_eq!((simulator.probed, swaps(&decisions)), (0, 0), "{score}");
    }
}

#[test]
fn dense_candidates_of_one_step_scored_by_gradient_make_it_rigl() {
    let (rigl, expected) = run("rigl", "update_interval = 10\nstop = 0.9\nskip_weight_step = false");
    let options = "update_interval = 10\nscore = 'gradient'\ncandidates = 'all'\nwindow = 1\nflag = 'interval'";
    let (bidst, decisions) = run("bidst", options);
    assert!(swaps(&decisions) > 50);
    assert_eq!(decisions, expected);
    assert_eq!(bidst.bits(), rigl.bits());
}

#[test]
fn a_longer_window_makes_it_rigl_with_averaged_gradients() {
    let (rigl, _) = run("rigl", "update_interval = 10\nstop = 0.9\nskip_weight_step = false\naverage_window = 4");
    let options = "update_interval = 10\nscore = 'gradient'\ncandidates = 'all'\nwindow = 4\nflag = 'interval'";
    assert_eq!(run("bidst", options).0.bits(), rigl.bits());
    assert_ne!(run("bidst", &options.replace('4', "1")).0.bits(), rigl.bits());
}

#[test]
fn dense_candidates_chosen_at_random_make_it_set() {
    let (set, expected) = run("set", "update_interval = 10\nstop = 0.9");
    let options = "update_interval = 10\nscore = 'random'\ncandidates = 'all'\nflag = 'interval'";
    let (bidst, decisions) = run("bidst", options);
    assert!(swaps(&decisions) > 50);
    assert_eq!(decisions, expected);
    assert_eq!(bidst.bits(), set.bits());
}

#[test]
fn form_a_with_zeroed_inactive_weights_never_grows() {
    for score in ["bilevel", "literal"] {
        for hysteresis in [true, false] {
            let options =
                format!("score = '{score}'\nimplicit_form = 'A'\nhysteresis = {hysteresis}\nflag = 'interval'");
            assert_eq!(swaps(&run("bidst", &options).1), 0, "{score}");
            assert_ne!(swaps(&run("bidst", &options.replace("'A'", "'B'")).1), 0, "{score}");
        }
    }
}

#[test]
fn stored_weights_come_back_with_the_value_they_left_with() {
    let options = "score = 'bilevel'\nimplicit_form = 'A'\nimplicit_coef = 0.0\nstored_weights = true\n\
                   candidates = 'all'\nupdate_interval = 3\nflag = 'interval'";
    let (_, decisions) = run_on(Simulator::new(&[(40, 10)], 8, STEPS), "bidst", options);
    let (mut left, mut returned) = (BTreeMap::<u32, f32>::new(), 0);
    for Decision { changes, left: values, .. } in &decisions {
        let change = &changes[0];
        assert_eq!(change.grown_values.len(), change.grown.len());
        for (position, value) in change.grown.iter().zip(&change.grown_values) {
            let known = left.remove(position);
            assert!(known.is_none_or(|known| known == *value));
            returned += usize::from(known.is_some());
        }
        left.extend(change.dropped.iter().copied().zip(values[0].iter().copied()));
    }
    assert!(returned > 0);
}

#[test]
fn sparse_candidate_rules_ask_for_no_more_than_they_name() {
    for rule in ["rotating", "random"] {
        let mut simulator = Simulator::new(LAYERS, 8, STEPS);
        let options = format!("candidates = '{rule}'\nupdate_interval = 20\nwindow = 5\ncandidate_ratio = 0.5");
        let mut algorithm = algorithms::build("bidst", &options.parse().unwrap(), &simulator.context()).unwrap();
        for step in 0..STEPS {
            for (layer, &(len, nnz)) in LAYERS.iter().enumerate() {
                match algorithm.needs(step, layer) {
                    Needs::Active => {}
                    Needs::Dense => panic!("a dense gradient at step {step}"),
                    Needs::Candidates(index) => assert_eq!(index.len(), (nnz / 2).min(len - nnz)),
                }
            }
            simulator.run(algorithm.as_mut(), step, step + 1).unwrap();
        }
        let decisions = 8;
        assert_eq!(simulator.probed, decisions * 5 * (15 + 20));
    }
}

#[test]
fn candidates_are_drawn_anew_after_each_decision_and_never_active() {
    let mut simulator = Simulator::new(&[(300, 30)], 8, STEPS);
    let options = "candidates = 'rotating'\nupdate_interval = 10".parse().unwrap();
    let mut algorithm = algorithms::build("bidst", &options, &simulator.context()).unwrap();
    let mut seen = Vec::new();
    for step in 0..100 {
        simulator.run(algorithm.as_mut(), step, step + 1).unwrap();
        let mask: &Mask = &simulator.layers[0].mask;
        if let Needs::Candidates(index) = algorithm.needs(step + 1, 0) {
            assert!(index.iter().all(|&position| !mask.contains(position)));
            if seen.last().is_none_or(|last: &Vec<u32>| last != index) {
                seen.push(index.to_vec());
            }
        }
    }
    assert_eq!(seen.len(), 10);
}

#[test]
fn a_flag_of_drift_refuses_small_changes() {
    let options = "update_interval = 10\nflag = 'interval+drift'\ndrift = ";
    let (_, willing) = run("bidst", &format!("{options}0.0"));
    let (simulator, refusing) = run("bidst", &format!("{options}1.0"));
    assert!(swaps(&willing) > 0);
    assert_eq!((swaps(&refusing), refusing.len()), (0, willing.len()));
    assert_eq!(simulator.stats.decisions(), 0);
}

#[test]
fn a_budget_of_decisions_is_spent_exactly() {
    for decisions in [1, 5, 24] {
        let (_, taken) = run("bidst", &format!("flag = 'budget'\ndecisions = {decisions}"));
        assert_eq!(taken.len(), decisions);
    }
}

#[test]
fn the_drift_flag_looks_at_the_end_of_every_window() {
    let (_, decisions) = run("bidst", "flag = 'drift'\nwindow = 7\nupdate_interval = 50");
    assert!(decisions.iter().all(|decision| decision.step % 7 == 0));
    assert_eq!(decisions.len(), (180 - 1) / 7);
}

#[test]
fn competition_between_layers_keeps_the_total_and_every_floor() {
    let options =
        "allocation = 'global'\nlayer_floor = 0.5\nupdate_interval = 5\ncandidates = 'all'\nflag = 'interval'";
    let (simulator, decisions) = run("bidst", options);
    assert!(swaps(&decisions) > 0);
    let nnz = simulator.nnz();
    let first: Vec<usize> = LAYERS.iter().map(|&(_, nnz)| nnz).collect();
    assert_ne!(nnz, first);
    assert_eq!(nnz.iter().sum::<usize>(), first.iter().sum());
    assert!(nnz.iter().zip(&first).all(|(&now, &then)| 2 * now >= then));
}

#[test]
fn trials_let_layers_compete_and_keep_the_total_and_every_floor() {
    let options = "allocation = 'global'\nlayer_floor = 0.5\nupdate_interval = 5\nwindow = 3\ntrials = true\n";
    for candidates in ["candidate_ratio = 0.0", "candidate_ratio = 0.5"] {
        let (simulator, decisions) = run("bidst", &format!("{options}{candidates}"));
        assert_eq!(simulator.probed > 0, candidates.ends_with('5'));
        assert!(swaps(&decisions) > 0);
        let (nnz, first): (Vec<usize>, Vec<usize>) = (simulator.nnz(), LAYERS.iter().map(|&(_, nnz)| nnz).collect());
        assert_ne!(nnz, first);
        assert_eq!(nnz.iter().sum::<usize>(), first.iter().sum());
        assert!(nnz.iter().zip(&first).all(|(&now, &then)| 2 * now >= then), "{nnz:?}");
    }
}

#[test]
fn trials_in_each_layer_are_set() {
    let (_, expected) = run("set", "update_interval = 10\nstop = 0.9");
    let (_, decisions) =
        run("bidst", "update_interval = 10\nallocation = 'layer'\ntrial_rule = 'uniform'\ntrial_growth = 1.0");
    let sizes = |decisions: &[Decision]| -> Vec<(u64, usize)> {
        decisions.iter().map(|decision| (decision.step, swaps(std::slice::from_ref(decision)))).collect()
    };
    assert_eq!(sizes(&decisions), sizes(&expected));
}

#[test]
fn layers_compete_only_where_a_weight_costs_as_much() {
    let mut layers = bidst_topology::testing::matrices(LAYERS);
    for (layer, uses) in layers.iter_mut().zip([4, 4, 1, 1, 1]) {
        layer.uses = uses;
    }
    let listed = algorithms::Listed { name: "bidst".into(), options: "update_interval = 5".parse().unwrap() };
    let (mut simulator, mut algorithm) = Simulator::start(&listed, layers, 8, STEPS).unwrap();
    simulator.run(algorithm.as_mut(), 0, STEPS).unwrap();
    let nnz = simulator.nnz();
    assert_ne!(nnz[0], 30);
    assert_eq!((nnz[0] + nnz[1], nnz[2] + nnz[3] + nnz[4]), (70, 65));
}

#[test]
fn noise_enters_at_decisions_only_and_depends_on_the_seed() {
    let options = "update_interval = 10\nflag = 'interval'\ntemperature = ";
    let (quiet, _) = run("bidst", &format!("{options}0.0"));
    let (noisy, decisions) = run("bidst", &format!("{options}1.0"));
    assert_ne!(quiet.bits(), noisy.bits());
    assert_eq!(run("bidst", &format!("{options}1.0")).1, decisions);
}

#[test]
fn candidates_whose_gradient_is_not_a_number_are_not_grown() {
    for score in ["curvature", "bilevel", "fixed_point", "literal", "gradient"] {
        let mut start = Simulator::new(&[(300, 30), (200, 40)], 8, STEPS);
        start.fault = Fault::SomeNan;
        let (_, decisions) = run_on(start, "bidst", &format!("score = '{score}'\nflag = 'interval'\ntrials = false"));
        assert!(swaps(&decisions) > 0, "{score}");
        // Inactive even positions have no gradient; the simulator's active ones do.
        let mut seen = decisions.iter().flat_map(|decision| &decision.changes).flat_map(|change| &change.grown);
        assert!(seen.all(|position| position % 2 == 1), "{score}");
    }
}

#[test]
fn a_score_memory_keeps_incumbents_longer() {
    let options = "score = 'bilevel'\nupdate_interval = 10\nflag = 'interval'\ndrop_fraction = 1.0\nrho_psi = ";
    let forgetful = swaps(&run("bidst", &format!("{options}0.0")).1);
    let mindful = swaps(&run("bidst", &format!("{options}0.9")).1);
    assert!(mindful < forgetful, "{mindful} {forgetful}");
}
