//! Gumbel noise on the scores of a decision: Gumbel-top-k, a sampler of masks.

use super::Scores;
use crate::rng;

impl Scores {
    /// Adds Gumbel noise of `tau` standard deviations of the active scores. The noise of a position depends on `key` and
    /// the position only. Adding scaled noise equals scaling the scores, and keeps their units.
    pub(super) fn add_noise(&mut self, tau: f64, key: u64, active: &[u32], candidates: &[u32]) {
        let scale = tau * standard_deviation(&self.keep);
        let noisy = |(score, &position): (&mut f32, &u32)| {
            *score += (scale * rng::gumbel(rng::at(key, position.into()))) as f32;
        };
        self.keep.iter_mut().zip(active).for_each(noisy);
        self.grow.iter_mut().zip(candidates).for_each(noisy);
    }
}

/// Over the scores that are numbers; 0 for none.
fn standard_deviation(scores: &[f32]) -> f64 {
    let finite = || scores.iter().filter(|score| score.is_finite()).map(|&score| f64::from(score));
    let count = finite().count().max(1) as f64;
    let mean = finite().sum::<f64>() / count;
    (finite().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_scaled_by_the_active_scores_and_tied_to_the_position() {
        let active: Vec<u32> = (0..20).collect();
        let noisy = |scale: f32| {
            let keep = (0..20).map(|i| scale * i as f32).collect();
            let mut scores = Scores { keep, grow: vec![0.0, 0.0] };
            scores.add_noise(0.5, 7, &active, &[30, 40]);
            scores
        };
        let (small, large) = (noisy(1.0), noisy(1024.0));
        assert!(small.keep.iter().zip(&large.keep).all(|(s, l)| (s * 1024.0 - l).abs() < 1e-2));
        let mut alone = Scores { keep: (0..20).map(|i| i as f32).collect(), grow: vec![0.0] };
        alone.add_noise(0.5, 7, &active, &[40]);
        assert_eq!(alone.grow[0], small.grow[1]);
        assert_ne!(small.grow[0], small.grow[1]);
    }
}
