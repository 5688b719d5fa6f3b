//! A network ready to train: the steps, their memory, and a walk over them.

mod kernels;

use crate::clock::{Clock, PartTiming};
use crate::plan::Plan;
use crate::sparse_tensor::{Probe, ProbeRequest, SparseTensor, Vector};
use crate::state::{Parameters, State};
use crate::steps::Step;
use crate::{EngineError, Sgd};
use bidst_kernels::{
    ConvShape, InstructionSet, LANES, Lane, Plane, Storage, Workers, images_from_tile, softmax_cross_entropy,
    tile_from_images, tiles,
};
use bidst_model::{Graph, Op};
use std::time::{Duration, Instant};

/// How a network is to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Largest batch; smaller ones are always right.
    pub batch_size: usize,
    /// Threads; the results do not depend on it.
    pub threads: usize,
    /// How activations and their gradients are stored; f32 where a plane has one pixel.
    pub activations: Storage,
    /// Instruction set; `None` takes the one forced by `BIDST_SIMD`, else the best that the machine has.
    pub instruction_set: Option<InstructionSet>,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutput {
    /// Mean loss in nats.
    pub loss: f64,
    /// Images classified rightly.
    pub correct: usize,
    /// Images in the batch.
    pub count: usize,
}

/// Time of the last step, phase by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Forward pass and loss.
    pub forward: Duration,
    /// Backward pass.
    pub backward: Duration,
    /// Optimiser.
    pub optimizer: Duration,
    /// Rebuilding the kernels' index streams for a changed pattern or other candidates; part of forward and backward.
    pub rebuild: Duration,
}

/// Bytes in use, by purpose. All but the last three follow the number of non-zeros, as far as kernels are sparse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Values of weights and vectors.
    pub weights_bytes: usize,
    /// Their gradients, those of probes and those of single units included.
    pub gradients_bytes: usize,
    /// Their momentum.
    pub momentum_bytes: usize,
    /// Positions of the active weights and of candidates.
    pub index_bytes: usize,
    /// Index streams and packed weights of the kernels.
    pub plan_bytes: usize,
    /// Activations.
    pub activations_bytes: usize,
    /// Gradients of activations.
    pub activation_gradients_bytes: usize,
    /// Scratch of all threads.
    pub scratch_bytes: usize,
}

impl Memory {
    /// Everything that follows the number of non-zeros where kernels are sparse.
    pub fn parameter_bytes(&self) -> usize {
        self.weights_bytes + self.gradients_bytes + self.momentum_bytes + self.index_bytes + self.plan_bytes
    }

    /// Everything.
    pub fn total_bytes(&self) -> usize {
        self.parameter_bytes() + self.activations_bytes + self.activation_gradients_bytes + self.scratch_bytes
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    (a..).step_by(a).find(|multiple| multiple.is_multiple_of(b)).unwrap_or(a)
}

/// A network that trains on its non-zeros.
pub struct Network {
    steps: Vec<Step>,
    state: State,
    workers: Workers,
    input: Plane,
    output: usize,
    classes: usize,
    batch_size: usize,
    /// Tiles that every batch is rounded up to a multiple of.
    unit: usize,
    timings: Timings,
    clock: Clock,
}

impl Network {
    /// Plans `graph` with one pattern per weight tensor (in the order of [`Graph::weights`]; `None` is dense).
    ///
    /// All weights and biases are 0, batch norms are the identity: initial values are the caller's.
    ///
    /// # Errors
    /// If the patterns do not fit the graph, or the options the machine.
    pub fn new(graph: &Graph, patterns: &[Option<Vec<u32>>], options: Options) -> Result<Network, EngineError> {
        if options.batch_size == 0 {
            return Err(EngineError::EmptyBatch);
        }
        let set = match options.instruction_set {
            Some(set) => set,
            None => InstructionSet::from_environment().map_err(EngineError::InstructionSet)?,
        };
        let threads = options.threads.max(1);
        let workers = Workers::new(threads).map_err(|reason| EngineError::Threads { threads, reason })?;
        let parameters = parameters(graph, patterns)?;
        let mut plan = Plan::new(graph, options.activations);
        let shapes = plan.convolutions();
        let tiles = ConvShape::padded_tiles(&shapes, tiles(options.batch_size));
        let unit = shapes.iter().map(|shape| shape.tiles_per_unit(tiles)).fold(1, least_common_multiple);
        let clock = Clock::new(&plan);
        let state = State::new(&mut plan, set, tiles, parameters);
        let steps = plan.steps.into_iter().enumerate().map(|(at, step)| Step::new(step, at, tiles, &state)).collect();
        let input = state.values[0].plan.plane;
        let (output, classes, batch_size) = (plan.output, graph.classes(), options.batch_size);
        Ok(Network {
            steps,
            state,
            workers,
            input,
            output,
            classes,
            batch_size,
            unit,
            timings: Timings::default(),
            clock,
        })
    }

    /// Bytes of activations and their gradients that a network with these options would hold. Nothing is allocated.
    pub fn activation_bytes(graph: &Graph, options: &Options) -> u64 {
        let plan = Plan::new(graph, options.activations);
        let tiles = ConvShape::padded_tiles(&plan.convolutions(), tiles(options.batch_size));
        let tensors = plan.tensors.iter().zip(&plan.storages).map(|(&plane, storage)| storage.lanes(plane));
        let lanes: usize = tensors.chain(plan.buffers.iter().copied()).sum();
        (lanes as u64).saturating_mul(tiles as u64).saturating_mul(size_of::<Lane>() as u64)
    }

    /// The weight tensors, in the order of [`Graph::weights`].
    pub fn weights(&self) -> &[SparseTensor] {
        &self.state.weights
    }

    /// The weight tensors, to set values and momentum.
    pub fn weights_mut(&mut self) -> &mut [SparseTensor] {
        &mut self.state.weights
    }

    /// Scales, shifts, running statistics and biases, in node order.
    pub fn vectors(&self) -> &[Vector] {
        &self.state.vectors
    }

    /// The vectors, to set them.
    pub fn vectors_mut(&mut self) -> &mut [Vector] {
        &mut self.state.vectors
    }

    /// Asks for gradients at zeros of one weight tensor, on a share of the batch, in the backward passes to come.
    ///
    /// A share below 1 uses the first images of the batch, and the gradients are scaled to the whole batch.
    ///
    /// # Errors
    /// If candidates are unsorted, out of range or active.
    pub fn set_probe(&mut self, weight: usize, request: ProbeRequest<'_>, share: f32) -> Result<(), EngineError> {
        self.state.weights[weight].set_probe(request, share)
    }

    /// Changes the pattern of one weight tensor. Grown weights take `grown_values` (0 if empty) and no momentum; those
    /// in `reset` stay active with value and momentum 0; kept ones are untouched.
    ///
    /// # Errors
    /// If the change is not one: then nothing has changed.
    pub fn apply(
        &mut self,
        weight: usize,
        dropped: &[u32],
        grown: &[u32],
        grown_values: &[f32],
        reset: &[u32],
    ) -> Result<(), EngineError> {
        self.state.weights[weight].apply(dropped, grown, grown_values, reset)
    }

    /// Forward and backward pass of one batch: `images` is `[n, channels, height, width]`, n at most the batch size.
    ///
    /// Leaves gradients in the weights and vectors and moves the running statistics of batch norm.
    ///
    /// # Errors
    /// If the batch does not fit the network.
    pub fn forward_backward(
        &mut self,
        images: &[f32],
        labels: &[u32],
        smoothing: f32,
    ) -> Result<StepOutput, EngineError> {
        self.check(images, labels)?;
        Ok(self.workers.team().run(|| self.both_passes(images, labels, smoothing)))
    }

    fn both_passes(&mut self, images: &[f32], labels: &[u32], smoothing: f32) -> StepOutput {
        let start = Instant::now();
        self.state.rebuild = Duration::ZERO;
        self.forward(images, labels.len(), true);
        let losing = self.clock.start();
        let output = self.loss(labels, smoothing, true);
        self.clock.forward(self.clock.loss(), losing);
        let forwarded = Instant::now();
        for (at, step) in self.steps.iter_mut().enumerate().rev() {
            let start = self.clock.start();
            step.backward(&mut self.state, &mut self.workers);
            self.clock.backward(at + 1, start);
        }
        (self.timings.forward, self.timings.backward) = (forwarded - start, forwarded.elapsed());
        self.timings.rebuild = self.state.rebuild;
        output
    }

    /// Forward pass of `count` images, and a backward pass from the gradient of the logits that `head` makes of the
    /// logits, both `[count, classes]`. Batch norm takes the statistics of the batch if `training`, else the running ones.
    ///
    /// Leaves gradients in the weights and vectors; in training, moves the running statistics of batch norm.
    ///
    /// # Errors
    /// If the batch does not fit the network, or the gradient the logits.
    pub fn backward_from(
        &mut self,
        images: &[f32],
        count: usize,
        training: bool,
        head: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Result<(), EngineError> {
        self.check_images(images, count)?;
        self.forward(images, count, training);
        let gradient = head(&self.read_logits(count));
        if gradient.len() != count * self.classes {
            return Err(EngineError::Head { given: gradient.len(), images: count, classes: self.classes });
        }
        self.write_logits_gradient(&gradient);
        for step in self.steps.iter_mut().rev() {
            step.backward(&mut self.state, &mut self.workers);
        }
        Ok(())
    }

    /// Loss and accuracy of one batch with the running statistics; changes nothing.
    ///
    /// # Errors
    /// If the batch does not fit the network.
    pub fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<StepOutput, EngineError> {
        self.check(images, labels)?;
        self.forward(images, labels.len(), false);
        Ok(self.loss(labels, 0.0, false))
    }

    /// Logits `[count, classes]` of one batch with the running statistics.
    ///
    /// # Errors
    /// If the batch does not fit the network.
    pub fn logits(&mut self, images: &[f32], count: usize) -> Result<Vec<f32>, EngineError> {
        self.check_images(images, count)?;
        self.forward(images, count, false);
        Ok(self.read_logits(count))
    }

    /// Moves weights and vectors along their gradients.
    pub fn sgd_step(&mut self, sgd: &Sgd) {
        let start = Instant::now();
        sgd.step(&mut self.state.weights, &mut self.state.vectors);
        self.timings.optimizer = start.elapsed();
    }

    /// Time of the last step.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Switches the timing of single parts on or off; off, the default, costs nothing.
    pub fn time_parts(&mut self, on: bool) {
        self.clock.on = on;
    }

    /// Time of each part in the last step that was timed: the input, the steps of the plan, the loss.
    pub fn part_timings(&self) -> &[PartTiming] {
        &self.clock.parts
    }

    /// The instruction set in use.
    pub fn instruction_set(&self) -> InstructionSet {
        self.state.set
    }

    /// The threads in use.
    pub fn threads(&self) -> usize {
        self.workers.threads()
    }

    /// Largest batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Bytes in use.
    pub fn memory(&self) -> Memory {
        let floats = |len: usize| len * size_of::<f32>();
        let lanes = |buffers: &[Vec<Lane>]| buffers.iter().map(|b| size_of_val(&b[..])).sum::<usize>();
        let mut memory = Memory {
            activations_bytes: lanes(&self.state.tensors),
            activation_gradients_bytes: lanes(&self.state.gradients),
            scratch_bytes: self.workers.scratch_bytes(),
            ..Memory::default()
        };
        for weight in &self.state.weights {
            memory.weights_bytes += floats(weight.nnz());
            memory.gradients_bytes += floats(weight.nnz() + weight.probe_gradients().len());
            memory.momentum_bytes += floats(weight.nnz());
            let candidates = if let Probe::Candidates(candidates) = &weight.probe { candidates.len() } else { 0 };
            memory.index_bytes += size_of::<u32>() * (weight.nnz() + candidates);
        }
        for vector in &self.state.vectors {
            memory.weights_bytes += floats(vector.values.len());
            memory.gradients_bytes += floats(vector.gradients.len());
            memory.momentum_bytes += floats(vector.momentum.len());
        }
        memory.gradients_bytes += floats(self.state.partials.len() + self.state.probe_partials.len());
        memory.weights_bytes += floats(self.state.dense_weights.len());
        let conv_bytes = |step: &Step| if let Step::Conv(conv) = step { conv.plan_bytes() } else { 0 };
        memory.plan_bytes = self.steps.iter().map(conv_bytes).sum();
        memory
    }

    fn read_logits(&self, count: usize) -> Vec<f32> {
        let plane = Plane { channels: self.classes, height: 1, width: 1 };
        let mut logits = vec![0.0; count * self.classes];
        for (tile, logits) in logits.chunks_mut(LANES * self.classes).enumerate() {
            let mix = self.state.mix(self.output, true, tile..tile + 1);
            images_from_tile(mix.a.data, plane, mix.storage, logits);
        }
        logits
    }

    /// Puts the gradient of the logits where the backward pass begins; spare lanes are 0.
    fn write_logits_gradient(&mut self, gradient: &[f32]) {
        let plan = self.state.values[self.output].plan.gradient.as_ref();
        let Some(buffer) = plan.map(|gradient| gradient.buffer) else { return };
        let plane = Plane { channels: self.classes, height: 1, width: 1 };
        let mut images = gradient.chunks(LANES * self.classes);
        for lanes in self.state.gradients[buffer].chunks_exact_mut(self.classes).take(self.state.tiles) {
            tile_from_images(images.next().unwrap_or_default(), plane, Storage::F32, lanes);
        }
    }

    fn check_images(&self, images: &[f32], count: usize) -> Result<(), EngineError> {
        if count == 0 || count > self.batch_size {
            return Err(EngineError::BatchSize { images: count, batch_size: self.batch_size });
        }
        let (given, per_image) = (images.len(), self.input.len());
        if given != count * per_image {
            return Err(EngineError::InputSize { given, expected: count * per_image, images: count, per_image });
        }
        Ok(())
    }

    fn check(&self, images: &[f32], labels: &[u32]) -> Result<(), EngineError> {
        self.check_images(images, labels.len())?;
        let classes = self.classes;
        match labels.iter().position(|&label| label as usize >= classes) {
            Some(image) => Err(EngineError::Label { label: labels[image], image, classes }),
            None => Ok(()),
        }
    }

    fn forward(&mut self, images: &[f32], count: usize, training: bool) {
        let start = self.clock.start();
        self.state.begin(count, self.unit, training);
        let (len, storage) = (self.input.len(), self.state.values[0].plan.storage);
        let lanes = storage.lanes(self.input);
        for (tile, lanes) in self.state.tensors[0].chunks_exact_mut(lanes).take(self.state.tiles).enumerate() {
            let live = count.saturating_sub(tile * LANES).min(LANES);
            let start = (tile * LANES).min(count) * len;
            tile_from_images(&images[start..start + live * len], self.input, storage, lanes);
        }
        self.clock.forward(Clock::INPUT, start);
        for (at, step) in self.steps.iter_mut().enumerate() {
            let start = self.clock.start();
            step.forward(&mut self.state, &mut self.workers);
            self.clock.forward(at + 1, start);
        }
    }

    /// Loss of the logits; leaves its gradient where the backward pass begins.
    fn loss(&mut self, labels: &[u32], smoothing: f32, training: bool) -> StepOutput {
        let classes = self.classes;
        let buffer = self.state.values[self.output].plan.gradient.as_ref().map(|gradient| gradient.buffer);
        let mut gradient = match buffer.filter(|_| training) {
            Some(buffer) => std::mem::take(&mut self.state.gradients[buffer]),
            None => Vec::new(),
        };
        let (mut sum, mut correct) = (0.0, 0);
        for tile in 0..self.state.tiles {
            let logits = self.state.mix(self.output, true, tile..tile + 1).a.data;
            let live = (tile * LANES).min(labels.len())..((tile + 1) * LANES).min(labels.len());
            let gradient = gradient.get_mut(tile * classes..(tile + 1) * classes).unwrap_or_default();
            let loss = softmax_cross_entropy(logits, &labels[live], smoothing, labels.len(), gradient);
            sum += loss.sum;
            correct += loss.correct;
        }
        if let Some(buffer) = buffer.filter(|_| training) {
            self.state.gradients[buffer] = gradient;
        }
        StepOutput { loss: sum / labels.len() as f64, correct, count: labels.len() }
    }
}

fn parameters(graph: &Graph, patterns: &[Option<Vec<u32>>]) -> Result<Parameters, EngineError> {
    let specs = graph.weights();
    if patterns.len() != specs.len() {
        return Err(EngineError::PatternCount { given: patterns.len(), expected: specs.len() });
    }
    let weights = specs
        .into_iter()
        .zip(patterns)
        .map(|(spec, pattern)| SparseTensor::new(spec.name, spec.shape, pattern.as_deref()));
    let weights = weights.collect::<Result<_, _>>()?;
    let (mut vectors, mut biases, mut norms) = (Vec::new(), Vec::new(), Vec::new());
    for node in graph.nodes() {
        let channels = node.shape.channels;
        let mut push = |suffix: &str, value: f32, trainable: bool| {
            vectors.push(Vector::new(format!("{}.{suffix}", node.name), channels, value, trainable));
            vectors.len() - 1
        };
        match node.op {
            Op::BatchNormalization { .. } => {
                norms.push(push("weight", 1.0, true));
                push("bias", 0.0, true);
                push("running_mean", 0.0, false);
                push("running_var", 1.0, false);
            }
            Op::Conv { bias: true, .. } | Op::Gemm { bias: true, .. } => biases.push(push("bias", 0.0, true)),
            _ => {}
        }
    }
    Ok(Parameters { weights, vectors, biases, norms })
}
