//! The fused steps: each file holds the forward and the backward side by side.

mod conv;
mod flatten;
mod norm;
mod pool;
mod value;

use crate::plan::{Contribution, StepPlan, ValueId};
use crate::state::State;
use bidst_kernels::{Finish, InputGradient, Lane, Workers};
use std::ops::Range;

pub(crate) use conv::{Backward, Conv, Forward};
use flatten::Flatten;
use norm::Norm;
use pool::Pooling;
use value::Store;

/// A step ready to run.
pub(crate) enum Step {
    /// Convolution or linear layer, with everything element-wise before it.
    Conv(Box<Conv>),
    /// From sums to per-channel constants.
    Norm(Norm),
    /// Whatever of a value no layer takes over.
    Store(Store),
    /// Max or average pooling.
    Pooling(Pooling),
    /// A change of shape.
    Flatten(Flatten),
}

impl Step {
    /// Makes a planned step ready, for batches of at most `tiles` tiles.
    pub fn new(plan: StepPlan, at: usize, tiles: usize, state: &State) -> Step {
        match plan {
            StepPlan::Conv(plan) => Step::Conv(Box::new(Conv::new(plan, at, tiles, state))),
            StepPlan::Norm(norm) => Step::Norm(Norm { norm }),
            StepPlan::Value(value) => Step::Store(Store { value }),
            StepPlan::Pool(plan) => Step::Pooling(Pooling { plan }),
            StepPlan::Flatten(plan) => Step::Flatten(Flatten { plan }),
        }
    }

    pub fn forward(&mut self, state: &mut State, workers: &mut Workers) {
        match self {
            Step::Conv(conv) => conv.forward(state, workers),
            Step::Norm(norm) => norm.forward(state, workers),
            Step::Store(store) => store.forward(state, workers),
            Step::Pooling(pooling) => pooling.forward(state, workers),
            Step::Flatten(flatten) => flatten.forward(state, workers),
        }
    }

    pub fn backward(&mut self, state: &mut State, workers: &mut Workers) {
        match self {
            Step::Conv(conv) => conv.backward(state, workers),
            Step::Norm(norm) => norm.backward(state, workers),
            Step::Store(store) => store.backward(state, workers),
            Step::Pooling(pooling) => pooling.backward(state, workers),
            Step::Flatten(flatten) => flatten.backward(state, workers),
        }
    }
}

/// What becomes of a value's gradient on some tiles, as the kernels want it.
fn input_gradient<'a>(
    state: &'a State,
    value: ValueId,
    contribution: Contribution,
    tiles: Range<usize>,
    output: &'a mut [Lane],
    sums: &'a mut [f32],
) -> InputGradient<'a> {
    let plan = &state.values[value].plan;
    let add = contribution.finish.flatten().map(|add| state.gradient(add, plan.lanes(), tiles.clone()));
    let finish =
        contribution.finish.map(|_| Finish { bounds: plan.bounds, norms: state.value_norms(value, tiles), sums });
    InputGradient { output, accumulate: contribution.accumulate, add, finish }
}
