//! The two controls: BiDST's schedule and candidates without its scores.
//!
//! Nothing is compared: as many positions as the cap allows are dropped by magnitude, and as many grow.

use super::window::Evidence;
use super::{Bidst, Score, Scores};
use crate::rng::{self, Purpose};
use crate::select;
use crate::{Change, LayerView};

impl Bidst {
    /// One change per layer.
    pub(super) fn control(&self, step: u64, views: &[LayerView<'_>], scores: &[Scores]) -> Vec<Change> {
        let decide = |(layer, (view, scores))| match self.params.score {
            Score::Random => self.grow_at_random(step, layer, view, scores),
            _ => self.grow_by_gradient(step, layer, view, scores),
        };
        views.iter().zip(scores).enumerate().map(decide).collect()
    }

    /// SET among the candidates; with all candidates it is SET.
    fn grow_at_random(&self, step: u64, layer: usize, view: &LayerView<'_>, scores: &Scores) -> Change {
        let candidates = &self.layers[layer].candidates;
        let count = self.fraction.count(step, scores.keep.len()).min(candidates.len());
        let mut rng = self.streams.stream(Purpose::Grow, layer as u64, step);
        Change {
            dropped: select::pick(view.active, &select::smallest(&scores.keep, count)),
            grown: select::pick(candidates, &rng::choose(&mut rng, candidates.len(), count)),
            ..Change::default()
        }
    }

    /// RigL among the candidates and what was just dropped; with all candidates and a window of 1 it is RigL.
    fn grow_by_gradient(&self, step: u64, layer: usize, view: &LayerView<'_>, scores: &Scores) -> Change {
        let state = &self.layers[layer];
        let count = self.fraction.count(step, scores.keep.len());
        let out = select::smallest(&scores.keep, count);
        let gradients: Vec<Evidence> = state.window.active.evidence(state.window.samples).collect();
        let mut pool: Vec<(u32, f32)> = state.candidates.iter().copied().zip(scores.grow.iter().copied()).collect();
        pool.extend(out.iter().map(|&e| {
            let gain = self.rule.grow(0.0, gradients[e as usize], 0.0);
            (view.active[e as usize], (self.params.beta * gain) as f32)
        }));
        pool.sort_unstable_by_key(|&(position, _)| position);
        let (positions, gains): (Vec<u32>, Vec<f32>) = pool.into_iter().unzip();
        let grown = select::pick(&positions, &select::largest(&gains, count));
        Change::net(&select::pick(view.active, &out), &grown)
    }
}
