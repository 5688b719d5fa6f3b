//! Which positions are worth a trial: those of outputs and inputs that carry much already (preferential attachment).

use crate::bits::BitSet;
use crate::mask::union;
use crate::rng;
use crate::select;
use crate::{LayerSpec, LayerView};
use rand_chacha::rand_core::Rng;

/// Tickets that a place has on the mean for what it carries, beside the one that it has for being there.
const TICKETS: f64 = 10.0;
/// Draws per position that is wanted; after them, the rest is drawn uniformly.
const PATIENCE: usize = 16;

/// How the positions of a tensor are numbered: (output · inputs + input) · taps + tap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    outputs: usize,
    inputs: usize,
    taps: usize,
}

impl Grid {
    pub(super) fn of(spec: &LayerSpec) -> Self {
        let at = |axis: usize| spec.shape.get(axis).copied().unwrap_or(1);
        Self { outputs: at(0), inputs: at(1), taps: spec.shape.iter().skip(2).product() }
    }
}

/// The chance of a position: its output's share of the tickets times its input's.
#[derive(Debug)]
pub(super) struct Preference {
    grid: Grid,
    outputs: Urn,
    inputs: Urn,
}

impl Preference {
    pub(super) fn new(grid: Grid, view: &LayerView<'_>) -> Self {
        let (mut outputs, mut inputs) = (vec![0.0; grid.outputs], vec![0.0; grid.inputs]);
        let row = grid.inputs * grid.taps;
        let mut rest = view.active.iter().zip(view.weights).peekable();
        for (output, carried) in outputs.iter_mut().enumerate() {
            let first = (output * row) as u32;
            while let Some((&position, weight)) = rest.next_if(|(position, _)| **position < first + row as u32) {
                let weight = f64::from(weight.abs());
                *carried += weight;
                inputs[((position - first) / grid.taps as u32) as usize] += weight;
            }
        }
        Self { grid, outputs: Urn::new(&outputs), inputs: Urn::new(&inputs) }
    }

    /// `count` different positions outside of `closed`, sorted; fewer if there are no more.
    pub(super) fn draw(&self, rng: &mut impl Rng, closed: &[u32], count: usize) -> Vec<u32> {
        let Grid { outputs, inputs, taps } = self.grid;
        let len = outputs * inputs * taps;
        let count = count.min(len - closed.len());
        let (mut taken, mut drawn) = (BitSet::of(len, closed), BitSet::new(len));
        let (mut missing, mut patience) = (count, PATIENCE * count);
        while missing > 0 && patience > 0 {
            let pair = self.outputs.draw(rng) as usize * inputs + self.inputs.draw(rng) as usize;
            let position = (pair * taps) as u32 + rng::below_u32(rng, taps as u32);
            if taken.insert(position) {
                drawn.insert(position);
                missing -= 1;
            }
            patience -= 1;
        }
        let drawn = drawn.to_sorted();
        if missing == 0 {
            return drawn;
        }
        let rest = select::random_inactive(rng, len, &union(closed, &drawn), missing);
        union(&drawn, &rest)
    }
}

/// A ticket for every place, and more for those that carry much.
#[derive(Debug)]
struct Urn(Vec<u32>);

impl Urn {
    fn new(carried: &[f64]) -> Self {
        let mean = carried.iter().sum::<f64>() / carried.len() as f64;
        let tickets = |carried: f64| if mean.is_normal() { 1 + (TICKETS * carried / mean).round() as usize } else { 1 };
        let of_place = |(place, &carried)| std::iter::repeat_n(place as u32, tickets(carried));
        Self(carried.iter().enumerate().flat_map(of_place).collect())
    }

    fn draw(&self, rng: &mut impl Rng) -> u32 {
        self.0[rng::below_u32(rng, self.0.len() as u32) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Probe;
    use crate::rng::{Purpose, Streams};

    fn preference(active: &[u32], weights: &[f32]) -> Preference {
        let grid = Grid::of(&LayerSpec::new("conv.weight", vec![10, 5, 2, 1], 2));
        Preference::new(grid, &LayerView { active, weights, gradients: &[], momentum: &[], probe: Probe::None })
    }

    fn drawn(preference: &Preference, closed: &[u32], count: usize, step: u64) -> Vec<u32> {
        preference.draw(&mut Streams::new(1).stream(Purpose::Grow, 0, step), closed, count)
    }

    #[test]
    fn rows_and_columns_are_drawn_by_what_they_carry() {
        // Output 3 and input 1 carry everything: 101 of 110 tickets, and 51 of 55.
        let active = [32];
        let preference = preference(&active, &[-0.5]);
        let hits = (0..2000).filter(|&step| drawn(&preference, &[], 1, step)[0] / 2 == 16).count();
        let expected = 2000.0 * (101.0 / 110.0) * (51.0 / 55.0);
        assert!((hits as f64 - expected).abs() < 80.0, "{hits} of 2000, expected {expected}");
    }

    #[test]
    fn positions_differ_are_open_and_run_out_only_with_the_layer() {
        let closed: Vec<u32> = (20..60).collect();
        let preference = preference(&[32, 33], &[1.0, 1.0]);
        for count in [0, 1, 30, 59, 60, 61, 1000] {
            let drawn = drawn(&preference, &closed, count, 0);
            assert_eq!(drawn.len(), count.min(60));
            assert!(drawn.is_sorted_by(|a, b| a < b));
            assert!(drawn.iter().all(|position| *position < 100 && !closed.contains(position)));
        }
    }

    #[test]
    fn weights_that_say_nothing_leave_all_positions_alike() {
        for weights in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            let preference = preference(&[32, 33], &weights);
            assert_eq!((preference.outputs.0.len(), preference.inputs.0.len()), (10, 5));
            assert_eq!(drawn(&preference, &[], 100, 0).len(), 100);
        }
    }
}
