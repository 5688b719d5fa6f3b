//! Which positions are worth a trial: those of outputs and inputs that carry much already (preferential attachment).

use crate::bits::BitSet;
use crate::mask::union;
use crate::rng;
use crate::select;
use crate::{LayerSpec, LayerView};
use rand_chacha::rand_core::Rng;

/// What every output and input has, whatever it carries, in shares of the mean. None is given up.
const BASE: f64 = 0.1;
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

/// The chance of a position: its output's share of the layer's Σ|θ| times its input's.
#[derive(Debug)]
pub(super) struct Preference {
    grid: Grid,
    /// Running sums of the shares.
    outputs: Vec<f64>,
    inputs: Vec<f64>,
}

impl Preference {
    pub(super) fn new(grid: Grid, view: &LayerView<'_>) -> Self {
        let (mut outputs, mut inputs) = (vec![0.0; grid.outputs], vec![0.0; grid.inputs]);
        for (&position, weight) in view.active.iter().zip(view.weights) {
            let pair = position as usize / grid.taps;
            outputs[pair / grid.inputs] += f64::from(weight.abs());
            inputs[pair % grid.inputs] += f64::from(weight.abs());
        }
        Self { grid, outputs: running(outputs), inputs: running(inputs) }
    }

    /// `count` different positions outside of `closed`, sorted; fewer if there are no more.
    pub(super) fn draw(&self, rng: &mut impl Rng, closed: &[u32], count: usize) -> Vec<u32> {
        let Grid { outputs, inputs, taps } = self.grid;
        let len = outputs * inputs * taps;
        let count = count.min(len - closed.len());
        let mut taken = BitSet::of(len, closed);
        let mut drawn = Vec::with_capacity(count);
        for _ in 0..PATIENCE * count {
            if drawn.len() == count {
                break;
            }
            let pair = at(&self.outputs, rng) * inputs + at(&self.inputs, rng);
            let position = (pair * taps + rng::below(rng, taps as u64) as usize) as u32;
            if taken.insert(position) {
                drawn.push(position);
            }
        }
        drawn.sort_unstable();
        let rest = select::random_inactive(rng, len, &union(closed, &drawn), count - drawn.len());
        union(&drawn, &rest)
    }
}

/// Running sums of shares of the mean, all alike if there is no mean.
fn running(carried: Vec<f64>) -> Vec<f64> {
    let mean = carried.iter().sum::<f64>() / carried.len() as f64;
    let share = |carried: f64| if mean.is_normal() { BASE + carried / mean } else { 1.0 };
    let add = |sum: &mut f64, carried| {
        *sum += share(carried);
        Some(*sum)
    };
    carried.into_iter().scan(0.0, add).collect()
}

/// A random place, by the shares of which these are the running sums.
fn at(sums: &[f64], rng: &mut impl Rng) -> usize {
    let all = sums.last().copied().unwrap_or(0.0);
    let drawn = rng::uniform(rng) * all;
    sums.partition_point(|&sum| sum <= drawn).min(sums.len() - 1)
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
        // Output 3 and input 1 carry everything: shares 10.1 of 11 and 5.1 of 5.5.
        let active = [32];
        let preference = preference(&active, &[-0.5]);
        let hits = (0..2000).filter(|&step| drawn(&preference, &[], 1, step)[0] / 2 == 16).count();
        let expected = 2000.0 * (10.1 / 11.0) * (5.1 / 5.5);
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
            assert_eq!((preference.outputs[3], preference.inputs[1]), (4.0, 2.0));
            assert_eq!(drawn(&preference, &[], 100, 0).len(), 100);
        }
    }
}
