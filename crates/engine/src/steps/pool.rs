//! Max and average pooling, tile by tile.

use crate::plan::PoolPlan;
use crate::state::State;
use bidst_kernels::{Chunks, Workers};
use std::mem::take;

/// A pooling layer.
pub(crate) struct Pooling {
    pub plan: PoolPlan,
}

impl Pooling {
    pub fn forward(&self, state: &mut State, workers: &mut Workers) {
        let (plan, pool) = (&self.plan, &self.plan.pool);
        let lanes = pool.storage[1].lanes(pool.output);
        let mut output = take(&mut state.tensors[plan.output]);
        let shared = &*state;
        workers.for_each(state.tiles, [Chunks::new(&mut output, lanes)], [], |tile, [output], [], _| {
            pool.forward(shared.set, shared.mix(plan.input, true, tile..tile + 1).a.data, output);
        });
        state.tensors[plan.output] = output;
    }

    pub fn backward(&self, state: &mut State, workers: &mut Workers) {
        let (plan, pool) = (&self.plan, &self.plan.pool);
        let Some(contribution) = plan.input_gradient else { return };
        let Some((buffer, from)) = state.layer_gradients(plan.input, plan.output) else { return };
        let [input_lanes, lanes] = [pool.storage[0].lanes(pool.input), pool.storage[1].lanes(pool.output)];
        let mut output = take(&mut state.gradients[buffer]);
        let shared = &*state;
        workers.for_each(state.tiles, [Chunks::new(&mut output, input_lanes)], [], |tile, [output], [], _| {
            let input = shared.mix(plan.input, true, tile..tile + 1).a.data;
            let values = (input, shared.tensor(plan.output, lanes, tile..tile + 1));
            let gradient = shared.gradient(from, lanes, tile..tile + 1);
            pool.backward(shared.set, values, gradient, contribution.accumulate, output);
        });
        state.gradients[buffer] = output;
    }
}
