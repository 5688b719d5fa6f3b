//! Finds numbers that are infinite or none in the step in which they appear, before anything has moved.
//!
//! Per tensor the largest magnitudes of values, gradients and momentum are taken, as integers: the bits of a float without
//! its sign are ordered as its magnitude, and infinity and NaN come above all numbers. From the three follows a bound of the
//! weights after the step; beyond the range of f32 it counts as overflow.

use std::fmt;

use bidst_engine::{Network, Sgd};

/// A number that must not be there.
#[derive(Clone, Debug, PartialEq)]
pub struct Offence {
    /// What it is of: `the loss`, `the gradient of conv1.weight`.
    pub place: String,
    /// It: infinite or not a number, or the bound of an update that is too large.
    pub value: f64,
    /// The step, from 0.
    pub step: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The batch within the epoch, from 0.
    pub batch: usize,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Offence { place, value, step, epoch, batch } = self;
        write!(f, "{place} of step {step} (epoch {epoch}, batch {batch}) is {value:e}")
    }
}

/// Remembers what the forward pass moves, and looks for what must not be there.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// Running statistics before the step.
    running: Vec<Vec<f32>>,
}

impl Guard {
    /// Remembers the running statistics before a step.
    pub fn remember(&mut self, network: &Network) {
        let moving = || network.vectors().iter().filter(|vector| !vector.trainable);
        self.running.resize_with(moving().count(), Vec::new);
        for (kept, vector) in self.running.iter_mut().zip(moving()) {
            kept.clone_from(&vector.values);
        }
    }

    /// Puts the running statistics back.
    pub fn restore(&self, network: &mut Network) {
        let moving = network.vectors_mut().iter_mut().filter(|vector| !vector.trainable);
        for (vector, kept) in moving.zip(&self.running) {
            vector.values.copy_from_slice(kept);
        }
    }

    /// The first place, with what is there, at which a network after a backward pass holds what no step may build on, or at
    /// which the step would leave it.
    pub fn find(&self, network: &Network, sgd: &Sgd) -> Option<(String, f64)> {
        let of_weights = network.weights().iter().find_map(|weight| {
            let name = weight.name();
            let probe = ("the gradient at a zero of", weight.probe_gradients());
            in_parts(name, [probe]).or_else(|| moved(name, weight.values(), weight.gradients(), weight.momentum(), sgd))
        });
        of_weights.or_else(|| {
            network.vectors().iter().find_map(|vector| match vector.trainable {
                true => moved(&vector.name, &vector.values, &vector.gradients, &vector.momentum, sgd),
                false => in_parts(&vector.name, [("the running statistic", &vector.values[..])]),
            })
        })
    }
}

/// Looks at a tensor that is about to move.
fn moved(name: &str, values: &[f32], gradients: &[f32], momentum: &[f32], sgd: &Sgd) -> Option<(String, f64)> {
    let [value, gradient, speed] = [values, gradients, momentum].map(largest);
    let [eta, mu, lambda] = [sgd.learning_rate, sgd.momentum, sgd.weight_decay].map(f64::from);
    let gradient = gradient + lambda * value;
    let speed = mu * speed + gradient;
    let bound = value + eta * (gradient + mu * speed).max(speed);
    // What is no number compares with nothing.
    if speed < f64::from(f32::MAX) && bound < f64::from(f32::MAX) {
        return None;
    }
    let parts = [("the gradient of", gradients), ("the value of", values), ("the momentum of", momentum)];
    in_parts(name, parts).or_else(|| Some((format!("the update of {name}"), bound)))
}

fn in_parts<const N: usize>(name: &str, parts: [(&str, &[f32]); N]) -> Option<(String, f64)> {
    let wrong = |(what, numbers): (&str, &[f32])| {
        let is_fine = largest(numbers) < f64::INFINITY;
        let value = numbers.iter().find(|number| !number.is_finite()).filter(|_| !is_fine)?;
        Some((format!("{what} {name}"), f64::from(*value)))
    };
    parts.into_iter().find_map(wrong)
}

/// The largest magnitude; NaN if one is there.
fn largest(numbers: &[f32]) -> f64 {
    let magnitude = |number: &f32| number.to_bits() & 0x7fff_ffff;
    f64::from(f32::from_bits(numbers.iter().map(magnitude).fold(0, u32::max)))
}

#[cfg(test)]
mod tests;
