//! `C × H × W` to `C·H·W × 1 × 1`: a copy in another order; what is flat is f32.

use crate::plan::FlattenPlan;
use crate::state::State;
use bidst_kernels::{Chunks, Plane, Storage, Workers};
use std::mem::take;

/// A change of shape.
pub(crate) struct Flatten {
    pub plan: FlattenPlan,
}

impl Flatten {
    pub fn forward(&self, state: &mut State, workers: &mut Workers) {
        let (plane, storage) = self.input(state);
        let mut output = take(&mut state.tensors[self.plan.output]);
        let shared = &*state;
        workers.for_each(state.tiles, [Chunks::new(&mut output, plane.len())], [], |tile, [output], [], _| {
            let input = shared.mix(self.plan.input, true, tile..tile + 1);
            places(plane).for_each(|(from, to)| output[to] = storage.get(input.a.data, from));
        });
        state.tensors[self.plan.output] = output;
    }

    pub fn backward(&self, state: &mut State, workers: &mut Workers) {
        let (plane, storage) = self.input(state);
        let Some(contribution) = self.plan.input_gradient else { return };
        let Some((buffer, from)) = state.layer_gradients(self.plan.input, self.plan.output) else { return };
        let mut output = take(&mut state.gradients[buffer]);
        let shared = &*state;
        let lanes = storage.lanes(plane);
        workers.for_each(state.tiles, [Chunks::new(&mut output, lanes)], [], |tile, [output], [], _| {
            let gradient = shared.gradient(from, plane.len(), tile..tile + 1);
            for (to, from) in places(plane) {
                let mut sum = gradient[from];
                if contribution.accumulate {
                    sum.0.iter_mut().zip(storage.get(output, to).0).for_each(|(sum, already)| *sum += already);
                }
                storage.set(output, to, sum);
            }
        });
        state.gradients[buffer] = output;
    }
}

impl Flatten {
    fn input(&self, state: &State) -> (Plane, Storage) {
        let value = &state.values[self.plan.input].plan;
        (value.plane, value.storage)
    }
}

/// Every element's place in the plane and in the flat tensor.
fn places(plane: Plane) -> impl Iterator<Item = (usize, usize)> {
    let Plane { channels, height, width } = plane;
    (0..plane.len()).map(move |at| {
        let (row, channel, column) = (at / width / channels, at / width % channels, at % width);
        (at, (channel * height + row) * width + column)
    })
}
