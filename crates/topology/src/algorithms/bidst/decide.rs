//! From scores to a change: noise, capped swaps within layers or between them, flag F.

use super::layer::Layer;
use super::options::Flag;
use super::{Bidst, Scores};
use crate::rng::Purpose;
use crate::schedule;
use crate::select::{self, Offer, Swaps};
use crate::{Change, LayerView};

impl Bidst {
    /// The scores that enter a decision: with noise or, without, less the candidates that have no evidence.
    pub(super) fn race(&self, step: u64, layer: usize, view: &LayerView<'_>, mut race: Scores) -> Scores {
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
    pub(super) fn floor(&self, layer: &Layer) -> usize {
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
        let offers: Vec<Offer<'_>> = offers.collect();
        let mut swaps = vec![Swaps::default(); offers.len()];
        for rivals in &self.rivals {
            if let [alone] = rivals[..] {
                let Offer { keep, grow, cap, .. } = offers[alone];
                swaps[alone] = select::exchange(keep, grow, cap, worth);
                continue;
            }
            let between: Vec<Offer<'_>> = rivals.iter().map(|&layer| offers[layer]).collect();
            for (&layer, of_layer) in rivals.iter().zip(select::exchange_between(&between, worth)) {
                swaps[layer] = of_layer;
            }
        }
        let changes = swaps.iter().zip(views).zip(&self.layers).map(|((swaps, view), layer)| Change {
            dropped: select::pick(view.active, &swaps.dropped),
            grown: select::pick(&layer.candidates, &swaps.grown),
            ..Change::default()
        });
        changes.collect()
    }

    /// Flag F: whether enough of the top-k lies outside the mask. The capped swaps are a part of that.
    pub(super) fn accepts(&self, changes: &[Change], race: &[Scores]) -> bool {
        if !matches!(self.flag, Flag::Drift | Flag::IntervalAndDrift) {
            return true;
        }
        let nnz: usize = race.iter().map(|layer| layer.keep.len()).sum();
        let enough = |outside: usize| outside as f64 >= self.params.drift * nnz as f64;
        let swaps = changes.iter().map(|change| change.grown.len()).sum();
        enough(swaps) || (!self.params.score.is_control() && enough(self.outside(race)))
    }

    /// How many of the uncapped top-k lie outside the mask.
    fn outside(&self, race: &[Scores]) -> usize {
        let of_group = |rivals: &Vec<usize>| {
            let all = |of: fn(&Scores) -> &Vec<f32>| rivals.iter().flat_map(|&at| of(&race[at])).copied().collect();
            let (keep, grow): (Vec<f32>, Vec<f32>) = (all(|scores| &scores.keep), all(|scores| &scores.grow));
            select::intruders(&keep, &grow)
        };
        self.rivals.iter().map(of_group).sum()
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
            let race = bidst.race(step, 0, &view, Scores { keep: keep.clone(), grow: Vec::new() });
            race.keep.iter().zip(&keep).map(|(noisy, score)| (noisy - score).abs()).sum::<f32>()
        };
        assert!(moved(100) > 1.0);
        assert!(moved(3599) < 1e-4 && moved(3600) == 0.0);
    }
}
