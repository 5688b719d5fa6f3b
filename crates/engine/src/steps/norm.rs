//! Batch norm, between the sums and the constants per channel; the element-wise work is part of its neighbours.

use crate::state::{NormState, State};
use bidst_kernels::{Chunks, Workers, mix, moments};
use std::mem::take;

/// Batch norm of one tensor.
pub(crate) struct Norm {
    pub norm: usize,
}

impl Norm {
    /// From Σz and Σz² (or the running statistics) to scale and shift.
    pub fn forward(&self, state: &mut State, workers: &mut Workers) {
        if state.training && !state.norms[self.norm].plan.fused_moments {
            self.moments(state, workers);
        }
        let norm = &mut state.norms[self.norm];
        let [gamma, beta, running_mean, running_variance] = &mut state.vectors[norm.vector..norm.vector + 4] else {
            unreachable!("every norm has four vectors")
        };
        let (epsilon, momentum) = (f64::from(norm.plan.epsilon), f64::from(norm.plan.momentum));
        let value = &state.values[norm.plan.value].plan;
        let count = (state.images * value.plane.height * value.plane.width) as f64;
        for channel in 0..norm.scale.len() {
            let (mean, variance) = if state.training {
                let [sum, squares] = [0, 1].map(|which| norm.moment(channel, which));
                let mean = sum / count;
                let variance = (squares / count - mean * mean).max(0.0);
                let unbiased = if count > 1.0 { variance * count / (count - 1.0) } else { variance };
                for (running, batch) in [(&mut *running_mean, mean), (&mut *running_variance, unbiased)] {
                    let running = &mut running.values[channel];
                    *running = ((1.0 - momentum) * f64::from(*running) + momentum * batch) as f32;
                }
                (mean, variance)
            } else {
                (f64::from(running_mean.values[channel]), f64::from(running_variance.values[channel]))
            };
            let inverse = 1.0 / (variance + epsilon).sqrt();
            let scale = f64::from(gamma.values[channel]) * inverse;
            norm.scale[channel] = scale as f32;
            norm.shift[channel] = (f64::from(beta.values[channel]) - mean * scale) as f32;
            norm.inverse[channel] = inverse as f32;
            norm.offset[channel] = (-mean * inverse) as f32;
        }
    }

    /// From Σg and Σg·x̂ to the gradients of scale and shift, and to `dz = A·g + B·z + C`:
    /// `A = γ/σ`, `B = −A·Σgx̂/(σn)`, `C = −A·Σg/n − B·mean`.
    pub fn backward(&self, state: &mut State, workers: &mut Workers) {
        let norm = &mut state.norms[self.norm];
        let value = &state.values[norm.plan.value];
        if value.plan.gradient.is_none() {
            return;
        }
        let plane = value.plan.plane;
        let which = 1 + value.plan.terms[..norm.plan.branch].iter().filter(|term| term.norm.is_some()).count();
        // Running statistics do not move with the input, as if the batch were infinite.
        let count = if state.training { (state.images * plane.height * plane.width) as f64 } else { f64::INFINITY };
        for channel in 0..plane.channels {
            let sum = |which: usize| -> f64 {
                let units = value.sums.iter().skip(3 * channel + which).step_by(3 * plane.channels);
                units.take(value.sum_units).map(|&sum| f64::from(sum)).sum()
            };
            let [sum_g, sum_gx] = [sum(0), sum(which)];
            let (inverse, offset) = (f64::from(norm.inverse[channel]), f64::from(norm.offset[channel]));
            let from_gradient = f64::from(state.vectors[norm.vector].values[channel]) * inverse;
            // x̂ = inverse·z + offset, so −A/n·(Σg + x̂·Σgx̂) falls apart into B·z + C.
            norm.from_gradient[channel] = from_gradient as f32;
            norm.from_input[channel] = (-from_gradient * sum_gx / count * inverse) as f32;
            norm.constant[channel] = (-from_gradient / count * (sum_g + sum_gx * offset)) as f32;
            state.vectors[norm.vector].gradients[channel] = sum_gx as f32;
            state.vectors[norm.vector + 1].gradients[channel] = sum_g as f32;
        }
        self.own_gradient(state, workers);
    }

    fn moments(&self, state: &mut State, workers: &mut Workers) {
        let mut sums = take(&mut state.norms[self.norm].moments);
        let plan = &state.norms[self.norm].plan;
        let value = &state.values[plan.value].plan;
        let (plane, lanes, storage) = (value.plane, value.lanes(), value.storage);
        let shared = &*state;
        workers.for_each(state.tiles, [], [Chunks::new(&mut sums, 2 * plane.channels)], |tile, [], [sums], _| {
            let data = shared.tensor(plan.tensor, lanes, tile..tile + 1);
            moments(shared.set, plane, (data, storage), shared.masks(tile..tile + 1), sums);
        });
        let tiles = state.tiles;
        (state.norms[self.norm].moments, state.norms[self.norm].moment_units) = (sums, tiles);
    }

    /// Writes dz where no convolution forms it while packing.
    fn own_gradient(&self, state: &mut State, workers: &mut Workers) {
        let plan = &state.norms[self.norm].plan;
        let Some(buffer) = plan.gradient else { return };
        let value = &state.values[plan.value].plan;
        let (plane, lanes) = (value.plane, value.lanes());
        let mut output = take(&mut state.gradients[buffer]);
        let shared = &*state;
        workers.for_each(state.tiles, [Chunks::new(&mut output, lanes)], [], |tile, [output], [], _| {
            let gradient = shared.term_gradient(plan.value, plan.branch, tile..tile + 1);
            mix(shared.set, plane, 1, gradient, output);
        });
        state.gradients[buffer] = output;
    }
}

impl NormState {
    fn moment(&self, channel: usize, which: usize) -> f64 {
        let units = self.moments.iter().skip(2 * channel + which).step_by(2 * self.scale.len());
        units.take(self.moment_units).map(|&sum| f64::from(sum)).sum()
    }
}
