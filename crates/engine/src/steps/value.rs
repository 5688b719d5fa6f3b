//! What of a value no layer takes over: storing it forward, finishing its gradient backward.

use crate::plan::{BufferId, Contribution, ValueId};
use crate::state::State;
use crate::steps::input_gradient;
use bidst_kernels::{Bounds, Chunks, InputGradient, Rectify, Workers, mix, rectify};
use std::mem::take;

/// The own step of a value.
pub(crate) struct Store {
    pub value: ValueId,
}

impl Store {
    pub fn forward(&self, state: &mut State, workers: &mut Workers) {
        self.add_shifts(state);
        let plan = &state.values[self.value].plan;
        let Some(tensor) = plan.stored.filter(|_| plan.kept_by.is_none() && !plan.is_tensor()) else { return };
        let (plane, lanes) = (plan.plane, plan.lanes());
        let mut output = take(&mut state.tensors[tensor]);
        let shared = &*state;
        workers.for_each(state.tiles, [Chunks::new(&mut output, lanes)], [], |tile, [output], [], _| {
            mix(shared.set, plane, 1, shared.mix(self.value, false, tile..tile + 1), output);
        });
        state.tensors[tensor] = output;
    }

    fn add_shifts(&self, state: &mut State) {
        let value = &mut state.values[self.value];
        value.shift.fill(0.0);
        for norm in value.plan.terms.iter().filter_map(|term| term.norm) {
            value.shift.iter_mut().zip(&state.norms[norm].shift).for_each(|(sum, shift)| *sum += shift);
        }
    }

    pub fn backward(&self, state: &mut State, workers: &mut Workers) {
        let plan = &state.values[self.value].plan;
        let Some(gradient) = &plan.gradient else { return };
        let Some(pass) = &gradient.pass else { return };
        let has_norm = plan.terms.iter().any(|term| term.norm.is_some());
        if pass.adds.is_empty() && plan.bounds == Bounds::NONE && !has_norm {
            return;
        }
        let (plane, lanes, buffer) = (plan.plane, plan.lanes(), gradient.buffer);
        let (accumulate, early) = (pass.accumulate, pass.adds.len().saturating_sub(1));
        let finish = Contribution { accumulate: accumulate || early > 0, finish: Some(pass.adds.last().copied()) };
        let mut output = take(&mut state.gradients[buffer]);
        let mut sums = take(&mut state.values[self.value].sums);
        let sum_len = if has_norm { 3 * plane.channels } else { 0 };
        let shared = &*state;
        workers.reserve(3 * plane.channels);
        for (i, &add) in self.adds(shared)[..early].iter().enumerate() {
            workers.for_each(shared.tiles, [Chunks::new(&mut output, lanes)], [], |tile, [output], [], scratch| {
                let add = Some(shared.gradient(add, lanes, tile..tile + 1));
                let gradient = InputGradient { output, accumulate: accumulate || i > 0, add, finish: None };
                let value = shared.mix(self.value, true, tile..tile + 1);
                rectify(shared.set, Rectify { plane, tiles: 1, value, gradient }, scratch);
            });
        }
        workers.for_each(
            shared.tiles,
            [Chunks::new(&mut output, lanes)],
            [Chunks::new(&mut sums, sum_len)],
            |tile, [output], [sums], scratch| {
                let gradient = input_gradient(shared, self.value, finish, tile..tile + 1, output, sums);
                let value = shared.mix(self.value, true, tile..tile + 1);
                rectify(shared.set, Rectify { plane, tiles: 1, value, gradient }, scratch);
            },
        );
        let tiles = state.tiles;
        state.gradients[buffer] = output;
        (state.values[self.value].sums, state.values[self.value].sum_units) = (sums, tiles);
    }
    /// Other buffers whose gradients arrive here as they are.
    fn adds<'a>(&self, state: &'a State) -> &'a [BufferId] {
        let pass = state.values[self.value].plan.gradient.as_ref().and_then(|gradient| gradient.pass.as_ref());
        pass.map_or(&[], |pass| &pass.adds)
    }
}
