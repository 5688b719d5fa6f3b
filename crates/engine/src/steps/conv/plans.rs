//! The sparse, the dense and the depthwise kernels of a convolution behind one face.

use crate::choice::Kernel;
use crate::sparse_tensor::SparseTensor;
use bidst_kernels::{
    BackwardPlan, BackwardUnit, ConvShape, DenseBackwardPlan, DenseForwardPlan, DepthwiseBackwardPlan,
    DepthwiseForwardPlan, ForwardPlan, ForwardUnit, InstructionSet, Pattern,
};

/// The forward pass.
pub(crate) enum Forward {
    Sparse(ForwardPlan),
    Dense(DenseForwardPlan),
    Depthwise(DepthwiseForwardPlan),
}

impl Forward {
    pub fn new(kernel: Kernel, shape: ConvShape, unit: usize, weight: &SparseTensor) -> Forward {
        match kernel {
            Kernel::Sparse => Forward::Sparse(ForwardPlan::new(shape, unit, weight.index())),
            Kernel::Dense if shape.is_depthwise() => Forward::Depthwise(DepthwiseForwardPlan::new(shape, unit)),
            Kernel::Dense => Forward::Dense(DenseForwardPlan::new(shape, unit)),
        }
    }

    /// Takes over the current weights; `buffer` is for their zeros.
    pub fn refresh(&mut self, weight: &SparseTensor, buffer: &mut Vec<f32>) {
        match self {
            Forward::Sparse(plan) => plan.refresh(weight.values()),
            Forward::Dense(plan) => plan.refresh(with_zeros(weight, buffer)),
            Forward::Depthwise(plan) => plan.refresh(with_zeros(weight, buffer)),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Forward::Sparse(plan) => plan.bytes(),
            Forward::Dense(plan) => plan.bytes(),
            Forward::Depthwise(plan) => plan.bytes(),
        }
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

/// The backward pass.
pub(crate) enum Backward {
    Sparse(BackwardPlan),
    Dense(DenseBackwardPlan),
    Depthwise(DepthwiseBackwardPlan),
}

impl Backward {
    pub fn new(kernel: Kernel, shape: ConvShape, unit: usize, weight: &SparseTensor) -> Backward {
        match kernel {
            Kernel::Sparse => {
                Backward::Sparse(BackwardPlan::new(shape, unit, Pattern { active: weight.index(), candidates: &[] }))
            }
            Kernel::Dense if shape.is_depthwise() => Backward::Depthwise(DepthwiseBackwardPlan::new(shape, unit)),
            Kernel::Dense => Backward::Dense(DenseBackwardPlan::new(shape, unit)),
        }
    }

    /// Takes over the current weights; `buffer` is for their zeros.
    pub fn refresh(&mut self, weight: &SparseTensor, buffer: &mut Vec<f32>) {
        match self {
            Backward::Sparse(plan) => plan.refresh(weight.values()),
            Backward::Dense(plan) => plan.refresh(with_zeros(weight, buffer)),
            Backward::Depthwise(plan) => plan.refresh(with_zeros(weight, buffer)),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Backward::Sparse(plan) => plan.bytes(),
            Backward::Dense(plan) => plan.bytes(),
            Backward::Depthwise(plan) => plan.bytes(),
        }
    }

    pub fn scratch_len(&self) -> usize {
        match self {
            Backward::Sparse(plan) => plan.scratch_len(),
            Backward::Dense(plan) => plan.scratch_len(),
            Backward::Depthwise(plan) => plan.scratch_len(),
        }
    }

    /// Weight gradients that a unit leaves: of the active positions, or of all.
    pub fn sums(&self, weight: &SparseTensor) -> usize {
        match self {
            Backward::Sparse(plan) => plan.entries(),
            Backward::Dense(_) | Backward::Depthwise(_) => weight.len(),
        }
    }

    pub fn run(&self, set: InstructionSet, unit: BackwardUnit<'_>) {
        match self {
            Backward::Sparse(plan) => plan.run(set, unit),
            Backward::Dense(plan) => plan.run(set, unit),
            Backward::Depthwise(plan) => plan.run(set, unit),
        }
    }
}

/// The values of all positions.
fn with_zeros<'a>(weight: &'a SparseTensor, buffer: &'a mut Vec<f32>) -> &'a [f32] {
    if weight.is_dense() {
        return weight.values();
    }
    buffer.clear();
    buffer.resize(weight.len(), 0.0);
    for (&at, &value) in weight.index().iter().zip(weight.values()) {
        buffer[at as usize] = value;
    }
    buffer
}
