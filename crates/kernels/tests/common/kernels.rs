//! The sparse, the dense and the depthwise kernels behind one face.

use super::Convolution;
use bidst_kernels::*;

/// A planned forward pass.
pub enum Forward {
    Sparse(ForwardPlan),
    Dense(DenseForwardPlan),
    Depthwise(DepthwiseForwardPlan),
}

impl Forward {
    pub fn sparse(conv: &Convolution) -> Forward {
        let mut plan = ForwardPlan::new(conv.shape, conv.unit, &conv.weights.active);
        plan.refresh(&conv.weights.values);
        Forward::Sparse(plan)
    }

    pub fn dense(conv: &Convolution) -> Forward {
        let mut plan = DenseForwardPlan::new(conv.shape, conv.unit);
        plan.refresh(&conv.dense_weights());
        Forward::Dense(plan)
    }

    pub fn depthwise(conv: &Convolution) -> Forward {
        let mut plan = DepthwiseForwardPlan::new(conv.shape, conv.unit);
        plan.refresh(&conv.dense_weights());
        Forward::Depthwise(plan)
    }

    pub fn scratch_len(&self) -> usize {
        match self {
            Forward::Sparse(plan) => plan.scratch_len(),
            Forward::Dense(plan) => plan.scratch_len(),
            Forward::Depthwise(plan) => plan.scratch_len(),
        }
    }

    pub fn run(&self, set: InstructionSet, unit: ForwardUnit<'_>) {
        match self {
            Forward::Sparse(plan) => plan.run(set, unit),
            Forward::Dense(plan) => plan.run(set, unit),
            Forward::Depthwise(plan) => plan.run(set, unit),
        }
    }
}

/// A planned backward pass.
pub enum Backward {
    Sparse(BackwardPlan),
    Dense(DenseBackwardPlan),
    Depthwise(DepthwiseBackwardPlan),
}

impl Backward {
    pub fn sparse(conv: &Convolution) -> Backward {
        let weights = &conv.weights;
        let pattern = Pattern { active: &weights.active, candidates: &weights.candidates };
        let mut plan = BackwardPlan::new(conv.shape, conv.unit, pattern);
        plan.refresh(&weights.values);
        Backward::Sparse(plan)
    }

    pub fn dense(conv: &Convolution) -> Backward {
        let mut plan = DenseBackwardPlan::new(conv.shape, conv.unit);
        plan.refresh(&conv.dense_weights());
        Backward::Dense(plan)
    }

    pub fn depthwise(conv: &Convolution) -> Backward {
        let mut plan = DepthwiseBackwardPlan::new(conv.shape, conv.unit);
        plan.refresh(&conv.dense_weights());
        Backward::Depthwise(plan)
    }

    /// Sums of weights that a unit leaves.
    pub fn sums(&self, conv: &Convolution) -> usize {
        match self {
            Backward::Sparse(plan) => plan.entries(),
            Backward::Dense(_) | Backward::Depthwise(_) => conv.shape.weight_len(),
        }
    }

    pub fn scratch_len(&self) -> usize {
        match self {
            Backward::Sparse(plan) => plan.scratch_len(),
            Backward::Dense(plan) => plan.scratch_len(),
            Backward::Depthwise(plan) => plan.scratch_len(),
        }
    }

    pub fn run(&self, set: InstructionSet, unit: BackwardUnit<'_>) {
        match self {
            Backward::Sparse(plan) => plan.run(set, unit),
            Backward::Dense(plan) => plan.run(set, unit),
            Backward::Depthwise(plan) => plan.run(set, unit),
        }
    }

    /// Adds the sums of a unit to what the gradients of active weights and of candidates hold.
    pub fn scatter(&self, conv: &Convolution, sums: &[f32], active: &mut [f32], candidates: &mut [f32]) {
        match self {
            Backward::Sparse(plan) => plan.scatter(sums, active, candidates),
            Backward::Dense(_) | Backward::Depthwise(_) => {
                for (positions, gradients) in [(&conv.weights.active, active), (&conv.weights.candidates, candidates)] {
                    gradients.iter_mut().zip(positions).for_each(|(to, &at)| *to += sums[at as usize]);
                }
            }
        }
    }
}
