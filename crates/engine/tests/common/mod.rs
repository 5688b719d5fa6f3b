//! A network and its oracle side by side.
#![allow(dead_code)]

pub mod graphs;
#[path = "../../../kernels/tests/common/splitmix.rs"]
mod splitmix;

use bidst_engine::oracle::{Oracle, OracleGradients};
use bidst_engine::{InstructionSet, Network, Options, ProbeRequest, Storage};
use bidst_model::Graph;
/// A small generator, so that every case is the same everywhere.
pub use splitmix::SplitMix64 as Random;

impl Random {
    /// Uniform in -1 .. 1.
    pub fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

/// Patterns of about the given density; `None` (dense) at density 1.
pub fn patterns(graph: &Graph, density: f32, random: &mut Random) -> Vec<Option<Vec<u32>>> {
    let one = |len: usize, random: &mut Random| {
        (0..len as u32).filter(|_| (random.value() + 1.0) / 2.0 < density).collect::<Vec<u32>>()
    };
    graph.weights().iter().map(|spec| (density < 1.0).then(|| one(spec.len(), random))).collect()
}

/// The same parameters in both: weights of a scale that keeps activations near 1, vectors off their defaults.
pub fn pair(
    graph: &Graph,
    patterns: &[Option<Vec<u32>>],
    options: Options,
    random: &mut Random,
) -> (Network, Oracle<f64>) {
    let mut network = Network::new(graph, patterns, options).unwrap();
    let mut oracle = Oracle::<f64>::new(graph, patterns);
    for (at, spec) in graph.weights().iter().enumerate() {
        let scale = (3.0 * spec.len() as f32 / (spec.fan_in() * network.weights()[at].nnz().max(1)) as f32).sqrt();
        let index = network.weights()[at].index().to_vec();
        for (value, position) in network.weights_mut()[at].values_mut().iter_mut().zip(index) {
            *value = random.value() * scale;
            oracle.weights[at].values[position as usize] = f64::from(*value);
        }
    }
    for (vector, twin) in network.vectors_mut().iter_mut().zip(&mut oracle.vectors) {
        assert_eq!((&vector.name, vector.trainable), (&twin.name, twin.trainable));
        for (value, twin) in vector.values.iter_mut().zip(&mut twin.values) {
            *value += 0.4 * random.value();
            *twin = f64::from(*value);
        }
    }
    (network, oracle)
}

pub fn options(batch_size: usize) -> Options {
    Options { batch_size, threads: 1, activations: Storage::F32, instruction_set: None }
}

pub fn batch(graph: &Graph, images: usize, random: &mut Random) -> (Vec<f32>, Vec<u32>) {
    let pixels = random.values(images * graph.input_shape().len());
    (pixels, (0..images).map(|_| random.below(graph.classes()) as u32).collect())
}

pub fn sets() -> Vec<InstructionSet> {
    InstructionSet::available()
}

fn largest<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    values.into_iter().fold(0.0, |a: f64, b| a.max(b.abs()))
}

/// Largest difference, as a share of the largest magnitude (0.05 at least).
pub fn difference(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let largest = largest(theirs).max(0.05);
    ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / largest
}

/// One training pass and one evaluation on both; everything the engine offers has to agree.
///
/// `tolerance` is for gradients: a ReLU whose input is within rounding of 0 may take the other side.
pub fn compare(
    name: &str,
    network: &mut Network,
    oracle: &mut Oracle<f64>,
    images: &[f32],
    labels: &[u32],
    tolerance: f64,
) {
    let wide: Vec<f64> = images.iter().map(|&x| f64::from(x)).collect();
    let (loss, gradients) = oracle.loss_and_gradients(&wide, labels, 0.1);
    let output = network.forward_backward(images, labels, 0.1).unwrap();
    assert!((output.loss - loss).abs() <= 1e-5 * loss.abs().max(1.0), "{name}: loss {} against {loss}", output.loss);
    compare_gradients(name, network, &gradients, tolerance);
    for (vector, twin) in network.vectors().iter().zip(&oracle.vectors) {
        let error = difference(&vector.values, &twin.values);
        assert!(error <= tolerance, "{name}: {} differs by {error:e}", vector.name);
    }
    let logits = network.logits(images, labels.len()).unwrap();
    let error = difference(&logits, &oracle.forward(&wide, false));
    assert!(error <= tolerance, "{name}: evaluation logits differ by {error:e}");
}

fn compare_gradients(name: &str, network: &Network, gradients: &OracleGradients<f64>, tolerance: f64) {
    // Batch norm of a nearly constant channel has gradients that are 0 but for rounding: measure by the whole network.
    let floor = 0.05 * largest(gradients.weights.iter().flatten());
    for (weight, dense) in network.weights().iter().zip(&gradients.weights) {
        let scale = largest(dense).max(floor).max(0.02);
        let check = |what: &str, at: usize, ours: f32| {
            let error = (f64::from(ours) - dense[at]).abs() / scale;
            assert!(error <= tolerance, "{name}: {what} of {} at {at}: {ours} against {}", weight.name(), dense[at]);
        };
        for (&at, &gradient) in weight.index().iter().zip(weight.gradients()) {
            check("gradient", at as usize, gradient);
        }
        if weight.probe_gradients().len() == weight.len() {
            (0..weight.len()).for_each(|at| check("dense probe", at, weight.probe_gradients()[at]));
        }
    }
    for (vector, twin) in network.vectors().iter().zip(&gradients.vectors).filter(|(vector, _)| vector.trainable) {
        let error = difference(&vector.gradients, twin);
        assert!(error <= tolerance, "{name}: gradient of {} differs by {error:e}", vector.name);
    }
}

/// Asks for every zero of every weight.
pub fn probe_everything(network: &mut Network) {
    for weight in 0..network.weights().len() {
        network.set_probe(weight, ProbeRequest::Dense, 1.0).unwrap();
    }
}
