//! `C × H × W` to `C·H·W × 1 × 1`: a copy in another order.

use crate::plan::FlattenPlan;
use crate::state::State;
use bidst_kernels::{Chunks, Plane, Workers};
use std::mem::take;

/// A change of shape.
pub(crate) struct Flatten {
    pub plan: FlattenPlan,
}

impl Flatten {
    pub fn forward(&self, state: &mut State, workers: &mut Workers) {
        let plane = state.values[self.plan.input].plan.plane;
        let mut output = take(&mut state.tensors[self.plan.output]);
        let shared = &*state;
        workers.for_each(state.tiles, [Chunks::new(&mut output, plane.len())], [], |tile, [output], [], _| {
            let input = shared.mix(self.plan.input, true, tile..tile + 1).a.data;
            places(plane).for_each(|(from, to)| output[to] = input[from]);
        });
        state.tensors[self.plan.output] = output;
    }

    pub fn backward(&self, state: &mut State, workers: &mut Workers) {
        let plane = state.values[self.plan.input].plan.plane;
        let Some(contribution) = self.plan.input_gradient else { return };
        let Some((buffer, from)) = state.layer_gradients(self.plan.input, self.plan.output) else { return };
        let mut output = take(&mut state.gradients[buffer]);
        let shared = &*state;
        workers.for_each(state.tiles, [Chunks::new(&mut output, plane.len())], [], |tile, [output], [], _| {
            let gradient = shared.gradient(from, plane.len(), tile..tile + 1);
            for (to, from) in places(plane) {
                match contribution.accumulate {
                    true => output[to].0.iter_mut().zip(gradient[from].0).for_each(|(sum, g)| *sum += g),
                    false => output[to] = gradient[from],
                }
            }
        });
        state.gradients[buffer] = output;
    }
}

/// Every element's lane in the plane and in the flat tensor.
fn places(plane: Plane) -> impl Iterator<Item = (usize, usize)> {
    let Plane { channels, height, width } = plane;
    (0..plane.len()).map(move |at| {
        let (row, channel, column) = (at / width / channels, at / width % channels, at % width);
        (at, (channel * height + row) * width + column)
    })
}
