//! Chase: dynamic sparsity drifts towards channels, so take whole channels away.
//!
//! Yin et al., "Dynamic sparsity is channel-level sparsity learner", NeurIPS 2023.
//!
//! GraNet's neighbour: global magnitude drop and global gradient growth, a little above the budget at first, in which output
//! channels that have become weak are closed for good. After decision j of n there are
//!
//! ```text
//!     k + (k₀ − k)·½(1 + cos(π·j/n)) non-zeros,     S·C·(1 − (1 − j/n)³) of C channels closed
//! ```
//!
//! A decision first closes the channels whose non-zeros are smallest on average, with no layer below `min_channels` of
//! its own; then it drops, of what is left, down to a share α below the budget, by magnitude over all layers; then it
//! grows up to the budget where the dense gradient of the current minibatch is largest, in channels that are open.
//! The output layer, the last one if it is linear, has no channels to close: its rows are the classes. Decisions come
//! after the weight step.
//!
//! Where we differ: a channel is a row of its own layer. The weights of other layers that read a closed channel are not
//! taken away with it; they go as any weight goes. Channels close at every decision, not at a slower rhythm of their own.

use super::{AlgorithmError, Card, Require, output_layer};
use crate::mask::{complement, difference, union};
use crate::schedule::{DropFraction, DropSchedule, Ramp};
use crate::start;
use crate::state::{State, StateError, of_length};
use crate::{Algorithm, Budget, Change, Context, LayerSpec, LayerView, Needs, Probe, select};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::ops::Range;

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "chase",
    summary: "move weights between layers by gradient and close the weakest channels",
    paper: "Yin et al., Dynamic sparsity is channel-level sparsity learner, NeurIPS 2023",
    dense: false,
    start: |params, layers| {
        let positions: usize = layers.iter().map(LayerSpec::len).sum();
        let soft = (params.soft_density * positions as f64).round() as usize;
        start::scaled(layers, start::target(layers) + soft.min(positions));
    },
};

/// Options of Chase. The one without a value takes it from the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Share of the output channels of the sparsified layers, those of the output layer aside, that are closed in the end
    /// (S). Default 0.3.
    pub channel_sparsity: f64,
    /// Share of its output channels that every layer keeps. Default 0.5.
    pub min_channels: f64,
    /// Share of the positions active at first beyond what the run's sparsity allows. Default 0.05.
    pub soft_density: f64,
    /// Steps from one decision to the next. Default 1000, in short runs 1/60 of all steps, rounded up.
    pub update_interval: Option<u64>,
    /// Share of the non-zeros replaced by a decision (α). Default 0.05.
    pub drop_fraction: f64,
    /// How that share falls: `constant`, `cosine` or `step`. Default `constant`.
    pub drop_schedule: DropSchedule,
    /// Share of the run after which the mask is frozen. Default 0.8.
    pub stop: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            channel_sparsity: 0.3,
            min_channels: 0.5,
            soft_density: 0.05,
            update_interval: None,
            drop_fraction: 0.05,
            drop_schedule: DropSchedule::Constant,
            stop: 0.8,
        }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let require = Require(CARD.name);
    for (option, share) in [
        ("channel_sparsity", params.channel_sparsity),
        ("min_channels", params.min_channels),
        ("soft_density", params.soft_density),
    ] {
        require.that((0.0..=1.0).contains(&share), option, share, "must be from 0 to 1")?;
    }
    let end = require.stop(params.stop, context)?;
    let interval = params.update_interval.unwrap_or(context.total_steps.div_ceil(60).clamp(1, 1000));
    let mut layers: Vec<Layer> = context.layers.iter().map(|spec| Layer::new(spec, params.min_channels)).collect();
    let mut channels: usize = layers.iter().map(|layer| layer.channels).sum();
    if let Some(output) = output_layer(context.layers) {
        layers[output].floor = layers[output].channels;
        channels -= layers[output].channels;
    }
    Ok(Box::new(Chase {
        ramp: require.ramp(0, ("stop", params.stop), interval, context)?,
        fraction: require.drop_fraction(params.drop_fraction, params.drop_schedule, end)?,
        channel_sparsity: params.channel_sparsity,
        channels,
        layers,
    }))
}

struct Chase {
    ramp: Ramp,
    fraction: DropFraction,
    channel_sparsity: f64,
    /// Channels of all layers but the output layer, whose rows are the classes.
    channels: usize,
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    spec: LayerSpec,
    channels: usize,
    /// Channels that must stay open.
    floor: usize,
    /// Closed channels, sorted.
    closed: Vec<u32>,
}

impl Layer {
    fn new(spec: &LayerSpec, min_channels: f64) -> Self {
        let channels = spec.shape.first().copied().unwrap_or(1);
        let floor = ((min_channels * channels as f64).ceil() as usize).max(1);
        Self { spec: spec.clone(), channels, floor, closed: Vec::new() }
    }

    /// Positions of one channel.
    fn row(&self) -> usize {
        self.spec.len() / self.channels.max(1)
    }

    fn positions(&self, channel: u32) -> Range<u32> {
        let row = self.row() as u32;
        channel * row..(channel + 1) * row
    }

    fn closed_positions(&self) -> Vec<u32> {
        self.closed.iter().flat_map(|&channel| self.positions(channel)).collect()
    }

    fn open_len(&self) -> usize {
        self.spec.len() - self.closed.len() * self.row()
    }

    /// Mean magnitude of a channel's non-zeros, 0 without any.
    fn strength(&self, channel: u32, view: &LayerView<'_>) -> f32 {
        let positions = self.positions(channel);
        let entries =
            view.active.partition_point(|&p| p < positions.start)..view.active.partition_point(|&p| p < positions.end);
        let count = entries.len().max(1) as f32;
        view.weights[entries].iter().map(|weight| weight.abs()).sum::<f32>() / count
    }
}

impl Chase {
    /// Non-zeros of all layers together after the decision of `step`.
    fn total(&self, step: u64) -> usize {
        let sum = |count: fn(&LayerSpec) -> usize| self.layers.iter().map(|layer| count(&layer.spec)).sum::<usize>();
        let (first, last) = (sum(|spec| spec.nnz), sum(|spec| spec.target));
        let left = 0.5 * (1.0 + (PI * self.ramp.done(step)).cos());
        last + (left * (first - last) as f64).round() as usize
    }

    /// Closes the weakest channels up to the schedule, as far as every layer's floor and the room for `total` allow.
    fn close(&mut self, step: u64, views: &[LayerView<'_>], total: usize) {
        let share = self.channel_sparsity * (1.0 - (1.0 - self.ramp.done(step)).powi(3));
        let closed: usize = self.layers.iter().map(|layer| layer.closed.len()).sum();
        let mut missing = ((share * self.channels as f64) as usize).saturating_sub(closed);
        let mut room = self.layers.iter().map(Layer::open_len).sum::<usize>() - total;

        let mut weakest = Vec::new();
        for (at, (layer, view)) in self.layers.iter().zip(views).enumerate() {
            let open = (0..layer.channels as u32).filter(|channel| layer.closed.binary_search(channel).is_err());
            weakest.extend(open.map(|channel| (layer.strength(channel, view), at, channel)));
        }
        weakest.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, at, channel) in weakest {
            let layer = &mut self.layers[at];
            if missing > 0 && layer.channels - layer.closed.len() > layer.floor && layer.row() <= room {
                layer.closed.push(channel);
                (missing, room) = (missing - 1, room - layer.row());
            }
        }
        self.layers.iter_mut().for_each(|layer| layer.closed.sort_unstable());
    }

    /// Where gradients are largest over all layers, outside closed and kept positions: as many as `total` has room for.
    fn grow(&self, views: &[LayerView<'_>], closed: &[Vec<u32>], kept: &[Vec<u32>], total: usize) -> Vec<Vec<u32>> {
        let taken = kept.iter().zip(closed).map(|(kept, closed)| union(kept, closed));
        let open: Vec<Vec<u32>> =
            self.layers.iter().zip(taken).map(|(layer, taken)| complement(layer.spec.len(), &taken)).collect();
        let gains = |(view, open): (&LayerView<'_>, &Vec<u32>)| match view.probe {
            Probe::Dense { gradients, .. } => select::magnitudes(&select::pick(gradients, open)),
            _ => vec![0.0; open.len()],
        };
        let gains: Vec<Vec<f32>> = views.iter().zip(&open).map(gains).collect();
        let largest = select::largest_over(&gains, total - kept.iter().map(Vec::len).sum::<usize>());
        open.iter().zip(&largest).map(|(open, entries)| select::pick(open, entries)).collect()
    }
}

impl Algorithm for Chase {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn needs(&self, step: u64, _layer: usize) -> Needs<'_> {
        if self.ramp.next(step) == Some(step) { Needs::Dense } else { Needs::Active }
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.ramp.next(step)
    }

    fn update(&mut self, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let total = self.total(step);
        self.close(step, views, total);
        let closed: Vec<Vec<u32>> = self.layers.iter().map(Layer::closed_positions).collect();
        let kept = keep(views, &closed, total - self.fraction.count(step, total));
        let grown = self.grow(views, &closed, &kept, total);
        let change = |(view, (kept, grown)): (&LayerView<'_>, (&Vec<u32>, &Vec<u32>))| {
            Change::net(&difference(view.active, kept), grown)
        };
        views.iter().zip(kept.iter().zip(&grown)).map(change).collect()
    }

    fn budget(&self, step: u64) -> Budget {
        Budget::Scheduled(self.total(step))
    }

    fn save(&self) -> State {
        let mut state = State::default();
        for (index, layer) in self.layers.iter().enumerate() {
            let flag = |channel| u32::from(layer.closed.binary_search(&channel).is_ok());
            state.u32s.insert(format!("closed.{index}"), (0..layer.channels as u32).map(flag).collect());
        }
        state
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let mut layers = self.layers.clone();
        for (index, layer) in layers.iter_mut().enumerate() {
            let name = format!("closed.{index}");
            let flags = of_length(&name, state.indices(&name)?, layer.channels)?;
            layer.closed = (0..layer.channels as u32).filter(|&channel| flags[channel as usize] != 0).collect();
        }
        self.layers = layers;
        Ok(())
    }
}

/// The `count` largest weights of all layers together outside the closed positions, or all if there are fewer.
fn keep(views: &[LayerView<'_>], closed: &[Vec<u32>], count: usize) -> Vec<Vec<u32>> {
    let left: Vec<Vec<u32>> = views.iter().zip(closed).map(|(view, closed)| difference(view.active, closed)).collect();
    let weights = |(view, left): (&LayerView<'_>, &Vec<u32>)| select::at(view.active, view.weights, left);
    let magnitudes: Vec<Vec<f32>> = views.iter().zip(&left).map(weights).map(|w| select::magnitudes(&w)).collect();
    let largest = select::largest_over(&magnitudes, count);
    left.iter().zip(&largest).map(|(left, entries)| select::pick(left, entries)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, view};

    #[test]
    fn the_weakest_channel_is_closed_for_good_and_its_budget_goes_to_the_largest_gradients() {
        let layers = [
            LayerSpec { nnz: 5, ..LayerSpec::new("a.weight", vec![2, 4], 4) },
            LayerSpec { nnz: 3, ..LayerSpec::new("b.weight", vec![2, 2, 1, 1], 2) },
        ];
        let params = Params {
            channel_sparsity: 0.5,
            drop_fraction: 0.4,
            update_interval: Some(10),
            stop: 0.25,
            ..Params::default()
        };
        let mut chase = build(params, &context(&layers, 100)).unwrap();
        // Decisions at 10 and 20; half way along the cosine 8 non-zeros have come to 7, at the end to 6.
        assert_eq!([chase.budget(10), chase.budget(20)], [7, 6].map(Budget::Scheduled));
        assert_eq!((chase.needs(10, 1), chase.needs(11, 1)), (Needs::Dense, Needs::Active));
        // 7/8 of the way from 0 to 2, one of four channels is closed: a's second, mean 0.2, rather than b's first, 0.3. Two
        // fifths below 7 are 5, so of the 6 others b1 goes, and 2 grow in open channels: a2 and b3.
        let (a, b) = ([0, 1, 3, 4, 7], [0, 1, 2]);
        let gradients = ([0.0, 0.0, 0.8, 0.0, 0.0, 9.0, 9.0, 0.0], [0.0, 0.0, 0.0, 0.1]);
        let views = [
            LayerView { probe: Probe::Dense { gradients: &gradients.0, share: 1.0 }, ..view(&a, &[0.9, 0.8, 0.7, 0.3, -0.1]) },
            LayerView { probe: Probe::Dense { gradients: &gradients.1, share: 1.0 }, ..view(&b, &[0.5, -0.1, 0.6]) },
        ];
        let changes = chase.update(10, &views);
        assert_eq!((&changes[0].dropped[..], &changes[0].grown[..]), (&[4, 7][..], &[2][..]));
        assert_eq!((&changes[1].dropped[..], &changes[1].grown[..]), (&[1][..], &[3][..]));
        assert_eq!(chase.save().u32s["closed.0"], [0, 1]);
    }

    #[test]
    fn no_class_of_the_output_layer_is_closed() {
        let layers = [LayerSpec::new("conv.weight", vec![2, 2, 1, 1], 2), LayerSpec::new("fc.weight", vec![4, 3], 6)];
        let params = Params { channel_sparsity: 1.0, min_channels: 0.0, update_interval: Some(10), ..Params::default() };
        let mut chase = build(params, &context(&layers, 100)).unwrap();
        let gradients = ([0.1; 4], [0.1; 12]);
        // The classifier's weights are the smallest, as its first ones are.
        let views = [
            LayerView { probe: Probe::Dense { gradients: &gradients.0, share: 1.0 }, ..view(&[0, 2], &[0.9, 0.8]) },
            LayerView { probe: Probe::Dense { gradients: &gradients.1, share: 1.0 }, ..view(&[0, 1, 3, 5, 7, 10], &[0.01; 6]) },
        ];
        chase.update(70, &views);
        let state = chase.save();
        assert_eq!((&state.u32s["closed.0"][..], &state.u32s["closed.1"][..]), (&[0, 1][..], &[0; 4][..]));
    }
}
