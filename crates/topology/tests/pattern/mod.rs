//! Masks that are confined to a pattern stay in it. (The simulator checks the pattern after every decision.)

use crate::cases::patterned_layers as layers;
use bidst_topology::Algorithm;
use bidst_topology::algorithms::{self, Listed};
use bidst_topology::testing::Simulator;

const STEPS: u64 = 120;

fn start(name: &str, options: &str, density: f64) -> (Simulator, Box<dyn Algorithm>) {
    let listed = Listed { name: name.into(), options: options.parse().unwrap() };
    Simulator::start(&listed, layers(density), 4, STEPS).unwrap()
}

#[test]
fn every_algorithm_that_takes_a_pattern_moves_and_stays_in_it() {
    for (pattern, density) in [("2:4", 0.5), ("1:16", 0.0625), ("4x1", 0.125), ("2x4", 0.25), ("fan-in", 0.1)] {
        for name in ["static", "set", "rigl", "mest"] {
            let interval = if name == "static" { "" } else { "update_interval = 6" };
            let (mut simulator, mut algorithm) = start(name, &format!("pattern = '{pattern}'\n{interval}"), density);
            let before = simulator.nnz();
            let decisions = simulator.run(algorithm.as_mut(), 0, STEPS).unwrap();
            let grown: usize = decisions.iter().flat_map(|d| &d.changes).map(|change| change.grown.len()).sum();
            assert_eq!((simulator.nnz(), grown > 0), (before, name != "static"), "{name} with {pattern}");
        }
    }
}

#[test]
fn srigl_without_ablation_is_rigl_with_constant_fan_in() {
    let run = |name: &str, options: &str| {
        let (mut simulator, mut algorithm) = start(name, &format!("update_interval = 6\n{options}"), 0.125);
        simulator.run(algorithm.as_mut(), 0, STEPS).unwrap();
        simulator.bits()
    };
    assert_eq!(run("srigl", "min_salient = 0.0"), run("rigl", "pattern = 'fan-in'"));
    assert_ne!(run("srigl", "min_salient = 0.9"), run("rigl", "pattern = 'fan-in'"));
}

#[test]
fn layers_that_do_not_fit_or_were_not_prepared_are_refused_by_name() {
    let options = "pattern = '2:4'".parse().unwrap();
    let error = algorithms::start("set", &options, &mut layers(0.1)).unwrap_err().to_string();
    assert!(error.contains("conv.weight") && error.contains("sparsity to 0.5"), "{error}");
    let simulator = Simulator::new(&[(16, 8)], 1, STEPS);
    let error = algorithms::build("static", &"pattern = 'fan-in'".parse().unwrap(), &simulator.context());
    let error = error.err().unwrap().to_string();
    assert!(error.contains("layer0.weight") && error.contains("algorithms::start"), "{error}");
}
