//! The interface between a training loop and an algorithm that moves the mask.

use crate::{AlgorithmError, Change, Pattern, Scorer, StartError, State, StateError};

/// A weight tensor whose pattern the algorithm owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// Name of the tensor, for messages.
    pub name: String,
    /// `[O, I, KH, KW]` or `[O, I]`; flat indices are row-major over it.
    pub shape: Vec<usize>,
    /// Non-zeros at the start of training; see [`Card::start`](crate::algorithms::Card::start).
    pub nnz: usize,
    /// Non-zeros that the run's sparsity allows this layer.
    pub target: usize,
    /// Multiply-adds that each of its weights takes for one image, the positions of a channel of the output; 1 if nobody asks.
    pub uses: usize,
    /// What its masks look like, from the first to the last; see [`Card::start`](crate::algorithms::Card::start).
    pub pattern: Pattern,
}

impl LayerSpec {
    /// An unstructured layer that starts with what it is allowed.
    pub fn new(name: impl Into<String>, shape: Vec<usize>, nnz: usize) -> Self {
        Self { name: name.into(), shape, nnz, target: nnz, uses: 1, pattern: Pattern::Unstructured }
    }

    /// Number of positions: the product of the shape.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the sorted positions `active` still have the layer's pattern after a (checked) change.
    pub fn keeps_pattern(&self, active: &[u32], change: &Change) -> bool {
        self.pattern == Pattern::Unstructured || self.pattern.holds(&self.shape, &change.applied_to(active))
    }
}

/// The weight gradients a step must deliver for one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs<'a> {
    /// Only at the active positions, which an ordinary step computes anyway.
    Active,
    /// Also at these inactive positions (sorted, unique).
    Candidates(&'a [u32]),
    /// At every position of the layer.
    Dense,
}

/// What an algorithm may read of one layer. All slices of active values are aligned with `active`.
#[derive(Clone, Copy, Debug)]
pub struct LayerView<'a> {
    /// Active positions, sorted and unique.
    pub active: &'a [u32],
    /// Weights at the active positions.
    pub weights: &'a [f32],
    /// Gradients of the mean minibatch loss at the active positions, without weight decay.
    pub gradients: &'a [f32],
    /// Momentum at the active positions.
    pub momentum: &'a [f32],
    /// The extra gradients the algorithm asked for in [`Algorithm::needs`].
    pub probe: Probe<'a>,
}

/// Gradients beyond the active positions, as if each inactive position held a weight of value 0.
#[derive(Clone, Copy, Debug)]
pub enum Probe<'a> {
    /// None were asked for.
    None,
    /// At the candidate positions.
    Candidates {
        /// The positions, as asked for.
        index: &'a [u32],
        /// Gradients aligned with `index`: means over the probed share of the batch.
        gradients: &'a [f32],
        /// That share: what [`Algorithm::probe_share`] asked for, in whole parts of the batch.
        share: f32,
    },
    /// At all positions, active ones included.
    Dense {
        /// One gradient per position of the layer: means over the probed share of the batch.
        gradients: &'a [f32],
        /// That share, as for candidates.
        share: f32,
    },
}

impl Probe<'_> {
    /// The share of the batch that its gradients are of; 1 without any.
    pub fn share(&self) -> f32 {
        match *self {
            Probe::None => 1.0,
            Probe::Candidates { share, .. } | Probe::Dense { share, .. } => share,
        }
    }
}

/// What a decision keeps constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Every layer keeps its number of non-zeros.
    PerLayer,
    /// Only the sum over layers is kept.
    Total,
    /// The sum over layers follows a schedule: after this decision it is exactly this.
    Scheduled(usize),
}

/// What an algorithm may know of the run it is built for.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The sparsified tensors, in the order of every `layers` slice passed later.
    pub layers: &'a [LayerSpec],
    /// Optimiser steps of the whole run.
    pub total_steps: u64,
    /// Optimiser steps per epoch.
    pub steps_per_epoch: u64,
    /// Seed of the run.
    pub seed: u64,
    /// L2 coefficient of the optimiser (λ of the lower level).
    pub weight_decay: f32,
    /// First (peak) learning rate of the optimiser.
    pub learning_rate: f32,
    /// Momentum coefficient of the optimiser.
    pub momentum: f32,
    /// Images per step.
    pub batch_size: usize,
}

/// A dynamic-sparse-training algorithm.
///
/// Before step 0, and not in a resumed run, the loop lets an algorithm that [`prunes_at_start`](Self::prunes_at_start) do
/// so. For every step (0-based) it calls, in this order: [`begin`](Self::begin), [`needs`](Self::needs) per layer, the
/// forward and backward pass, [`observe`](Self::observe), then [`decides_at`](Self::decides_at). Unless this is a
/// decision and [`replaces_weight_step`](Self::replaces_weight_step), the optimiser moves the weights; at a decision
/// [`update`](Self::update) follows, with the weights as they are then and the gradients of this step.
pub trait Algorithm: Send {
    /// The name it is listed under.
    fn name(&self) -> &'static str;

    /// Whether the algorithm chooses the first mask itself, in [`at_start`](Self::at_start).
    fn prunes_at_start(&self) -> bool {
        false
    }

    /// Cuts the first masks down, once, before step 0: one change per layer, which drops positions and leaves exactly the
    /// sum of [`LayerSpec::target`] in all layers together. The views hold the first weights and no gradients.
    ///
    /// # Errors
    /// If the network cannot be scored, or the scores are no numbers.
    fn at_start(&mut self, layers: &[LayerView<'_>], _scorer: &mut dyn Scorer) -> Result<Vec<Change>, StartError> {
        Ok(vec![Change::default(); layers.len()])
    }

    /// Tells the learning rate of a step, before anything else of it.
    fn begin(&mut self, _step: u64, _learning_rate: f32) {}

    /// Which weight gradients `step` must deliver for layer number `layer`. Ask before the backward pass: after a
    /// decision the answer is about the next steps.
    fn needs(&self, _step: u64, _layer: usize) -> Needs<'_> {
        Needs::Active
    }

    /// Share of the batch, in (0, 1], on which probes are computed; the engine takes whole parts of the batch, the next
    /// larger share of a layer that it can.
    fn probe_share(&self) -> f32 {
        1.0
    }

    /// Reads the gradients of a step, after its backward pass and before the optimiser.
    fn observe(&mut self, _step: u64, _layers: &[LayerView<'_>]) {}

    /// Whether `step`, whose backward pass has just finished, is a decision point.
    fn decides_at(&self, step: u64) -> bool {
        self.next_decision(step) == Some(step)
    }

    /// Whether the optimiser step is skipped at a decision.
    fn replaces_weight_step(&self) -> bool {
        false
    }

    /// The first decision point at or after `step`.
    fn next_decision(&self, step: u64) -> Option<u64>;

    /// Takes the decision of `step`: one change per layer; all empty if the decision is refused.
    fn update(&mut self, step: u64, layers: &[LayerView<'_>]) -> Vec<Change>;

    /// What [`update`](Self::update) at `step` keeps constant, or leaves.
    fn budget(&self, _step: u64) -> Budget {
        Budget::PerLayer
    }

    /// The most candidates that it will ask for in a layer, as far as it knows before its first step: for those who say
    /// beforehand how much memory a run takes. Default: none.
    fn most_candidates(&self, _layer: usize) -> usize {
        0
    }

    /// Bytes of state this algorithm itself keeps from step to step, at their peak: candidate lists, sums of gradients, scores,
    /// stored weights, at active positions and at others. A few numbers per layer or channel do not count, nor does what lives
    /// during a decision only. Probe buffers belong to the engine and are counted there. Default: none.
    fn state_bytes(&self) -> usize {
        0
    }

    /// Everything needed to continue as if never interrupted.
    fn save(&self) -> State {
        State::default()
    }

    /// Takes over what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If a vector is missing or does not fit the layers; the algorithm is then unchanged.
    fn load(&mut self, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

/// Makes an algorithm for a run: [`Listed`](crate::algorithms::Listed), or one of your own. A closure from a [`Context`]
/// is the maker of an algorithm that starts with what the run's sparsity allows, in no pattern.
pub trait Maker {
    /// Fills in with how many non-zeros, and in which pattern, each layer starts.
    ///
    /// # Errors
    /// If an option is wrong, or a layer does not fit.
    fn start(&self, _layers: &mut [LayerSpec]) -> Result<(), AlgorithmError> {
        Ok(())
    }

    /// Makes the algorithm for a run on layers that [`start`](Self::start) has prepared.
    ///
    /// # Errors
    /// If an option is wrong.
    fn build(&self, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError>;
}

impl<F: Fn(&Context<'_>) -> Box<dyn Algorithm>> Maker for F {
    fn build(&self, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
        Ok(self(context))
    }
}
