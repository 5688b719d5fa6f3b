//! A network that pruning at initialisation may ask for gradients before the first step.

use std::sync::Arc;

use bidst_data::{Augment, Batch, Dataset, Loader, LoaderOptions};
use bidst_engine::{Network, Vector};
use bidst_topology::rng::{Purpose, Streams, choose};
use bidst_topology::{Sample, Scorer, StartError};

/// Answers from a network with first weights. It leaves other weights behind.
pub(crate) struct NetworkScorer<'a> {
    network: &'a mut Network,
    /// Indices of the sparsified weights.
    sparse: &'a [usize],
    data: &'a Dataset,
    seed: u64,
    batch_size: usize,
    /// The vectors with which training starts; passes in training move running statistics.
    first: Vec<Vector>,
    /// The vectors under which batch norm is the identity and biases are 0.
    neutral: &'a [Vector],
    /// Images that went through so far, a backward pass counted as two forward passes.
    passes: u64,
}

impl<'a> NetworkScorer<'a> {
    /// `neutral` are the vectors of a network that was just made.
    pub fn new(
        network: &'a mut Network,
        neutral: &'a [Vector],
        sparse: &'a [usize],
        data: &'a Dataset,
        seed: u64,
    ) -> Self {
        let (first, batch_size) = (network.vectors().to_vec(), network.batch_size());
        Self { network, sparse, data, seed, batch_size, first, neutral, passes: 0 }
    }

    /// Images that went through so far, a backward pass counted as two forward passes.
    pub fn passes(&self) -> u64 {
        self.passes
    }

    fn set(&mut self, weights: &[Vec<f32>]) {
        for (&at, values) in self.sparse.iter().zip(weights) {
            self.network.weights_mut()[at].values_mut().copy_from_slice(values);
        }
    }

    fn gradients(&self) -> Vec<Vec<f32>> {
        self.sparse.iter().map(|&at| self.network.weights()[at].gradients().to_vec()).collect()
    }

    /// The images of a sample in batches of about the same size, classes in turn.
    fn batches(&self, sample: &Sample) -> Result<Vec<Batch>, StartError> {
        let images = balanced(self.data, sample.per_class, self.seed);
        let parts = images.len().div_ceil(self.batch_size).max(1);
        let batch_size = images.len().div_ceil(parts).max(1);
        let chosen = self.data.subset(&images).map_err(boxed)?;
        let options = LoaderOptions { batch_size, seed: 0, augment: Augment::NONE, shuffle: false, workers: 0 };
        let loader = Loader::new(Arc::new(chosen), options).map_err(boxed)?;
        loader.epoch(0, 0).collect::<Result<_, _>>().map_err(boxed)
    }

    /// Sum of the outputs for one image of this value everywhere.
    fn flow(&mut self, value: f32) -> Result<f32, StartError> {
        let image = vec![value; self.data.image_len()];
        self.passes += 1;
        Ok(self.network.logits(&image, 1).map_err(boxed)?.iter().sum())
    }

    /// Powers of two for the input and for the gradient of the outputs. The input is looked for from below, so that no
    /// activation reaches a ReLU6's bound, and such that the outputs come to about 2^[`OUTPUT`]; with the gradient, the
    /// backward pass grows by about as much as it began below 1. So neither pass leaves the numbers.
    fn flow_scales(&mut self) -> Result<(f32, f32), StartError> {
        let mut input = 0;
        for exponent in (-FARTHEST..=FARTHEST).step_by(32) {
            let flow = self.flow(power(exponent))?;
            if flow.is_finite() && flow >= power(-64) {
                input = exponent + OUTPUT - flow.log2().round() as i32;
                break;
            }
        }
        let input = input.clamp(-FARTHEST, FARTHEST);
        Ok((power(input), power(input / 2)))
    }
}

/// Largest power of two that an input is scaled by, up or down.
const FARTHEST: i32 = 96;
/// Power of two that the outputs should come to.
const OUTPUT: i32 = -16;

fn power(exponent: i32) -> f32 {
    2f32.powi(exponent)
}

impl Scorer for NetworkScorer<'_> {
    fn loss_gradients(&mut self, sample: &Sample, weights: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, StartError> {
        let batches = self.batches(sample)?;
        let count: usize = batches.iter().map(|batch| batch.count).sum();
        let mut sums: Vec<Vec<f32>> = weights.iter().map(|weights| vec![0.0; weights.len()]).collect();
        for batch in &batches {
            self.set(weights);
            self.network.vectors_mut().clone_from_slice(&self.first);
            let head = |logits: &[f32]| loss_gradient(logits, &batch.labels, sample.temperature, count);
            self.network.backward_from(&batch.images, batch.count, true, head).map_err(boxed)?;
            self.passes += 3 * batch.count as u64;
            for (sums, gradients) in sums.iter_mut().zip(self.gradients()) {
                sums.iter_mut().zip(gradients).for_each(|(sum, gradient)| *sum += gradient);
            }
        }
        Ok(sums)
    }

    fn flow_gradients(&mut self, weights: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, StartError> {
        self.set(weights);
        self.network.vectors_mut().clone_from_slice(self.neutral);
        for tensor in self.network.weights_mut() {
            tensor.values_mut().iter_mut().for_each(|value| *value = value.abs());
        }
        let (input, output) = self.flow_scales()?;
        let image = vec![input; self.data.image_len()];
        let head = |logits: &[f32]| vec![output; logits.len()];
        self.network.backward_from(&image, 1, false, head).map_err(boxed)?;
        self.passes += 3;
        Ok(self.gradients())
    }
}

fn boxed(error: impl std::error::Error + Send + Sync + 'static) -> StartError {
    StartError::Scorer(Box::new(error))
}

/// Gradient of Σ cross-entropy(logits / `temperature`) / `count` by the logits, `[labels, classes]`.
fn loss_gradient(logits: &[f32], labels: &[u32], temperature: f32, count: usize) -> Vec<f32> {
    let classes = logits.len() / labels.len().max(1);
    let (temperature, scale) = (f64::from(temperature), 1.0 / (f64::from(temperature) * count as f64));
    let mut gradient = Vec::with_capacity(logits.len());
    for (logits, &label) in logits.chunks_exact(classes.max(1)).zip(labels) {
        let highest = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let odds = logits.iter().map(|&logit| (f64::from(logit - highest) / temperature).exp());
        let odds: Vec<f64> = odds.collect();
        let sum: f64 = odds.iter().sum();
        let share = |(class, odds): (usize, &f64)| (scale * (odds / sum - f64::from(class == label as usize))) as f32;
        gradient.extend(odds.iter().enumerate().map(share));
    }
    gradient
}

/// Up to `per_class` random images of each class: the first of every class, then the second, and so on.
fn balanced(data: &Dataset, per_class: usize, seed: u64) -> Vec<usize> {
    let chosen_of = |class: usize| {
        let members: Vec<usize> = (0..data.len()).filter(|&image| usize::from(data.labels[image]) == class).collect();
        let mut rng = Streams::new(seed).stream(Purpose::Sample, class as u64, 0);
        let chosen = choose(&mut rng, members.len(), per_class.min(members.len()));
        chosen.into_iter().map(|member| members[member as usize]).collect::<Vec<usize>>()
    };
    let classes: Vec<Vec<usize>> = (0..data.classes).map(chosen_of).collect();
    let rounds = classes.iter().map(Vec::len).max().unwrap_or(0);
    (0..rounds).flat_map(|round| classes.iter().filter_map(move |class| class.get(round))).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Builder;
    use crate::trainer::Trainer;
    use bidst_data::Splits;
    use bidst_engine::SparseTensor;
    use bidst_engine::oracle::Oracle;
    use bidst_topology::rng::at;

    /// Random images, of which a tenth belong to class 0 and the others to classes 1 and 2.
    fn data(side: usize) -> Dataset {
        let images = 100;
        Dataset {
            name: "noise".to_owned(),
            channels: 3,
            height: side,
            width: side,
            classes: 3,
            images: (0..images * 3 * (side * side) as u64)
                .map(|position| at(5, position) as u8)
                .collect::<Vec<u8>>()
                .into(),
            labels: (0..images).map(|image| if image % 10 == 0 { 0 } else { 1 + (image % 2) as u16 }).collect(),
            mean: vec![0.5; 3],
            std: vec![0.3; 3],
        }
    }

    /// A dense network with first weights.
    fn trainer(model: &str, side: usize, batch_size: usize) -> Trainer {
        let settings = [
            format!("model.name={model}"),
            "model.width=0.25".to_owned(),
            format!("train.batch_size={batch_size}"),
            "sparsity.dense_layers=[]".to_owned(),
        ];
        let builder = Builder::new().flag("--algorithm", "algorithm.name", "gmp");
        let config = settings.iter().fold(builder, |builder, setting| builder.set(setting)).finish().unwrap();
        Trainer::new(config, Splits { train: data(side), test: data(side) }).unwrap()
    }

    fn weights(trainer: &Trainer) -> Vec<Vec<f32>> {
        trainer.network.weights().iter().map(|weight| weight.values().to_vec()).collect()
    }

    fn scorer<'a>(trainer: &'a mut Trainer, neutral: &'a [Vector]) -> NetworkScorer<'a> {
        let (sparse, data, seed) = (&trainer.sparse, trainer.train.dataset(), trainer.config.run.seed);
        NetworkScorer::new(&mut trainer.network, neutral, sparse, data, seed)
    }

    fn flow_gradients(trainer: &mut Trainer, neutral: &[Vector]) -> Vec<Vec<f32>> {
        let weights = weights(trainer);
        scorer(trainer, neutral).flow_gradients(&weights).unwrap()
    }

    #[test]
    fn a_sample_has_as_many_images_of_each_class_as_there_are_and_is_always_the_same() {
        let data = data(8);
        let sample = balanced(&data, 12, 7);
        let of = |class: u16| sample.iter().filter(|&&image| data.labels[image] == class).count();
        assert_eq!([of(0), of(1), of(2)], [10, 12, 12]);
        assert_eq!(sample, balanced(&data, 12, 7));
        assert_ne!(sample, balanced(&data, 12, 8));
    }

    #[test]
    fn gradients_of_a_sample_are_those_of_a_training_step_on_its_images() {
        let mut trainer = trainer("small-cnn", 8, 64);
        let (weights, sample) = (weights(&trainer), Sample { per_class: 12, temperature: 1.0 });
        let first = trainer.network.vectors().to_vec();
        let mut scorer = scorer(&mut trainer, &[]);
        let scored = scorer.loss_gradients(&sample, &weights).unwrap();
        assert_eq!((scorer.loss_gradients(&sample, &weights).unwrap(), scorer.passes()), (scored.clone(), 3 * 68));
        let batch = scorer.batches(&sample).unwrap().remove(0);
        scorer.set(&weights);
        trainer.network.vectors_mut().clone_from_slice(&first);
        trainer.network.forward_backward(&batch.images, &batch.labels, 0.0).unwrap();
        for (weight, scored) in trainer.network.weights().iter().zip(&scored) {
            let largest = scored.iter().fold(0f32, |a, b| a.max(b.abs()));
            let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4 * largest;
            assert!(largest > 0.0 && !weight.gradients().iter().zip(scored).any(differs), "{}", weight.name());
        }
    }

    #[test]
    fn a_sample_larger_than_a_batch_is_scored_in_even_parts() {
        let mut trainer = trainer("small-cnn", 8, 16);
        let scorer = scorer(&mut trainer, &[]);
        let batches = scorer.batches(&Sample { per_class: 6, temperature: 1.0 }).unwrap();
        assert_eq!(batches.iter().map(|batch| batch.count).collect::<Vec<_>>(), [9, 9]);
        assert!(batches.iter().all(|batch| batch.labels[..3] == [0, 1, 2]));
    }

    #[test]
    fn a_temperature_flattens_the_odds_and_scales_the_gradient() {
        let gradient = loss_gradient(&[2.0, 0.0, 0.0, 4.0], &[0, 0], 2.0, 4);
        let e = std::f32::consts::E;
        let expected = [-1.0 / (1.0 + e), 1.0 / (1.0 + e), -e * e / (1.0 + e * e), e * e / (1.0 + e * e)];
        for (gradient, expected) in gradient.iter().zip(expected) {
            assert!((gradient - expected / 8.0).abs() < 1e-7, "{gradient} against {expected} / 8");
        }
    }

    /// θ·(H·g) of all weights in double precision, from differences of the oracle's gradients.
    fn exact_grasp(trainer: &Trainer, weights: &[Vec<f32>], batch: &Batch) -> Vec<Vec<f64>> {
        let images: Vec<f64> = batch.images.iter().map(|&pixel| pixel.into()).collect();
        let patterns = vec![None; weights.len()];
        let gradients = |step: f64, direction: &[Vec<f64>]| {
            let mut oracle = Oracle::<f64>::new(&trainer.graph, &patterns);
            for ((tensor, weights), direction) in oracle.weights.iter_mut().zip(weights).zip(direction) {
                let moved = weights.iter().zip(direction).map(|(&theta, g)| f64::from(theta) + step * g);
                tensor.values = moved.collect();
            }
            oracle.loss_and_gradients(&images, &batch.labels, 0.0).1.weights
        };
        let zero: Vec<Vec<f64>> = weights.iter().map(|weights| vec![0.0; weights.len()]).collect();
        let direction = gradients(0.0, &zero);
        let (ahead, behind) = (gradients(1e-4, &direction), gradients(-1e-4, &direction));
        let score = |layer: usize, i: usize| f64::from(weights[layer][i]) * (ahead[layer][i] - behind[layer][i]);
        (0..weights.len()).map(|layer| (0..weights[layer].len()).map(|i| score(layer, i)).collect()).collect()
    }

    #[test]
    fn nine_in_ten_positions_of_grasps_mask_are_those_of_exact_products_with_the_hessian() {
        let mut trainer = trainer("small-cnn", 8, 64);
        let weights = weights(&trainer);
        let batch = scorer(&mut trainer, &[]).batches(&Sample { per_class: 10, temperature: 1.0 }).unwrap().remove(0);
        let exact = exact_grasp(&trainer, &weights, &batch);

        let config = crate::Config { algorithm: named("grasp", "temperature = 1.0"), ..trainer.config.clone() };
        let pruned = Trainer::new(config, Splits { train: data(8), test: data(8) }).unwrap();
        let mut scores: Vec<f64> = exact.concat();
        let kept: usize = pruned.network.weights().iter().map(|weight| weight.nnz()).sum();
        scores.sort_by(|a, b| b.total_cmp(a));
        let threshold = scores[kept - 1];
        let agrees = |(weight, exact): (&SparseTensor, &Vec<f64>)| {
            weight.index().iter().filter(|&&position| exact[position as usize] >= threshold).count()
        };
        let common: usize = pruned.network.weights().iter().zip(&exact).map(agrees).sum();
        assert!(common as f64 > 0.9 * kept as f64, "{common} of {kept}");
    }

    fn named(name: &str, parameters: &str) -> crate::config::Algorithm {
        crate::config::Algorithm { name: name.to_owned(), parameters: parameters.parse().unwrap() }
    }

    #[test]
    fn the_flow_through_a_deep_network_neither_overflows_nor_vanishes_and_is_conserved() {
        for (model, side) in [("vgg19", 32), ("resnet56", 16), ("mobilenet-v2", 32)] {
            let mut trainer = trainer(model, side, 4);
            let (weights, neutral) = (weights(&trainer), trainer.network.vectors().to_vec());
            let gradients = flow_gradients(&mut trainer, &neutral);
            let sums: Vec<f64> = weights
                .iter()
                .zip(&gradients)
                .map(|(weights, gradients)| {
                    weights.iter().zip(gradients).map(|(w, g)| f64::from(w.abs()) * f64::from(*g)).sum()
                })
                .collect();
            assert!(sums.iter().all(|&sum| sum.is_finite() && sum > 0.0), "{model}: {sums:?}");
            // All of the flow goes through a layer with no other beside it: in VGG through each.
            let whole = if model == "vgg19" { sums.clone() } else { vec![sums[0], sums[sums.len() - 1]] };
            assert!(whole.iter().all(|sum| (sum / sums[0] - 1.0).abs() < 1e-3), "{model}: {whole:?}");
        }
    }
    /// As after `--init`: such a network has a γ below 0, biases, and running statistics of its own.
    #[test]
    fn the_flow_knows_nothing_of_what_batch_norm_and_biases_have_learned() {
        let mut trainer = trainer("small-cnn", 8, 4);
        let neutral = trainer.network.vectors().to_vec();
        let expected = flow_gradients(&mut trainer, &neutral);
        for vector in trainer.network.vectors_mut() {
            vector.values.iter_mut().for_each(|value| *value = 0.5 - 2.0 * *value);
        }
        assert!(flow_gradients(&mut trainer, &neutral) == expected);
    }
}
