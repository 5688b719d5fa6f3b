//! Everything that lies in memory between the steps.

use crate::plan::{NormPlan, Plan, Value, ValueId};
use crate::sparse_tensor::{SparseTensor, Vector};
use bidst_kernels::{Bounds, InstructionSet, LANES, Lane, Mix, Norm, Term, lanes, tiles};
use std::ops::Range;
use std::time::Duration;

/// The network's memory: activations, gradients, parameters, and what batch norm knows.
pub(crate) struct State {
    pub set: InstructionSet,
    /// Does batch norm use the batch's statistics, and does anyone need them again?
    pub training: bool,
    /// Live images of this batch.
    pub images: usize,
    /// Tiles that are processed: the live ones, rounded up to whole units.
    pub tiles: usize,
    /// One mask per tile.
    masks: Vec<Lane>,
    pub tensors: Vec<Vec<Lane>>,
    /// Buffers of gradients, each shared by values that are not alive together.
    pub gradients: Vec<Vec<Lane>>,
    pub values: Vec<ValueState>,
    pub norms: Vec<NormState>,
    pub weights: Vec<SparseTensor>,
    pub vectors: Vec<Vector>,
    /// Index of each bias among the vectors.
    pub biases: Vec<usize>,
    /// Weight gradients of single units, of the layer at work.
    pub partials: Vec<f32>,
    /// The same at all positions, where a probe asks for them.
    pub probe_partials: Vec<f32>,
    /// A weight tensor with its zeros, for the dense kernels.
    pub dense_weights: Vec<f32>,
    /// Time spent on index streams in this step.
    pub rebuild: Duration,
}

/// A value and what it carries along.
pub(crate) struct ValueState {
    pub plan: Value,
    /// Sum of its norms' shifts, per channel.
    pub shift: Vec<f32>,
    /// Per unit and channel: Σg, Σg·x̂ of the first and of the second norm.
    pub sums: Vec<f32>,
    /// Units that wrote sums.
    pub sum_units: usize,
}

/// A batch norm between its sums and its per-channel constants.
pub(crate) struct NormState {
    pub plan: NormPlan,
    /// First of its four vectors: weight, bias, running mean, running variance.
    pub vector: usize,
    /// Per unit and channel: Σz, Σz².
    pub moments: Vec<f32>,
    /// Units that wrote moments.
    pub moment_units: usize,
    /// Forward: scale·z + shift.
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    /// x̂ = inverse·z + offset.
    pub inverse: Vec<f32>,
    pub offset: Vec<f32>,
    /// Backward: dz = from_gradient·g + from_input·z + constant.
    pub from_gradient: Vec<f32>,
    pub from_input: Vec<f32>,
    pub constant: Vec<f32>,
}

impl State {
    /// Lays out all buffers for `max_tiles` tiles.
    pub fn new(plan: &mut Plan, set: InstructionSet, max_tiles: usize, parameters: Parameters) -> State {
        let tensors = plan.tensors.iter().zip(&plan.storages);
        let tensors = tensors.map(|(&plane, storage)| lanes(storage.lanes(plane) * max_tiles)).collect();
        let gradients = plan.buffers.iter().map(|len| lanes(len * max_tiles)).collect();
        let values = std::mem::take(&mut plan.values).into_iter().map(|plan| {
            let channels = if plan.terms.iter().any(|term| term.norm.is_some()) { plan.plane.channels } else { 0 };
            let sums = vec![0.0; 3 * channels * max_tiles];
            ValueState { plan, shift: vec![0.0; channels], sums, sum_units: 0 }
        });
        let norms = std::mem::take(&mut plan.norms).into_iter().zip(&parameters.norms).map(|(norm, &vector)| {
            let channels = plan.tensors[norm.tensor].channels;
            let zeros = || vec![0.0; channels];
            NormState {
                plan: norm,
                vector,
                moments: vec![0.0; 2 * channels * max_tiles],
                moment_units: 0,
                scale: zeros(),
                shift: zeros(),
                inverse: zeros(),
                offset: zeros(),
                from_gradient: zeros(),
                from_input: zeros(),
                constant: zeros(),
            }
        });
        State {
            set,
            training: false,
            images: 0,
            tiles: 0,
            masks: lanes(max_tiles),
            tensors,
            gradients,
            values: values.collect(),
            norms: norms.collect(),
            weights: parameters.weights,
            vectors: parameters.vectors,
            biases: parameters.biases,
            partials: Vec::new(),
            probe_partials: Vec::new(),
            rebuild: Duration::ZERO,
            dense_weights: Vec::new(),
        }
    }

    /// Prepares for a batch of `images` images, in a multiple of `unit` tiles.
    pub fn begin(&mut self, images: usize, unit: usize, training: bool) {
        self.training = training;
        self.images = images;
        self.tiles = tiles(images).next_multiple_of(unit);
        for (tile, mask) in self.masks.iter_mut().enumerate() {
            *mask = Lane::mask(images.saturating_sub(tile * LANES).min(LANES));
        }
    }

    /// Masks of the tiles, or nothing if all their lanes are live.
    pub fn masks(&self, tiles: Range<usize>) -> &[Lane] {
        if tiles.end * LANES <= self.images { &[] } else { &self.masks[tiles] }
    }

    /// A tensor's part for some tiles of so many lanes.
    pub fn tensor(&self, tensor: usize, lanes: usize, tiles: Range<usize>) -> &[Lane] {
        &self.tensors[tensor][tiles.start * lanes..tiles.end * lanes]
    }

    /// A buffer of gradients' part for some tiles of so many lanes.
    pub fn gradient(&self, buffer: usize, lanes: usize, tiles: Range<usize>) -> &[Lane] {
        &self.gradients[buffer][tiles.start * lanes..tiles.end * lanes]
    }

    /// The value as a copy of where it is stored, or as its recipe.
    pub fn mix(&self, value: ValueId, from_memory: bool, tiles: Range<usize>) -> Mix<'_> {
        let ValueState { plan, shift, .. } = &self.values[value];
        let (len, storage) = (plan.lanes(), plan.storage);
        if let Some(tensor) = plan.stored.filter(|_| from_memory || plan.is_tensor()) {
            return Mix::copy(self.tensor(tensor, len, tiles), storage);
        }
        let term = |i: usize| {
            let term = plan.terms.get(i)?;
            let scale = term.norm.map_or(&[][..], |norm| &self.norms[norm].scale);
            Some(Term { data: self.tensor(term.tensor, len, tiles.clone()), scale })
        };
        let a = term(0).expect("a value has at least one term");
        Mix { a, b: term(1), shift, bounds: plan.bounds, masks: &[], storage }
    }

    /// The gradient of one of a value's terms, from the value's own gradient.
    pub fn term_gradient(&self, value: ValueId, branch: usize, tiles: Range<usize>) -> Mix<'_> {
        let plan = &self.values[value].plan;
        let (len, storage) = (plan.lanes(), plan.storage);
        let buffer = plan.gradient.as_ref().expect("asked for only where it is planned").buffer;
        let gradient = self.gradient(buffer, len, tiles.clone());
        let term = &plan.terms[branch];
        let Some(norm) = term.norm.map(|norm| &self.norms[norm]) else { return Mix::copy(gradient, storage) };
        Mix {
            a: Term { data: gradient, scale: &norm.from_gradient },
            b: Some(Term { data: self.tensor(term.tensor, len, tiles.clone()), scale: &norm.from_input }),
            shift: &norm.constant,
            bounds: Bounds::NONE,
            masks: self.masks(tiles),
            storage,
        }
    }

    /// The normalised terms of a value, as the end of its gradient wants them.
    pub fn value_norms(&self, value: ValueId, tiles: Range<usize>) -> [Option<Norm<'_>>; 2] {
        let plan = &self.values[value].plan;
        let mut norms = plan.terms.iter().filter_map(|term| {
            let norm = &self.norms[term.norm?];
            let z = self.tensor(term.tensor, plan.lanes(), tiles.clone());
            Some(Norm { z, inverse: &norm.inverse, offset: &norm.offset })
        });
        [norms.next(), norms.next()]
    }

    /// Which value and which of its terms a layer's output tensor is.
    pub fn reader_of(&self, tensor: usize) -> Option<(ValueId, usize)> {
        self.values.iter().enumerate().filter(|(_, value)| value.plan.is_live()).find_map(|(id, value)| {
            let is_it = |term: &crate::plan::Term| term.of.is_none() && term.tensor == tensor;
            Some((id, value.plan.terms.iter().position(is_it)?))
        })
    }
}

impl State {
    /// For a layer without weights: the buffer of its input's gradient, and the one that holds its output's.
    pub fn layer_gradients(&self, input: ValueId, output: usize) -> Option<(usize, usize)> {
        let to = self.values[input].plan.gradient.as_ref()?.buffer;
        let (value, branch) = self.reader_of(output)?;
        let plan = &self.values[value].plan;
        let from = match plan.terms[branch].norm {
            Some(norm) => self.norms[norm].plan.gradient?,
            None => plan.gradient.as_ref()?.buffer,
        };
        Some((to, from))
    }
}

/// The network's parameters, ready to be laid out.
pub(crate) struct Parameters {
    pub weights: Vec<SparseTensor>,
    pub vectors: Vec<Vector>,
    /// Index of each bias among the vectors.
    pub biases: Vec<usize>,
    /// Index of each norm's first vector.
    pub norms: Vec<usize>,
}
