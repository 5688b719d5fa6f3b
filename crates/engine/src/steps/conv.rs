//! A convolution or linear layer; batch norm, activation and residual happen while its input is packed.

mod plans;

use super::input_gradient;
use crate::choice::{Choice, Policy};
use crate::plan::ConvPlan;
use crate::sparse_tensor::{Probe, SparseTensor};
use crate::state::State;
use bidst_kernels::{
    BackwardPlan, BackwardUnit, Chunks, ConvShape, DenseBackwardPlan, ForwardUnit, Pattern, Workers, moments,
};
pub(crate) use plans::{Backward, Forward};
use std::mem::take;
use std::ops::Range;
use std::time::Instant;

/// A convolution with its kernels.
pub(crate) struct Conv {
    plan: ConvPlan,
    /// Its place among the steps.
    at: usize,
    /// Tiles that work side by side.
    unit: usize,
    /// The norm that wants sums of the output.
    norm: Option<usize>,
    policy: Policy,
    choice: Choice,
    forward: Forward,
    backward: Backward,
    probe: ProbePlan,
    /// Version of the pattern that the plans were made for.
    version: u64,
}

/// What serves the tensor's probe beside a sparse backward pass; a dense one has the gradients of all positions anyway.
enum ProbePlan {
    None,
    Candidates { positions: Vec<u32>, backward: BackwardPlan },
    Dense(DenseBackwardPlan),
}

impl Conv {
    pub fn new(plan: ConvPlan, at: usize, tiles: usize, state: &State) -> Conv {
        let (shape, unit) = (plan.shape, plan.shape.tiles_per_unit(tiles));
        let weight = &state.weights[plan.weight];
        let norm = state.norms.iter().position(|norm| norm.plan.fused_moments && norm.plan.tensor == plan.output);
        let policy = Policy::Rule;
        let choice = policy.choose(weight.name(), &shape, weight.density());
        let forward = Forward::new(choice.forward, shape, unit, weight);
        let backward = Backward::new(choice.backward, shape, unit, weight);
        let (probe, version) = (ProbePlan::None, weight.version);
        Conv { plan, at, unit, norm, policy, choice, forward, backward, probe, version }
    }

    /// Bytes of the index streams and packed weights.
    pub fn plan_bytes(&self) -> usize {
        let probe = if let ProbePlan::Candidates { backward, .. } = &self.probe { backward.bytes() } else { 0 };
        self.forward.bytes() + self.backward.bytes() + probe
    }

    pub fn shape(&self) -> &ConvShape {
        &self.plan.shape
    }

    /// The value it reads.
    pub fn input(&self) -> usize {
        self.plan.input
    }

    /// Index of its weight tensor.
    pub fn weight(&self) -> usize {
        self.plan.weight
    }

    /// Tiles of a unit.
    pub fn unit(&self) -> usize {
        self.unit
    }

    /// Does anybody need the gradient of its input?
    pub fn has_input_gradient(&self) -> bool {
        self.plan.input_gradient.is_some()
    }

    /// The kernels in use.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Takes another policy.
    pub fn set_policy(&mut self, policy: Policy, weight: &SparseTensor) {
        self.policy = policy;
        self.replan(weight);
    }

    fn tiles(&self, unit: usize) -> Range<usize> {
        unit * self.unit..(unit + 1) * self.unit
    }

    fn follow_pattern(&mut self, state: &mut State) {
        let weight = &state.weights[self.plan.weight];
        if self.version != weight.version {
            let start = Instant::now();
            self.replan(weight);
            state.rebuild += start.elapsed();
        }
    }

    fn replan(&mut self, weight: &SparseTensor) {
        let shape = self.plan.shape;
        self.choice = self.policy.choose(weight.name(), &shape, weight.density());
        self.forward = Forward::new(self.choice.forward, shape, self.unit, weight);
        self.backward = Backward::new(self.choice.backward, shape, self.unit, weight);
        (self.probe, self.version) = (ProbePlan::None, weight.version);
    }

    pub fn forward(&mut self, state: &mut State, workers: &mut Workers) {
        self.follow_pattern(state);
        self.forward.refresh(&state.weights[self.plan.weight], &mut state.dense_weights);
        workers.reserve(self.forward.scratch_len());
        let (plan, shape) = (&self.plan, &self.plan.shape);
        let storage = state.values[plan.input].plan.storage;
        let (input, units) = (&state.values[plan.input].plan, state.tiles / self.unit);
        let kept_in = input.stored.filter(|_| plan.keep);
        let from_memory = input.kept_by.is_none_or(|keeper| keeper < self.at);
        let mut kept = kept_in.map(|tensor| take(&mut state.tensors[tensor])).unwrap_or_default();
        let mut output = take(&mut state.tensors[plan.output]);
        let norm = self.norm.filter(|_| state.training);
        let mut sums = norm.map(|norm| take(&mut state.norms[norm].moments)).unwrap_or_default();
        let channels = shape.output.channels;
        let bias = plan.bias.map_or(&[][..], |bias| &state.vectors[state.biases[bias]].values);
        let shared = &*state;
        workers.for_each(
            units,
            [
                Chunks::new(&mut output, storage.lanes(shape.output) * self.unit),
                Chunks::new(&mut kept, storage.lanes(shape.input) * self.unit),
            ],
            [Chunks::new(&mut sums, 2 * channels)],
            |unit, [output, keep], [moments], scratch| {
                let tiles = self.tiles(unit);
                let input = shared.mix(plan.input, from_memory, tiles.clone());
                let keep = plan.keep.then_some(keep);
                let masks = shared.masks(tiles);
                self.forward.run(shared.set, ForwardUnit { input, keep, bias, output, moments, masks, scratch });
            },
        );
        state.tensors[plan.output] = output;
        if let Some(tensor) = kept_in {
            state.tensors[tensor] = kept;
        }
        if let Some(norm) = norm {
            (state.norms[norm].moments, state.norms[norm].moment_units) = (sums, units);
        }
    }

    pub fn backward(&mut self, state: &mut State, workers: &mut Workers) {
        let Some((value, branch)) = state.reader_of(self.plan.output) else { return };
        let (probed, share) = self.probed_units(state);
        self.follow_probe(state);
        let (scratch, entries) = self.prepare_backward(&state.weights[self.plan.weight], &mut state.dense_weights);
        workers.reserve(scratch);
        let plan = &self.plan;
        let input_len = state.values[plan.input].plan.lanes() * self.unit;
        let own = self.backward.sums(&state.weights[plan.weight]);
        let units = state.tiles / self.unit;
        let mut partials = take(&mut state.partials);
        if partials.len() < units * entries {
            partials.resize(units * entries, 0.0);
        }
        let contribution = plan.input_gradient;
        let buffer = state.values[plan.input].plan.gradient.as_ref().map(|gradient| gradient.buffer);
        let mut output = buffer.map(|buffer| take(&mut state.gradients[buffer])).unwrap_or_default();
        let finishes = contribution.is_some_and(|contribution| contribution.finish.is_some());
        let mut sums = if finishes { take(&mut state.values[plan.input].sums) } else { Vec::new() };
        let sum_len = if sums.is_empty() { 0 } else { 3 * plan.shape.input.channels };
        let shared = &*state;
        workers.for_each(
            units,
            [Chunks::new(&mut output, input_len)],
            [Chunks::new(&mut partials, entries), Chunks::new(&mut sums, sum_len)],
            |unit, [output], [weights, sums], scratch| {
                let tiles = self.tiles(unit);
                let input_gradient = contribution
                    .map(|contribution| input_gradient(shared, plan.input, contribution, tiles.clone(), output, sums));
                let gradient = shared.term_gradient(value, branch, tiles.clone());
                let input = shared.mix(plan.input, true, tiles);
                let work = |weights| BackwardUnit { gradient, input, input_gradient, weights, scratch };
                match &self.probe {
                    ProbePlan::Candidates { backward, .. } if unit < probed => {
                        backward.run(shared.set, work(&mut weights[..backward.entries()]));
                    }
                    _ => self.backward.run(shared.set, work(&mut weights[..own])),
                }
            },
        );
        let mut probe_partials = take(&mut state.probe_partials);
        self.probe_everywhere(state, workers, &mut probe_partials, (value, branch), probed);
        if let Some(buffer) = buffer {
            state.gradients[buffer] = output;
        }
        if finishes {
            (state.values[plan.input].sums, state.values[plan.input].sum_units) = (sums, units);
        }
        let weight = &mut state.weights[plan.weight];
        self.collect(weight, &mut partials[..units * entries], &mut probe_partials, [probed, units], share);
        (state.partials, state.probe_partials) = (partials, probe_partials);
        self.bias_gradient(state, value, branch);
    }

    /// Takes the weights into the backward plans; returns the scratch they need and the most sums that a unit leaves.
    fn prepare_backward(&mut self, weight: &SparseTensor, buffer: &mut Vec<f32>) -> (usize, usize) {
        self.backward.refresh(weight, buffer);
        let (scratch, sums) = (self.backward.scratch_len(), self.backward.sums(weight));
        match &mut self.probe {
            ProbePlan::None => (scratch, sums),
            ProbePlan::Dense(dense) => (scratch.max(dense.scratch_len()), sums),
            ProbePlan::Candidates { backward, .. } => {
                backward.refresh(weight.values());
                (scratch.max(backward.scratch_len()), sums.max(backward.entries()))
            }
        }
    }

    /// How many units are probed, and which share of the batch's images that is.
    fn probed_units(&self, state: &State) -> (usize, f32) {
        let units = state.tiles / self.unit;
        let share = state.weights[self.plan.weight].probe_share;
        let probed = ((share * units as f32).ceil() as usize).clamp(1, units);
        let images = (self.tiles(probed - 1).end * bidst_kernels::LANES).min(state.images);
        (probed, images as f32 / state.images as f32)
    }

    fn follow_probe(&mut self, state: &mut State) {
        let (shape, unit, weight) = (self.plan.shape, self.unit, &state.weights[self.plan.weight]);
        match (&weight.probe, &self.probe) {
            _ if !matches!(self.backward, Backward::Sparse(_)) => {}
            (Probe::Candidates(new), ProbePlan::Candidates { positions, .. }) if new == positions => {}
            (Probe::Candidates(new), _) => {
                let start = Instant::now();
                let pattern = Pattern { active: weight.index(), candidates: new };
                let backward = BackwardPlan::new(shape, unit, pattern);
                self.probe = ProbePlan::Candidates { positions: new.clone(), backward };
                state.rebuild += start.elapsed();
            }
            (Probe::Dense, ProbePlan::Dense(_)) => {}
            (Probe::Dense, _) => self.probe = ProbePlan::Dense(DenseBackwardPlan::new(shape, unit)),
            (Probe::None, _) => self.probe = ProbePlan::None,
        }
    }

    /// Leaves the gradients of all positions, unit by unit, where a probe asks for them beside a sparse backward pass.
    fn probe_everywhere(
        &self,
        state: &State,
        workers: &mut Workers,
        partials: &mut Vec<f32>,
        (value, branch): (usize, usize),
        probed: usize,
    ) {
        let ProbePlan::Dense(dense) = &self.probe else { return };
        let len = self.plan.shape.weight_len();
        if partials.len() < probed * len {
            partials.resize(probed * len, 0.0);
        }
        workers.for_each(probed, [], [Chunks::new(partials, len)], |unit, [], [weights], scratch| {
            let tiles = self.tiles(unit);
            let gradient = state.term_gradient(value, branch, tiles.clone());
            let input = state.mix(self.plan.input, true, tiles);
            dense.run(state.set, BackwardUnit { gradient, input, input_gradient: None, weights, scratch });
        });
    }

    /// Adds up the units in order: gradients at the active positions, and of the probe on its share of the batch.
    fn collect(
        &self,
        weight: &mut SparseTensor,
        partials: &mut [f32],
        probe_partials: &mut [f32],
        [probed, units]: [usize; 2],
        share: f32,
    ) {
        let len = self.plan.shape.weight_len();
        let entries = partials.len() / units;
        weight.clear_gradients();
        match (&self.backward, &self.probe) {
            (Backward::Dense(_) | Backward::Depthwise(_), _) => {
                // The sums so far serve the probe on the way, so that it does not change how they are added up.
                let sums = fold(partials, entries, 0..probed);
                weight.read_probe(sums);
                let (sums, rest) = partials.split_at_mut(entries);
                add_parts(sums, &rest[(probed - 1) * entries..]);
                weight.read_gradients(sums);
            }
            (Backward::Sparse(backward), ProbePlan::Candidates { backward: with_candidates, .. }) => {
                let (gradients, candidates) = weight.gradients_mut();
                with_candidates.scatter(fold(partials, entries, 0..probed), gradients, candidates);
                if probed < units {
                    backward.scatter(fold(partials, entries, probed..units), gradients, &mut []);
                }
            }
            (Backward::Sparse(backward), probe) => {
                backward.scatter(fold(partials, entries, 0..units), weight.gradients_mut().0, &mut []);
                if let ProbePlan::Dense(_) = probe {
                    weight.read_probe(fold(probe_partials, len, 0..probed));
                }
            }
        }
        weight.gradients_mut().1.iter_mut().for_each(|gradient| *gradient /= share);
        weight.probed_share = share;
    }

    /// Σ of the output's gradient per channel; 0 where batch norm follows, which takes any constant away.
    fn bias_gradient(&self, state: &mut State, value: usize, branch: usize) {
        let Some(bias) = self.plan.bias.map(|bias| state.biases[bias]) else { return };
        if state.values[value].plan.terms[branch].norm.is_some() {
            return state.vectors[bias].gradients.fill(0.0);
        }
        let mut partials = take(&mut state.partials);
        let len = 2 * self.plan.shape.output.channels;
        if partials.len() < state.tiles * len {
            partials.resize(state.tiles * len, 0.0);
        }
        let sums = &mut partials[..state.tiles * len];
        for (tile, sums) in sums.chunks_exact_mut(len).enumerate() {
            let gradient = state.term_gradient(value, branch, tile..tile + 1);
            moments(state.set, self.plan.shape.output, (gradient.a.data, gradient.storage), &[], sums);
        }
        for (channel, gradient) in state.vectors[bias].gradients.iter_mut().enumerate() {
            *gradient = sums.iter().skip(2 * channel).step_by(len).map(|&sum| f64::from(sum)).sum::<f64>() as f32;
        }
        state.partials = partials;
    }
}

/// Adds the parts of `units` to the first of them, in order, and returns it.
fn fold(partials: &mut [f32], len: usize, units: Range<usize>) -> &[f32] {
    let (first, rest) = partials[units.start * len..units.end * len].split_at_mut(len);
    add_parts(first, rest);
    first
}

/// Adds to `sum` all parts of its length, in order.
fn add_parts(sum: &mut [f32], parts: &[f32]) {
    for part in parts.chunks_exact(sum.len().max(1)) {
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
}
