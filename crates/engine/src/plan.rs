//! A graph rewritten into a handful of fused step kinds.
//!
//! The rewriting knows two things. *Tensors* are what lies in memory: the images, the raw output of every convolution
//! and pooling. *Values* are what layers read: `clamp(Σ terms)`, where a term is a tensor, normalised or plain. Batch
//! norm, ReLU and the residual therefore cost no pass of their own: they are the recipe by which the next convolution
//! packs its input. A value is stored only if somebody needs it as a whole: a residual, a pooling, the loss.
//!
//! ```text
//! conv → bn → relu → conv            one value with one term
//! conv → bn ─┐
//!            add → relu → conv       one value with two terms, stored while it is packed
//! input ─────┘
//! ```
//!
//! What no pattern matches becomes a value of its own, stored by a pass of its own, and is right all the same.

mod gradients;
mod lower;
mod storage;

use bidst_kernels::{Bounds, ConvShape, Plane, Pool, Storage};
use bidst_model::Graph;

/// Index of a tensor of activations.
pub(crate) type TensorId = usize;
/// Index of a [`Value`].
pub(crate) type ValueId = usize;
/// Index of a [`NormPlan`].
pub(crate) type NormId = usize;
/// Index of a buffer of gradients.
pub(crate) type BufferId = usize;

/// The plan of a network.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub steps: Vec<StepPlan>,
    pub values: Vec<Value>,
    pub norms: Vec<NormPlan>,
    pub tensors: Vec<Plane>,
    /// How each tensor is stored.
    pub storages: Vec<Storage>,
    /// Lanes per tile of each buffer of gradients.
    pub buffers: Vec<usize>,
    /// The logits.
    pub output: ValueId,
}

/// One step, in the order of the forward pass; the backward pass walks the other way.
#[derive(Debug)]
pub(crate) enum StepPlan {
    Conv(ConvPlan),
    Norm(NormId),
    Value(ValueId),
    Pool(PoolPlan),
    Flatten(FlattenPlan),
}

/// A convolution or a linear layer.
#[derive(Debug)]
pub(crate) struct ConvPlan {
    pub shape: ConvShape,
    /// Index among the graph's weights.
    pub weight: usize,
    /// Index among the graph's biases.
    pub bias: Option<usize>,
    pub input: ValueId,
    pub output: TensorId,
    /// Stores the input value while packing it.
    pub keep: bool,
    pub input_gradient: Option<Contribution>,
}

/// Max or average pooling.
#[derive(Debug)]
pub(crate) struct PoolPlan {
    pub pool: Pool,
    pub input: ValueId,
    pub output: TensorId,
    pub input_gradient: Option<Contribution>,
}

/// A change of shape, which is a copy in another order.
#[derive(Debug)]
pub(crate) struct FlattenPlan {
    pub input: ValueId,
    pub output: TensorId,
    pub input_gradient: Option<Contribution>,
}

/// What a layer does with the gradient of its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contribution {
    /// Adds to what later layers already left in the buffer.
    pub accumulate: bool,
    /// Finishes the value's gradient, with another buffer added first.
    pub finish: Option<Option<BufferId>>,
}

/// `clamp(Σ terms)`.
#[derive(Debug)]
pub(crate) struct Value {
    pub plane: Plane,
    /// How its terms and its gradient are stored, and it itself if it is.
    pub storage: Storage,
    pub terms: Vec<Term>,
    pub bounds: Bounds,
    /// Where the value lies in memory, if it does.
    pub stored: Option<TensorId>,
    /// Stored by the convolution at this step instead of by a pass of its own.
    pub kept_by: Option<usize>,
    /// Its place among the steps.
    pub step: usize,
    pub gradient: Option<GradientPlan>,
}

/// One operand of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub tensor: TensorId,
    pub norm: Option<NormId>,
    /// The value that the tensor stores, if it is not the output of a layer made for this term.
    pub of: Option<ValueId>,
}

/// Batch norm of one tensor.
#[derive(Debug)]
pub(crate) struct NormPlan {
    pub tensor: TensorId,
    pub value: ValueId,
    /// Which term of the value.
    pub branch: usize,
    pub epsilon: f32,
    pub momentum: f32,
    /// Sums of the tensor come from the convolution that makes it.
    pub fused_moments: bool,
    /// The tensor's own gradient, where no convolution can form it while packing.
    pub gradient: Option<BufferId>,
}

/// How the gradient of a value comes about.
#[derive(Debug)]
pub(crate) struct GradientPlan {
    pub buffer: BufferId,
    /// What a pass of the value's own has to do; `None` if a convolution finishes the gradient.
    pub pass: Option<GradientPass>,
}

/// The gradient's own pass.
#[derive(Debug)]
pub(crate) struct GradientPass {
    /// The buffer already holds contributions.
    pub accumulate: bool,
    /// Other buffers to add.
    pub adds: Vec<BufferId>,
}

/// [`Value::step`] of a value that may still be extended; those merged into another one keep it.
const OPEN: usize = usize::MAX;

impl Value {
    /// Is it more than a part of another value?
    pub fn is_live(&self) -> bool {
        self.step != OPEN
    }

    /// Lanes that one tile of it takes.
    pub fn lanes(&self) -> usize {
        self.storage.lanes(self.plane)
    }

    /// Is it nothing but one tensor?
    pub fn is_tensor(&self) -> bool {
        matches!(self.terms[..], [Term { norm: None, .. }]) && self.bounds == Bounds::NONE
    }
}

impl Plan {
    /// Rewrites `graph`; activations are stored as `wanted` where that may be.
    pub fn new(graph: &Graph, wanted: Storage) -> Plan {
        let mut plan = lower::lower(graph);
        storage::plan(&mut plan, wanted);
        gradients::plan(&mut plan);
        plan
    }

    /// The convolutions and linear layers.
    pub fn convolutions(&self) -> Vec<ConvShape> {
        let shape = |step: &StepPlan| if let StepPlan::Conv(conv) = step { Some(conv.shape) } else { None };
        self.steps.iter().filter_map(shape).collect()
    }

    fn inputs(&self) -> impl DoubleEndedIterator<Item = (usize, ValueId)> + '_ {
        self.steps.iter().enumerate().filter_map(|(at, step)| match step {
            StepPlan::Conv(conv) => Some((at, conv.input)),
            StepPlan::Pool(pool) => Some((at, pool.input)),
            StepPlan::Flatten(flatten) => Some((at, flatten.input)),
            StepPlan::Norm(_) | StepPlan::Value(_) => None,
        })
    }
}
