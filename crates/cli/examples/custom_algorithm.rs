//! An algorithm of one's own: held to the laws of the listed ones, then trained.
//!
//! `cargo run --release -p bidst --example custom_algorithm`

use std::error::Error;

use bidst::topology::testing::{Replaces, Subject};
use bidst::topology::{Algorithm, Change, Context, LayerView, Needs, Probe, select};
use bidst::train::{Event, Trainer, config::Builder, setup};

/// Drops a fifth of the weights, the smallest, and grows as many where the gradient of the loss is largest.
struct Greedy {
    interval: u64,
    stop: u64,
}

const SHARE: f64 = 0.2;

impl Algorithm for Greedy {
    fn name(&self) -> &'static str {
        "greedy"
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        let next = step.max(1).next_multiple_of(self.interval);
        (next < self.stop).then_some(next)
    }

    fn needs(&self, step: u64, _layer: usize) -> Needs<'_> {
        if self.decides_at(step) { Needs::Dense } else { Needs::Active }
    }

    fn update(&mut self, _step: u64, layers: &[LayerView<'_>]) -> Vec<Change> {
        let decide = |layer: &LayerView<'_>| {
            let Probe::Dense { gradients, .. } = layer.probe else { return Change::default() };
            let inactive = gradients.len() - layer.active.len();
            let count = ((SHARE * layer.active.len() as f64) as usize).min(inactive);
            Change {
                dropped: select::smallest_weights(layer.active, layer.weights, count),
                grown: select::largest_outside(layer.active, gradients, count),
                ..Change::default()
            }
        };
        layers.iter().map(decide).collect()
    }
}

fn greedy(context: &Context<'_>) -> Box<dyn Algorithm> {
    Box::new(Greedy { interval: 10, stop: context.total_steps / 2 })
}

/// Judges it, then trains with it for an epoch.
pub fn main() -> Result<(), Box<dyn Error>> {
    Subject::new("greedy", greedy).replaces(Replaces::Exactly, |_| SHARE).check(50)?;

    let config = Builder::new().set("model.width=0.25").set("train.epochs=1").finish()?;
    let data = bidst::data::open(&config.data.name, None)?;
    let graph = setup::graph(&config, &data.train)?;
    let mut trainer = Trainer::of(config, data, graph, &greedy)?;
    let mut swaps = 0;
    trainer.epoch(&mut |event: Event<'_>| {
        if let Event::Epoch { record } = event {
            println!("{:.1}% of the test images are right", 100.0 * record.test_accuracy);
            swaps = record.swaps;
        }
        Ok(())
    })?;
    println!("{swaps} weights were swapped");
    assert!(swaps > 0);
    Ok(())
}
