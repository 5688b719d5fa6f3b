//! A convolution or linear layer; batch norm, activation and residual happen while its input is packed.

use super::input_gradient;
use crate::plan::ConvPlan;
use crate::sparse_tensor::{Probe, SparseTensor};
use crate::state::State;
use bidst_kernels::{
    BackwardPlan, BackwardUnit, Chunks, DenseGradientPlan, DenseGradientUnit, ForwardPlan, ForwardUnit, Pattern,
    Workers, moments,
};
use std::mem::take;
use std::ops::Range;

/// A convolution with its index streams.
pub(crate) struct Conv {
    plan: ConvPlan,
    /// Its place among the steps.
    at: usize,
    /// Tiles that work side by side.
    unit: usize,
    /// The norm that wants sums of the output.
    norm: Option<usize>,
    forward: ForwardPlan,
    backward: BackwardPlan,
    probe: ProbePlan,
    /// Version of the pattern that the streams were made for.
    version: u64,
}

/// What serves the tensor's probe.
enum ProbePlan {
    None,
    Candidates { positions: Vec<u32>, backward: BackwardPlan },
    Dense(DenseGradientPlan),
}

impl Conv {
    pub fn new(plan: ConvPlan, at: usize, tiles: usize, state: &State) -> Conv {
        let unit = plan.shape.tiles_per_unit(tiles);
        let weight = &state.weights[plan.weight];
        let norm = state.norms.iter().position(|norm| norm.plan.fused_moments && norm.plan.tensor == plan.output);
        let forward = ForwardPlan::new(plan.shape, unit, weight.index());
        let backward = backward_plan(&plan, unit, weight, &[]);
        Conv { plan, at, unit, norm, forward, backward, probe: ProbePlan::None, version: weight.version }
    }

    /// Bytes of the index streams.
    pub fn index_bytes(&self) -> usize {
        let probe = if let ProbePlan::Candidates { backward, .. } = &self.probe { backward.bytes() } else { 0 };
        self.forward.bytes() + self.backward.bytes() + probe
    }

    fn tiles(&self, unit: usize) -> Range<usize> {
        unit * self.unit..(unit + 1) * self.unit
    }

    fn follow_pattern(&mut self, weight: &SparseTensor) {
        if self.version != weight.version {
            self.forward = ForwardPlan::new(self.plan.shape, self.unit, weight.index());
            self.backward = backward_plan(&self.plan, self.unit, weight, &[]);
            (self.probe, self.version) = (ProbePlan::None, weight.version);
        }
    }

    pub fn forward(&mut self, state: &mut State, workers: &mut Workers) {
        self.follow_pattern(&state.weights[self.plan.weight]);
        self.forward.refresh(state.weights[self.plan.weight].values());
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
        let (scratch, entries) = self.prepare_backward(&state.weights[self.plan.weight]);
        workers.reserve(scratch);
        let plan = &self.plan;
        let input_len = state.values[plan.input].plan.lanes() * self.unit;
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
                let backward = match &self.probe {
                    ProbePlan::Candidates { backward, .. } if unit < probed => backward,
                    _ => &self.backward,
                };
                let input_gradient = contribution
                    .map(|contribution| input_gradient(shared, plan.input, contribution, tiles.clone(), output, sums));
                let unit = BackwardUnit {
                    gradient: shared.term_gradient(value, branch, tiles.clone()),
                    input: shared.mix(plan.input, true, tiles),
                    input_gradient,
                    weights: &mut weights[..backward.entries()],
                    scratch,
                };
                backward.run(shared.set, unit);
            },
        );
        let dense = self.dense_gradient(shared, workers, value, branch, probed);
        if let Some(buffer) = buffer {
            state.gradients[buffer] = output;
        }
        if finishes {
            (state.values[plan.input].sums, state.values[plan.input].sum_units) = (sums, units);
        }
        self.collect(state, &mut partials, entries, probed, share, dense);
        state.partials = partials;
        self.bias_gradient(state, value, branch);
    }

    /// Brings the backward plans up to date; returns the scratch they need and their largest number of entries.
    fn prepare_backward(&mut self, weight: &SparseTensor) -> (usize, usize) {
        self.follow_probe(weight);
        self.backward.refresh(weight.values());
        let (scratch, entries) = (self.backward.scratch_len(), self.backward.entries());
        match &mut self.probe {
            ProbePlan::None => (scratch, entries),
            ProbePlan::Dense(dense) => (scratch.max(dense.scratch_len()), entries),
            ProbePlan::Candidates { backward, .. } => {
                backward.refresh(weight.values());
                (scratch.max(backward.scratch_len()), entries.max(backward.entries()))
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

    fn follow_probe(&mut self, weight: &SparseTensor) {
        match (&weight.probe, &self.probe) {
            (Probe::Candidates(new), ProbePlan::Candidates { positions, .. }) if new == positions => {}
            (Probe::Candidates(new), _) => {
                let backward = backward_plan(&self.plan, self.unit, weight, new);
                self.probe = ProbePlan::Candidates { positions: new.clone(), backward };
            }
            (Probe::Dense, ProbePlan::Dense(_)) => {}
            (Probe::Dense, _) => self.probe = ProbePlan::Dense(DenseGradientPlan::new(self.plan.shape, self.unit)),
            (Probe::None, _) => self.probe = ProbePlan::None,
        }
    }

    /// Adds up the units in order.
    fn collect(
        &self,
        state: &mut State,
        partials: &mut [f32],
        entries: usize,
        probed: usize,
        share: f32,
        dense: Vec<f32>,
    ) {
        let (gradients, candidates) = state.weights[self.plan.weight].gradients_mut();
        gradients.fill(0.0);
        candidates.fill(0.0);
        let units = state.tiles / self.unit;
        let with_candidates = match &self.probe {
            ProbePlan::Candidates { backward, .. } => {
                let sums = fold(partials, entries, 0..probed);
                backward.scatter(sums, gradients, candidates);
                probed
            }
            _ => 0,
        };
        if with_candidates < units {
            let sums = fold(partials, entries, with_candidates..units);
            self.backward.scatter(sums, gradients, &mut []);
        }
        if !dense.is_empty() {
            candidates.copy_from_slice(&dense);
        }
        candidates.iter_mut().for_each(|gradient| *gradient /= share);
    }

    fn dense_gradient(
        &self,
        state: &State,
        workers: &mut Workers,
        value: usize,
        branch: usize,
        probed: usize,
    ) -> Vec<f32> {
        let ProbePlan::Dense(dense) = &self.probe else { return Vec::new() };
        let len = self.plan.shape.weight_len();
        let mut partials = vec![0.0; probed * len];
        workers.for_each(probed, [], [Chunks::new(&mut partials, len)], |unit, [], [weights], scratch| {
            let tiles = self.tiles(unit);
            let gradient = state.term_gradient(value, branch, tiles.clone());
            dense.run(
                state.set,
                DenseGradientUnit { gradient, input: state.mix(self.plan.input, true, tiles), weights, scratch },
            );
        });
        fold(&mut partials, len, 0..probed);
        partials.truncate(len);
        partials
    }

    /// Σ of the output's gradient per channel; 0 where batch norm follows, which takes any constant away.
    fn bias_gradient(&self, state: &mut State, value: usize, branch: usize) {
        let Some(bias) = self.plan.bias.map(|bias| state.biases[bias]) else { return };
        let channels = self.plan.shape.output.channels;
        let mut total = vec![0.0f64; channels];
        if state.values[value].plan.terms[branch].norm.is_none() {
            let mut sums = vec![0.0; 2 * channels];
            for tile in 0..state.tiles {
                let gradient = state.term_gradient(value, branch, tile..tile + 1);
                moments(state.set, self.plan.shape.output, (gradient.a.data, gradient.storage), &[], &mut sums);
                total.iter_mut().zip(sums.iter().step_by(2)).for_each(|(total, &sum)| *total += f64::from(sum));
            }
        }
        let gradients = &mut state.vectors[bias].gradients;
        gradients.iter_mut().zip(total).for_each(|(gradient, total)| *gradient = total as f32);
    }
}

fn backward_plan(plan: &ConvPlan, unit: usize, weight: &SparseTensor, candidates: &[u32]) -> BackwardPlan {
    BackwardPlan::new(plan.shape, unit, Pattern { active: weight.index(), candidates })
}

/// Adds the parts of `units` to the first of them, in order, and returns it.
fn fold(partials: &mut [f32], len: usize, units: Range<usize>) -> &[f32] {
    let (first, rest) = partials[units.start * len..units.end * len].split_at_mut(len);
    for part in rest.chunks_exact(len.max(1)) {
        first.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    first
}
