//! Training FLOPs are those of the published formulas, for what each algorithm really asked for.

mod common;

use bidst_train::metrics::{EpochRecord, StepRecord};
use bidst_train::trainer::{Event, Trainer};
use bidst_train::{Config, setup};

/// Images of the five steps of an epoch.
const BATCHES: [u64; 5] = [16, 16, 16, 16, 11];
const EPOCHS: u64 = 3;

/// Forward FLOPs of one image: of the whole dense network, of the sparsified layers if they were dense, and their zeros.
struct Counts {
    dense: u64,
    zeros: u64,
    nonzeros: u64,
}

/// Counted by hand from the graph and the first patterns.
fn counts(trainer: &Trainer, config: &Config) -> Counts {
    let graph = setup::graph(config, &common::splits().train).unwrap();
    let mut counts = Counts { dense: 0, zeros: 0, nonzeros: 0 };
    for (weight, tensor) in graph.weights().iter().zip(trainer.network().weights()) {
        let shape = graph.node(weight.node).shape;
        let flops = |weights: usize| 2 * (weights * shape.height * shape.width) as u64;
        counts.dense += flops(weight.len());
        counts.zeros += flops(weight.len() - tensor.nnz());
        counts.nonzeros += if tensor.is_dense() { 0 } else { flops(tensor.nnz()) };
    }
    counts
}

/// Trains to the end; the last epoch, and all steps.
fn train(algorithm: &str, settings: &[&str]) -> (Counts, EpochRecord, Vec<StepRecord>) {
    let settings = [&["sparsity.distribution=uniform"], settings].concat();
    let config = common::config(algorithm, &settings);
    let mut trainer = Trainer::new(config.clone(), common::splits()).unwrap();
    let counts = counts(&trainer, &config);
    let (mut last, mut steps) = (None, Vec::new());
    for _ in 0..EPOCHS {
        let mut note = |event: Event<'_>| {
            match event {
                Event::Step { record, .. } => steps.push(record.clone()),
                Event::Epoch { record } => last = Some(record.clone()),
                Event::Decision { .. } | Event::Spike { .. } | Event::Note { .. } => {}
            }
            Ok(())
        };
        trainer.epoch(&mut note).unwrap();
    }
    (counts, last.unwrap(), steps)
}

/// Images of the steps for which `chosen` holds.
fn images(chosen: impl Fn(u64) -> bool) -> u64 {
    (0..EPOCHS * 5).filter(|&step| chosen(step)).map(|step| BATCHES[step as usize % 5]).sum()
}

#[test]
fn static_set_and_dense_training_cost_three_forward_passes() {
    for (algorithm, settings) in [("static", &[][..]), ("set", &["algorithm.update_interval=3"]), ("dense", &[])] {
        let (counts, last, _) = train(algorithm, settings);
        let sparse = counts.dense - counts.zeros;
        assert_eq!(last.run.flops.training, 3 * sparse * images(|_| true), "{algorithm}");
        assert_eq!((last.run.flops.probes, last.run.static_flops), (0, last.run.flops.training), "{algorithm}");
        assert_eq!(last.run.dense_flops, 3 * counts.dense * images(|_| true), "{algorithm}");
        assert_eq!(last.pattern.inference_flops, sparse, "{algorithm}");
        assert_eq!(algorithm == "dense", counts.zeros == 0);
    }
}

#[test]
fn rigl_pays_for_a_dense_gradient_at_its_decisions_only() {
    let (counts, last, steps) = train("rigl", &["algorithm.update_interval=4", "algorithm.stop=0.75"]);
    let decides = |step: u64| [4, 8].contains(&step);
    assert_eq!(last.run.decisions, 2);
    assert_eq!(last.run.flops.probes, counts.zeros * images(decides));
    // Evci et al. 2020: 3 f_S at an ordinary step, 2 f_S + f_D at a decision.
    let sparse = counts.dense - counts.zeros;
    let ordinary = 3 * sparse * images(|step| !decides(step));
    assert_eq!(last.run.flops.training, ordinary + (2 * sparse + counts.dense) * images(decides));
    let share = |step: usize| steps[step].flops.training as f64 / (3 * sparse * BATCHES[step % 5]) as f64;
    assert_eq!(share(3), 1.0);
    assert!(share(4) > 1.5);
}

#[test]
fn bidst_pays_for_its_candidates_on_the_images_it_looked_at_within_its_window() {
    let settings = ["update_interval=5", "window=2", "candidate_ratio=1.0", "probe_share=0.5", "stop=1.0"];
    let settings = settings.map(|setting| format!("algorithm.{setting}"));
    let (counts, last, steps) = train("bidst", &settings.each_ref().map(String::as_str));
    let in_window = |step: u64| [4, 5, 9, 10].contains(&step);
    for step in &steps {
        // As many candidates as non-zeros (κ = 1). Sixteen images are one part of a batch: half of it is all of it.
        let probed = if in_window(step.step) { step.images as u64 } else { 0 };
        assert_eq!(step.flops.probes, probed * counts.nonzeros, "step {}", step.step);
    }
    assert_eq!(last.run.flops.probes, steps.iter().map(|step| step.flops.probes).sum::<u64>());
    assert_eq!(last.run.flops.training, last.run.static_flops + last.run.flops.probes);
}

#[test]
fn scores_of_a_mask_chosen_at_the_start_are_paid_for_at_the_density_of_the_start() {
    let (counts, last, steps) = train("snip", &[]);
    let scoring = last.run.flops.training - steps.iter().map(|step| step.flops.training).sum::<u64>();
    assert!(scoring > 0 && scoring.is_multiple_of(3 * counts.dense), "{scoring} and {}", counts.dense);
    let (_, fixed, _) = train("static", &[]);
    assert!(last.run.peak_parameter_bytes > 2 * fixed.run.peak_parameter_bytes);
}

#[test]
fn a_probe_of_every_position_shows_in_the_peak_of_the_parameter_bytes() {
    let (_, fixed, _) = train("static", &[]);
    let (_, moved, _) = train("rigl", &["algorithm.update_interval=4"]);
    assert!(moved.run.peak_parameter_bytes > fixed.run.peak_parameter_bytes);
    assert!(moved.timing.run_peak_bytes > moved.run.peak_parameter_bytes);
}

#[test]
fn an_epoch_says_how_the_pattern_stands() {
    let (_, last, _) = train("set", &["algorithm.update_interval=2", "sparsity.level=0.98"]);
    let pattern = last.pattern;
    assert!((pattern.density - 0.02).abs() < 0.003, "{pattern:?}");
    assert!(pattern.itop > pattern.density && pattern.inspected == pattern.itop, "{pattern:?}");
    assert!(
        pattern.dead_outputs > 0 && last.run.swaps >= last.swaps && last.run.decisions > last.decisions,
        "{last:?}"
    );
    assert!(last.run.best_test_accuracy >= last.test_accuracy && last.run.best_epoch <= last.epoch);
    let (_, dense, _) = train("dense", &[]);
    assert_eq!((dense.pattern.density, dense.pattern.dead_outputs, dense.pattern.itop), (0.0, 0, 0.0));
}
