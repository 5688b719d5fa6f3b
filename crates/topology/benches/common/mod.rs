//! A layer of 147,456 positions (the last stage of ResNet-32 at width 2) and what an algorithm sees of it.

use bidst_topology::rng::{Purpose, Streams, normal};
use bidst_topology::{Algorithm, Change, Context, LayerSpec, LayerView, Mask, Needs, Probe, algorithms};

pub const SHAPE: [usize; 4] = [128, 128, 3, 3];
pub const LEN: usize = 128 * 128 * 9;
/// Non-zeros at 90% zeros.
pub const NNZ: usize = LEN / 10;

/// `count` standard normal numbers.
pub fn numbers(count: usize, key: u64) -> Vec<f32> {
    let mut rng = Streams::new(1).stream(Purpose::Other, key, 0);
    (0..count).map(|_| normal(&mut rng) as f32).collect()
}

/// A random mask of the layer.
pub fn mask() -> Mask {
    Mask::random(LEN, NNZ, &mut Streams::new(1).stream(Purpose::Mask, 0, 0)).expect("fits")
}

/// An algorithm just before it decides.
pub struct Decision {
    algorithm: Box<dyn Algorithm>,
    step: u64,
    mask: Mask,
    weights: Vec<f32>,
    gradients: Vec<f32>,
    everywhere: Vec<f32>,
}

impl Decision {
    /// The algorithm called `name`, decisions every 10 steps, with one step of its window to go.
    pub fn new(name: &str) -> Decision {
        let layers = [LayerSpec::new("conv.weight", SHAPE.to_vec(), NNZ)];
        let context = Context {
            layers: &layers,
            total_steps: 62_560,
            steps_per_epoch: 391,
            seed: 1,
            weight_decay: 5e-4,
            learning_rate: 0.1,
            momentum: 0.9,
            batch_size: 128,
        };
        let options = "update_interval = 10".parse().expect("is TOML");
        let algorithm = algorithms::build(name, &options, &context).expect("has an update interval");
        let step = algorithm.next_decision(1).expect("decides");
        let [weights, gradients] = [1, 2].map(|key| numbers(NNZ, key));
        Decision { algorithm, step, mask: mask(), weights, gradients, everywhere: numbers(LEN, 3) }
    }

    /// The last observation and the decision.
    pub fn take(&mut self) -> Vec<Change> {
        let Decision { algorithm, step, mask, weights, gradients, everywhere } = self;
        let candidates = match algorithm.needs(*step, 0) {
            Needs::Candidates(index) => Some(index.to_vec()),
            Needs::Active | Needs::Dense => None,
        };
        let probe = match (&candidates, algorithm.needs(*step, 0)) {
            (Some(index), _) => Probe::Candidates { index, gradients: &everywhere[..index.len()], share: 1.0 },
            (None, Needs::Dense) => Probe::Dense { gradients: everywhere, share: 1.0 },
            (None, _) => Probe::None,
        };
        let views = [LayerView { active: mask.active(), weights, gradients, momentum: gradients, probe }];
        algorithm.observe(*step, &views);
        algorithm.update(*step, &views)
    }
}
