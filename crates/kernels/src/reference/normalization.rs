//! Batch normalisation (Ioffe & Szegedy, 2015). Training normalises with the batch's statistics, evaluation with
//! running ones; the forward pass is the same function of either.

use super::Float;

/// Sizes of a batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchNormShape {
    /// Images.
    pub count: usize,
    /// Channels.
    pub channels: usize,
    /// Height times width.
    pub pixels: usize,
}

impl BatchNormShape {
    /// Values of one channel in the batch.
    fn population(&self) -> usize {
        self.count * self.pixels
    }

    /// Channel of every value of a `[count, channels, pixels]` array.
    fn channel(&self, at: usize) -> usize {
        at / self.pixels % self.channels
    }

    /// Sum per channel of `value(at, channel)` over a `[count, channels, pixels]` array.
    fn sums<T: Float>(&self, value: impl Fn(usize, usize) -> T) -> Vec<T> {
        let mut sums = vec![T::ZERO; self.channels];
        for at in 0..self.channels * self.population() {
            let channel = self.channel(at);
            sums[channel] += value(at, channel);
        }
        sums
    }

    fn check<T>(&self, x: &[T]) {
        assert_eq!(x.len(), self.channels * self.population(), "length of the input");
    }
}

/// Mean and variance per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStatistics<T> {
    /// `[channels]`.
    pub mean: Vec<T>,
    /// `[channels]`, biased: divided by the number of values.
    pub variance: Vec<T>,
}

impl<T: Float> BatchStatistics<T> {
    /// Moves running statistics towards this batch: `running = (1 - momentum) * running + momentum * batch`. As in
    /// PyTorch, the batch's variance enters unbiased: divided by the number of values less one (of a single value, by
    /// one).
    pub fn update_running(&self, shape: &BatchNormShape, momentum: T, mean: &mut [T], variance: &mut [T]) {
        let population = shape.population();
        let unbiased = T::from_usize(population) / T::from_usize(population.max(2) - 1);
        for channel in 0..shape.channels {
            let towards = |running: T, batch: T| (T::ONE - momentum) * running + momentum * batch;
            mean[channel] = towards(mean[channel], self.mean[channel]);
            variance[channel] = towards(variance[channel], self.variance[channel] * unbiased);
        }
    }
}

/// Gradients of a batch normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormGradients<T> {
    /// Of the input, shaped like it.
    pub input: Vec<T>,
    /// Of the scale gamma, `[channels]`.
    pub gamma: Vec<T>,
    /// Of the shift beta, `[channels]`.
    pub beta: Vec<T>,
}

/// Mean and biased variance of each channel of `x`, `[count, channels, pixels]`.
pub fn batch_norm_statistics<T: Float>(shape: &BatchNormShape, x: &[T]) -> BatchStatistics<T> {
    shape.check(x);
    let population = T::from_usize(shape.population());
    let average = |sums: Vec<T>| -> Vec<T> { sums.into_iter().map(|s| s / population).collect() };
    let mean = average(shape.sums(|at, _| x[at]));
    let variance = average(shape.sums(|at, c| (x[at] - mean[c]) * (x[at] - mean[c])));
    BatchStatistics { mean, variance }
}

/// `y = gamma * (x - mean) / sqrt(variance + epsilon) + beta` per channel; `x` and the result are
/// `[count, channels, pixels]`, `gamma` and `beta` `[channels]`.
pub fn batch_norm_forward<T: Float>(
    shape: &BatchNormShape,
    x: &[T],
    statistics: &BatchStatistics<T>,
    gamma: &[T],
    beta: &[T],
    epsilon: T,
) -> Vec<T> {
    shape.check(x);
    let normalized = normalize(shape, x, statistics, epsilon);
    normalized.enumerate().map(|(at, x)| gamma[shape.channel(at)] * x + beta[shape.channel(at)]).collect()
}

/// Gradients of [`batch_norm_forward`] where `statistics` are those of `x` itself, through which the gradient also
/// flows.
pub fn batch_norm_backward<T: Float>(
    shape: &BatchNormShape,
    x: &[T],
    statistics: &BatchStatistics<T>,
    gamma: &[T],
    epsilon: T,
    dy: &[T],
) -> BatchNormGradients<T> {
    shape.check(x);
    shape.check(dy);
    let normalized: Vec<T> = normalize(shape, x, statistics, epsilon).collect();
    let beta = shape.sums(|at, _| dy[at]);
    let gamma_gradient = shape.sums(|at, _| dy[at] * normalized[at]);
    let population = T::from_usize(shape.population());
    let input = (0..x.len())
        .map(|at| {
            let c = shape.channel(at);
            let scale = gamma[c] / (statistics.variance[c] + epsilon).sqrt();
            let through_statistics = (beta[c] + normalized[at] * gamma_gradient[c]) / population;
            scale * (dy[at] - through_statistics)
        })
        .collect();
    BatchNormGradients { input, gamma: gamma_gradient, beta }
}

fn normalize<T: Float>(
    shape: &BatchNormShape,
    x: &[T],
    statistics: &BatchStatistics<T>,
    epsilon: T,
) -> impl Iterator<Item = T> {
    let BatchStatistics { mean, variance } = statistics;
    x.iter().enumerate().map(move |(at, &x)| {
        let c = shape.channel(at);
        (x - mean[c]) / (variance[c] + epsilon).sqrt()
    })
}
