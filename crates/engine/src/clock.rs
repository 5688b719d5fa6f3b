//! Where the time of a step goes, part by part.

use crate::plan::{Plan, StepPlan};
use std::time::{Duration, Instant};

/// What a part of a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartKind {
    /// Lays the images out in tiles.
    Input,
    /// A convolution or linear layer, with the element-wise work that is fused into it.
    Layer {
        /// Index of its weight tensor.
        weight: usize,
        /// Whether its backward pass also forms the gradient of its input.
        input_gradient: bool,
    },
    /// Batch norm between its sums and its constants.
    Norm,
    /// A residual or an activation function that no layer takes over.
    Value,
    /// Pooling.
    Pool,
    /// A change of shape.
    Flatten,
    /// Softmax, cross-entropy and their gradient.
    Loss,
}

/// Time of one part in the last step, on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartTiming {
    /// What it does.
    pub kind: PartKind,
    /// Its forward pass.
    pub forward: Duration,
    /// Its backward pass.
    pub backward: Duration,
}

/// Times every part while it is switched on.
#[derive(Debug)]
pub(crate) struct Clock {
    pub on: bool,
    /// The input, the steps of the plan, the loss.
    pub parts: Vec<PartTiming>,
}

impl Clock {
    /// [`Clock::parts`] index of the input; step `i` of the plan is part `i + 1`.
    pub const INPUT: usize = 0;

    pub fn new(plan: &Plan) -> Clock {
        let kind = |step: &StepPlan| match step {
            StepPlan::Conv(conv) => {
                PartKind::Layer { weight: conv.weight, input_gradient: conv.input_gradient.is_some() }
            }
            StepPlan::Norm(_) => PartKind::Norm,
            StepPlan::Value(_) => PartKind::Value,
            StepPlan::Pool(_) => PartKind::Pool,
            StepPlan::Flatten(_) => PartKind::Flatten,
        };
        let kinds = [PartKind::Input].into_iter().chain(plan.steps.iter().map(kind)).chain([PartKind::Loss]);
        let part = |kind| PartTiming { kind, forward: Duration::ZERO, backward: Duration::ZERO };
        Clock { on: false, parts: kinds.map(part).collect() }
    }

    /// Index of the loss.
    pub fn loss(&self) -> usize {
        self.parts.len() - 1
    }

    /// The time now, if anybody wants to know.
    pub fn start(&self) -> Option<Instant> {
        self.on.then(Instant::now)
    }

    pub fn forward(&mut self, part: usize, start: Option<Instant>) {
        if let Some(start) = start {
            self.parts[part].forward = start.elapsed();
        }
    }

    pub fn backward(&mut self, part: usize, start: Option<Instant>) {
        if let Some(start) = start {
            self.parts[part].backward = start.elapsed();
        }
    }
}
