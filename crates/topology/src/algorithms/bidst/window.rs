//! What the gradients of a scoring window say.

/// Sums over the steps of a window, per position of one set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sums {
    /// Σ g.
    pub(super) first: Vec<f32>,
    /// Σ g², kept only if minibatch gradients are squared one by one.
    pub(super) second: Vec<f32>,
}

/// What a window says about one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Evidence {
    /// ḡ, the mean gradient.
    pub(super) mean: f64,
    /// ḡ², or the mean of g² if minibatch gradients are squared one by one.
    pub(super) square: f64,
}

impl Sums {
    fn add(&mut self, gradients: &[f32], squares: bool) {
        self.first.iter_mut().zip(gradients).for_each(|(sum, g)| *sum += g);
        if squares {
            self.second.resize(gradients.len(), 0.0);
            self.second.iter_mut().zip(gradients).for_each(|(sum, g)| *sum += g * g);
        }
    }

    /// The evidence at every position, after `samples` steps.
    pub(super) fn evidence(&self, samples: u64) -> impl Iterator<Item = Evidence> + '_ {
        let share = 1.0 / samples.max(1) as f64;
        self.first.iter().enumerate().map(move |(i, &sum)| {
            let mean = f64::from(sum) * share;
            let square = self.second.get(i).map_or(mean * mean, |&sum| f64::from(sum) * share);
            Evidence { mean, square }
        })
    }
}

/// The scoring window of one layer. Empty outside of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Window {
    /// Steps seen.
    pub(super) samples: u64,
    /// Σ over steps of the mean of g² over the active positions.
    pub(super) power: f64,
    /// At the active positions.
    pub(super) active: Sums,
    /// At the candidates.
    pub(super) candidates: Sums,
}

impl Window {
    /// Adds a step. A window whose positions have changed in number starts anew.
    pub(super) fn add(&mut self, active: &[f32], candidates: &[f32], squares: bool) {
        if self.active.first.len() != active.len() || self.candidates.first.len() != candidates.len() {
            let sums = |len| Sums { first: vec![0.0; len], second: Vec::new() };
            *self = Self { active: sums(active.len()), candidates: sums(candidates.len()), ..Self::default() };
        }
        self.samples += 1;
        self.power += active.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>() / active.len().max(1) as f64;
        self.active.add(active, squares);
        self.candidates.add(candidates, squares);
    }

    /// The layer's curvature from the diagonal of the Fisher information: the batch size times the variance over steps
    /// of the minibatch gradient, mean over the active positions. With a single step the variance about 0 is taken.
    pub(super) fn curvature(&self, batch_size: usize) -> f64 {
        let (n, k) = (self.samples as f64, self.active.first.len() as f64);
        let means = self.active.first.iter().map(|&sum| (f64::from(sum) / n).powi(2)).sum::<f64>() / k;
        let variance = if self.samples > 1 { (self.power / n - means) * n / (n - 1.0) } else { self.power / n };
        // Written so that NaN stays NaN: it must not become a curvature of 0, under which every swap looks good.
        batch_size as f64 * if variance < 0.0 { 0.0 } else { variance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(squares: bool) -> Window {
        let mut window = Window::default();
        window.add(&[1.0, 2.0], &[4.0], squares);
        window.add(&[3.0, 2.0], &[-4.0], squares);
        window
    }

    #[test]
    fn gradients_are_averaged_before_they_are_squared_unless_asked_otherwise() {
        let evidence = |w: &Window| w.candidates.evidence(w.samples).next().unwrap();
        assert_eq!(evidence(&window(false)), Evidence { mean: 0.0, square: 0.0 });
        assert_eq!(evidence(&window(true)), Evidence { mean: 0.0, square: 16.0 });
    }

    #[test]
    fn the_curvature_is_the_batch_size_times_the_variance_of_the_minibatch_gradient() {
        assert_eq!(window(false).curvature(8), 8.0 * (2.0 + 0.0) / 2.0);
        let mut single = Window::default();
        single.add(&[3.0, 1.0], &[], false);
        assert_eq!(single.curvature(2), 2.0 * 5.0);
        single.add(&[f32::NAN, 1.0], &[], false);
        assert!(single.curvature(2).is_nan());
    }
}
