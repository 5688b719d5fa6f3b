//! The learning rate as a function of the step.

use serde::{Deserialize, Serialize};

/// Shape of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine from the base rate to 0, stepped every iteration (Loshchilov and Hutter, SGDR, without restarts).
    Cosine,
    /// The base rate, multiplied by `gamma` at every milestone.
    MultiStep,
}

/// A learning-rate schedule with its horizon.
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRate {
    /// Rate at the end of the warm-up.
    pub base: f64,
    /// Shape after the warm-up.
    pub schedule: Schedule,
    /// Fractions of the whole run at which a multi-step rate falls, ascending.
    pub milestones: Vec<f64>,
    /// Factor of each fall.
    pub gamma: f64,
    /// Steps over which the rate rises linearly from `base / warmup_steps` to `base`.
    pub warmup_steps: u64,
    /// Steps of the whole run, warm-up included.
    pub total_steps: u64,
}

impl LearningRate {
    /// The rate of the 0-based `step`; 0 from `total_steps` on for the cosine.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.base * (step + 1) as f64 / self.warmup_steps as f64;
        }
        match self.schedule {
            Schedule::Cosine => {
                let span = self.total_steps.saturating_sub(self.warmup_steps).max(1);
                let done = ((step - self.warmup_steps) as f64 / span as f64).min(1.0);
                0.5 * self.base * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Schedule::MultiStep => {
                let done = step as f64 / self.total_steps.max(1) as f64;
                let falls = self.milestones.iter().filter(|&&milestone| done >= milestone).count();
                self.base * self.gamma.powi(falls as i32)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(schedule: Schedule, warmup_steps: u64) -> LearningRate {
        LearningRate { base: 0.1, schedule, milestones: vec![0.5, 0.75], gamma: 0.1, warmup_steps, total_steps: 100 }
    }

    #[test]
    fn cosine_starts_at_the_base_rate_halves_in_the_middle_and_ends_at_zero() {
        let rate = rate(Schedule::Cosine, 0);
        assert_eq!(rate.at(0), 0.1);
        assert!((rate.at(50) - 0.05).abs() < 1e-12);
        assert!(rate.at(99) < 1e-4 && rate.at(100) < 1e-12);
    }

    #[test]
    fn multistep_falls_at_its_fractions_of_the_run() {
        let rate = rate(Schedule::MultiStep, 0);
        assert_eq!(rate.at(49), 0.1);
        assert!((rate.at(50) - 0.01).abs() < 1e-12);
        assert!((rate.at(75) - 0.001).abs() < 1e-12);
    }

    #[test]
    fn warm_up_rises_linearly_to_the_base_rate() {
        let rate = rate(Schedule::Cosine, 10);
        assert!((rate.at(0) - 0.01).abs() < 1e-12);
        assert!((rate.at(9) - 0.1).abs() < 1e-12);
        assert_eq!(rate.at(10), 0.1);
        assert!(rate.at(11) < 0.1);
    }
}
