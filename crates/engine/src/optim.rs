//! Stochastic gradient descent on the non-zeros.

use crate::sparse_tensor::{SparseTensor, Vector};

/// One step of SGD with momentum, weight decay and, if asked, Nesterov's look-ahead:
/// `v ← μ·v + (g + λ·θ)`, `θ ← θ − η·v` or `θ ← θ − η·(g + λ·θ + μ·v)`.
///
/// The weight decay λ is the L2 coefficient of BiDST's lower level (Eq. 10 of the paper).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// η.
    pub learning_rate: f32,
    /// μ.
    pub momentum: f32,
    /// Whether the step looks ahead along the momentum.
    pub nesterov: bool,
    /// λ.
    pub weight_decay: f32,
}

impl Sgd {
    pub(crate) fn step(&self, weights: &mut [SparseTensor], vectors: &mut [Vector]) {
        for weight in weights {
            let (values, gradients, momentum) = weight.optimiser_view();
            self.update(values, gradients, momentum);
        }
        for vector in vectors.iter_mut().filter(|vector| vector.trainable) {
            self.update(&mut vector.values, &vector.gradients, &mut vector.momentum);
        }
    }

    fn update(&self, values: &mut [f32], gradients: &[f32], momentum: &mut [f32]) {
        for ((value, gradient), speed) in values.iter_mut().zip(gradients).zip(momentum) {
            let gradient = gradient + self.weight_decay * *value;
            *speed = self.momentum * *speed + gradient;
            let step = if self.nesterov { gradient + self.momentum * *speed } else { *speed };
            *value -= self.learning_rate * step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_follow_the_formula() {
        for (nesterov, expected) in [(false, [0.895, 0.696025]), (true, [0.8005, 0.517845])] {
            let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, nesterov, weight_decay: 0.05 };
            let (mut value, mut speed) = ([1.0], [0.0]);
            for expected in expected {
                sgd.update(&mut value, &[1.0], &mut speed);
                assert!((value[0] - expected).abs() < 1e-6, "{} instead of {expected}", value[0]);
            }
        }
    }
}
