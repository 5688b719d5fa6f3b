//! Trials: the lower level answers for itself.
//!
//! A score at a zero is a forecast of what training would make of it, from gradients that have to be computed for it. A
//! position that is put into the mask is trained like any other, for nothing, and at the next decision its score is a
//! measurement, of a weight that is still growing. So random positions get what the candidates leave of a decision's
//! swaps, in the place of the active positions with the lowest scores.

use super::preference::Preference;
use super::{Bidst, Scores, TrialRule};
use crate::mask::union;
use crate::rng::Purpose;
use crate::select;
use crate::{Change, LayerView};
use std::borrow::Cow;

impl Bidst {
    /// Adds trials to the `changes` of a decision: in each layer as many as its cap has left, in the place of the lowest
    /// scores of all layers that compete with it.
    pub(super) fn try_others(&self, step: u64, views: &[LayerView<'_>], race: &[Scores], changes: &mut [Change]) {
        for rivals in &self.rivals {
            let mut count = 0;
            for &layer in rivals {
                let tried = self.tried(step, layer, &views[layer], &changes[layer]);
                count += tried.len();
                changes[layer].grown = union(&changes[layer].grown, &tried);
            }
            self.make_room(rivals, count, views, race, changes);
        }
    }

    /// Random inactive positions of a layer. What lost against the active positions is not tried against them.
    fn tried(&self, step: u64, layer: usize, view: &LayerView<'_>, change: &Change) -> Vec<u32> {
        let state = &self.layers[layer];
        let closed: Cow<'_, [u32]> = match state.candidates.as_slice() {
            [] => view.active.into(),
            candidates => union(view.active, candidates).into(),
        };
        let left = self.fraction.count(step, view.active.len()).saturating_sub(change.dropped.len());
        let mut rng = self.streams.stream(Purpose::Grow, layer as u64, step);
        match self.params.trial_rule {
            TrialRule::Preferential => Preference::new(state.grid, view).draw(&mut rng, &closed, left),
            TrialRule::Uniform => select::random_inactive(&mut rng, state.len, &closed, left),
        }
    }

    /// Drops `count` more of the active positions of layers that compete: the lowest scores, but of no layer so many that it
    /// falls below its floor.
    fn make_room(&self, rivals: &[usize], count: usize, views: &[LayerView<'_>], race: &[Scores], changes: &mut [Change]) {
        let offered = rivals.iter().map(|&layer| staying(&views[layer], &race[layer].keep, &changes[layer]));
        let (mut positions, mut scores): (Vec<_>, Vec<_>) = offered.unzip();
        let spare = |(&layer, positions): (&usize, &Cow<'_, [u32]>)| {
            (positions.len() + changes[layer].grown.len()).saturating_sub(self.floor(&self.layers[layer]))
        };
        let spare: Vec<usize> = rivals.iter().zip(&positions).map(spare).collect();
        let mut lowest = select::smallest_over(&scores, count);
        if lowest.iter().zip(&spare).any(|(lowest, &spare)| lowest.len() > spare) {
            for ((positions, scores), &spare) in positions.iter_mut().zip(&mut scores).zip(&spare) {
                let offered = select::smallest(scores, spare);
                *positions = select::pick(positions, &offered).into();
                *scores = select::pick(scores, &offered).into();
            }
            lowest = select::smallest_over(&scores, count);
        }
        for ((&layer, positions), lowest) in rivals.iter().zip(&positions).zip(&lowest) {
            changes[layer].dropped = union(&changes[layer].dropped, &select::pick(positions, lowest));
        }
    }
}

/// The weights of a layer, those on trial `growth` times as large: they have had one interval, and are still growing.
pub(super) fn grown_up(view: &LayerView<'_>, on_trial: &[u32], growth: f64) -> impl Iterator<Item = f64> {
    let mut on_trial = on_trial.iter().peekable();
    view.active.iter().zip(view.weights).map(move |(position, &theta)| {
        while on_trial.next_if(|tried| *tried < position).is_some() {}
        f64::from(theta) * if on_trial.next_if_eq(&position).is_some() { growth } else { 1.0 }
    })
}

/// The active positions that a change leaves, and their scores.
fn staying<'a>(view: &LayerView<'a>, keep: &'a [f32], change: &Change) -> (Cow<'a, [u32]>, Cow<'a, [f32]>) {
    if change.dropped.is_empty() {
        return (view.active.into(), keep.into());
    }
    let stays = |position: &u32| change.dropped.binary_search(position).is_err();
    let staying = view.active.iter().zip(keep).filter(|(position, _)| stays(position));
    let (positions, scores): (Vec<u32>, Vec<f32>) = staying.unzip();
    (positions.into(), scores.into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::built;
    use super::*;
    use crate::{Algorithm, Probe};

    /// On twenty active positions of a hundred, α = 0.5, with scores 0, 1, 2 …
    fn tried(options: &str, changed: Change) -> Change {
        let bidst = built(&format!("drop_fraction = 0.5\ndrop_schedule = 'constant'\n{options}"), 5e-4).unwrap();
        let active: Vec<u32> = (0..20).map(|i| 5 * i).collect();
        let keep: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let view = LayerView { active: &active, weights: &keep, gradients: &keep, momentum: &keep, probe: Probe::None };
        let mut changes = [changed];
        bidst.try_others(50, &[view], &[Scores { keep: keep.clone(), grow: Vec::new() }], &mut changes);
        let [change] = changes;
        assert!(change.grown.iter().all(|position| position % 5 != 0) && change.grown.is_sorted_by(|a, b| a < b));
        change
    }

    #[test]
    fn the_lowest_scores_make_room_for_random_positions() {
        let change = tried("", Change::default());
        assert_eq!(change.dropped, (0..10).map(|i| 5 * i).collect::<Vec<u32>>());
        assert_eq!(change.grown.len(), 10);
    }

    #[test]
    fn trials_get_what_candidates_leave() {
        // A candidate has taken the place of the second lowest.
        let swapped = Change { dropped: vec![5], grown: vec![99], ..Change::default() };
        let change = tried("trials = true\ncandidate_ratio = 1.0", swapped);
        assert_eq!(change.dropped, (0..10).map(|i| 5 * i).collect::<Vec<u32>>());
        assert!(change.grown.len() == 10 && change.grown.contains(&99));
    }

    #[test]
    fn a_weight_on_trial_counts_as_large_as_it_may_become() {
        let dropped = |growth: f64| {
            let options = format!("drop_fraction = 0.05\ndrop_schedule = 'constant'\ntrial_growth = {growth:?}");
            let mut bidst = built(&options, 5e-4).unwrap();
            let active: Vec<u32> = (0..20).collect();
            let mut weights = [1.0; 20];
            (weights[4], weights[9]) = (0.3, -0.5);
            let view =
                LayerView { active: &active, weights: &weights, gradients: &weights, momentum: &weights, probe: Probe::None };
            (0..=40).for_each(|step| bidst.observe(step, &[view]));
            bidst.layers[0].on_trial = vec![4, 30];
            (41..=50).for_each(|step| bidst.observe(step, &[view]));
            let [change] = bidst.update(50, &[view]).try_into().unwrap();
            assert_eq!(bidst.layers[0].on_trial, change.grown);
            change.dropped
        };
        assert_eq!(dropped(1.0), [4]);
        assert_eq!(dropped(2.0), [9]);
    }
}
