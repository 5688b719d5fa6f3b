//! From scores to a change: noise, capped swaps within layers or between them, flag F.

use super::layer::Layer;
use super::options::{Allocation, Flag};
use super::{Bidst, Scores};
use crate::rng::Purpose;
use crate::schedule;
use crate::select::{self, Offer, Swaps};
use crate::{Change, LayerView};

impl Bidst {
    /// The scores that enter a decision: with noise or, without, less the candidates that have no evidence.
    pub(super) fn race(&self, step: u64, layer: usize, view: &LayerView<'_>, scores: &Scores) -> Scores {
        let mut race = scores.clone();
        let tau = self.params.temperature * schedule::cosine(step, self.fraction.end);
        if tau > 0.0 {
            let key = self.streams.key(Purpose::Gumbel, layer as u64, step);
            race.add_noise(tau, key, view.active, &self.layers[layer].candidates);
        } else if !self.params.score.is_control() {
            race.grow.iter_mut().filter(|score| **score <= 0.0).for_each(|score| *score = f32::NAN);
        }
        race
    }

    /// Non-zeros below which competition between layers may not push a layer.
    fn floor(&self, layer: &Layer) -> usize {
        (self.params.layer_floor * layer.nnz as f64).ceil() as usize
    }

    /// The rule: capped swaps of the worst active positions for the best candidates, per layer or between layers.
    pub(super) fn compete(&self, step: u64, views: &[LayerView<'_>], race: &[Scores]) -> Vec<Change> {
        let worth =
            |grow: f32, keep: f32| if self.params.hysteresis { select::better(grow, keep) } else { !grow.is_nan() };
        let offers = race.iter().zip(&self.layers).map(|(Scores { keep, grow }, layer)| {
            let cap = self.fraction.count(step, keep.len());
            Offer { keep, grow, cap, floor: self.floor(layer) }
        });
        let swaps: Vec<Swaps> = match self.params.allocation {
            Allocation::Layer => offers.map(|o| select::exchange(o.keep, o.grow, o.cap, worth)).collect(),
            Allocation::Global => select::exchange_between(&offers.collect::<Vec<_>>(), worth),
        };
        let changes = swaps.iter().zip(views).zip(&self.layers).map(|((swaps, view), layer)| Change {
            dropped: select::pick(view.active, &swaps.dropped),
            grown: select::pick(&layer.candidates, &swaps.grown),
            ..Change::default()
        });
        changes.collect()
    }

    /// Flag F: whether enough of the top-k lies outside the mask. The capped swaps are a part of that.
    pub(super) fn accepts(&self, changes: &[Change], race: &[Scores]) -> bool {
        if !matches!(self.params.flag, Flag::Drift | Flag::IntervalAndDrift) {
            return true;
        }
        let nnz: usize = race.iter().map(|layer| layer.keep.len()).sum();
        let enough = |outside: usize| outside as f64 >= self.params.drift * nnz as f64;
        let swaps = changes.iter().map(|change| change.grown.len()).sum();
        enough(swaps) || (!self.params.score.is_control() && enough(self.outside(race)))
    }

    /// How many of the uncapped top-k lie outside the mask.
    fn outside(&self, race: &[Scores]) -> usize {
        match self.params.allocation {
            Allocation::Layer => race.iter().map(|layer| select::intruders(&layer.keep, &layer.grow)).sum(),
            Allocation::Global => {
                let keep: Vec<f32> = race.iter().flat_map(|layer| &layer.keep).copied().collect();
                let grow: Vec<f32> = race.iter().flat_map(|layer| &layer.grow).copied().collect();
                select::intruders(&keep, &grow)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::built;
    use super::*;
    use crate::Probe;

    #[test]
    fn noise_fades_to_nothing_at_the_end_of_exploration() {
        let bidst = built("temperature = 0.5", 5e-4).unwrap();
        let active: Vec<u32> = (0..20).collect();
        let keep: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let view = LayerView { active: &active, weights: &keep, gradients: &keep, momentum: &keep, probe: Probe::None };
        let moved = |step| {
            let race = bidst.race(step, 0, &view, &Scores { keep: keep.clone(), grow: Vec::new() });
            race.keep.iter().zip(&keep).map(|(noisy, score)| (noisy - score).abs()).sum::<f32>()
        };
        assert!(moved(100) > 1.0);
        assert!(moved(2999) < 1e-4 && moved(3000) == 0.0);
    }
}
