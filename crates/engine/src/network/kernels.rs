//! Choosing the kernels of a network's layers.

use super::Network;
use crate::EngineError;
use crate::choice::{Choice, Kernel, Kernels, Measured, bucket};
use crate::sparse_tensor::SparseTensor;
use crate::steps::{Backward, Conv, Forward, Step};
use bidst_kernels::{
    BackwardUnit, Bounds, ConvShape, Finish, ForwardUnit, InputGradient, InstructionSet, LANES, Lane, Mix, Norm,
    Storage, Term, tiles,
};
use std::time::Instant;

/// Repetitions of which the fastest counts.
const REPETITIONS: usize = 4;

impl Network {
    /// The kernels in use, layer by layer in the order of the forward pass.
    pub fn kernels(&self) -> Vec<Choice> {
        convolutions(&self.steps).map(|conv| conv.choice().clone()).collect()
    }

    /// Parts that a whole batch is cut into, per weight tensor in the order of [`Network::weights`]: each leaves sums of its own.
    pub fn units(&self) -> Vec<usize> {
        let tiles = tiles(self.batch_size).next_multiple_of(self.unit);
        let mut units = vec![0; self.state.weights.len()];
        convolutions(&self.steps).for_each(|conv| units[conv.weight()] = tiles / conv.unit());
        units
    }

    /// Sets how layers get their kernels, now and whenever their patterns change.
    ///
    /// # Errors
    /// [`EngineError::UnknownLayer`] if a listed choice is for none of the network's layers; then nothing has changed.
    pub fn set_kernels(&mut self, kernels: &Kernels) -> Result<(), EngineError> {
        let names: Vec<&str> = convolutions(&self.steps).map(|conv| self.state.weights[conv.weight()].name()).collect();
        if let Kernels::Listed(choices) = kernels
            && let Some(choice) = choices.iter().find(|choice| !names.contains(&choice.layer.as_str()))
        {
            return Err(EngineError::UnknownLayer { layer: choice.layer.clone(), known: names.join(", ") });
        }
        for step in &mut self.steps {
            if let Step::Conv(conv) = step {
                let weight = &self.state.weights[conv.weight()];
                conv.set_policy(kernels.of(weight.name()), weight);
            }
        }
        Ok(())
    }

    /// Times both kernels of every layer at its present density and returns the faster ones; changes nothing.
    ///
    /// Layers of the same shape and about the same density are timed once. Takes some tenths of a second.
    pub fn measure_kernels(&self) -> Vec<Choice> {
        let mut known: Vec<(Case, Measured)> = Vec::new();
        let choice = |conv: &Conv| {
            let weight = &self.state.weights[conv.weight()];
            let case = (*conv.shape(), conv.has_input_gradient(), bucket(weight.density()));
            let measured = match known.iter().find(|(other, _)| *other == case) {
                Some(&(_, measured)) => measured,
                None => {
                    let measured = Trial::new(conv, weight, self.state.values[conv.input()].plan.storage)
                        .measure(self.state.set, weight);
                    known.push((case, measured));
                    measured
                }
            };
            let faster = |sparse: f64, dense: f64| if dense < sparse { Kernel::Dense } else { Kernel::Sparse };
            Choice {
                layer: weight.name().to_owned(),
                density: weight.density(),
                forward: faster(measured.forward_sparse_ms, measured.forward_dense_ms),
                backward: faster(measured.backward_sparse_ms, measured.backward_dense_ms),
                measured: Some(measured),
            }
        };
        convolutions(&self.steps).map(choice).collect()
    }
}

/// What decides about the time: shape, gradient of the input, density.
type Case = (ConvShape, bool, u32);

fn convolutions(steps: &[Step]) -> impl Iterator<Item = &Conv> {
    steps.iter().filter_map(|step| if let Step::Conv(conv) = step { Some(&**conv) } else { None })
}

/// One unit of made-up activations, normalised and rectified as they mostly are.
struct Trial {
    shape: ConvShape,
    unit: usize,
    has_input_gradient: bool,
    storage: Storage,
    input: Vec<Lane>,
    output: Vec<Lane>,
    gradient: Vec<Lane>,
    input_gradient: Vec<Lane>,
    /// A factor per channel, of the input or of the output.
    scale: Vec<f32>,
    moments: Vec<f32>,
    sums: Vec<f32>,
    weights: Vec<f32>,
}

impl Trial {
    fn new(conv: &Conv, weight: &SparseTensor, storage: Storage) -> Trial {
        let (shape, unit) = (*conv.shape(), conv.unit());
        let lanes = |plane| vec![Lane([0.5; LANES]); storage.lanes(plane) * unit];
        let channels = [shape.input.channels, shape.output.channels];
        Trial {
            shape,
            unit,
            has_input_gradient: conv.has_input_gradient(),
            storage,
            input: lanes(shape.input),
            output: lanes(shape.output),
            gradient: lanes(shape.output),
            input_gradient: lanes(shape.input),
            scale: vec![0.9; channels[0].max(channels[1])],
            moments: vec![0.0; 2 * channels[1]],
            sums: vec![0.0; 3 * channels[0]],
            weights: vec![0.0; weight.len()],
        }
    }

    /// Both kernels in turn, because machines that others use too change their speed.
    fn measure(mut self, set: InstructionSet, weight: &SparseTensor) -> Measured {
        let kernels = [Kernel::Sparse, Kernel::Dense];
        let mut buffer = Vec::new();
        let mut plans = kernels.map(|kernel| {
            let mut forward = Forward::new(kernel, self.shape, self.unit, weight);
            let mut backward = Backward::new(kernel, self.shape, self.unit, weight);
            forward.refresh(weight, &mut buffer);
            backward.refresh(weight, &mut buffer);
            (forward, backward, [f64::INFINITY; 2])
        });
        let len = plans.iter().map(|(forward, backward, _)| forward.scratch_len().max(backward.scratch_len())).max();
        let mut scratch = bidst_kernels::lanes(len.unwrap_or(0));
        for _ in 0..REPETITIONS {
            for (forward, backward, [forward_ms, backward_ms]) in &mut plans {
                let start = Instant::now();
                self.forward(forward, set, &mut scratch);
                *forward_ms = forward_ms.min(1e3 * start.elapsed().as_secs_f64());
                let start = Instant::now();
                self.backward(backward, set, weight, &mut scratch);
                *backward_ms = backward_ms.min(1e3 * start.elapsed().as_secs_f64());
            }
        }
        let [(_, _, sparse), (_, _, dense)] = plans;
        Measured {
            forward_sparse_ms: sparse[0],
            forward_dense_ms: dense[0],
            backward_sparse_ms: sparse[1],
            backward_dense_ms: dense[1],
        }
    }

    fn forward(&mut self, plan: &Forward, set: InstructionSet, scratch: &mut [Lane]) {
        let input = rectified(&self.input, &self.scale[..self.shape.input.channels], self.storage);
        let (output, moments) = (&mut self.output, &mut self.moments);
        plan.run(set, ForwardUnit { input, keep: None, bias: &[], output, moments, masks: &[], scratch });
    }

    fn backward(&mut self, plan: &Backward, set: InstructionSet, weight: &SparseTensor, scratch: &mut [Lane]) {
        let [inputs, outputs] = [self.shape.input.channels, self.shape.output.channels];
        let (scale, factor) = (&self.scale[..inputs], &self.scale[..outputs]);
        let weights = &mut self.weights[..plan.sums(weight)];
        let norms = [Some(Norm { z: &self.input, inverse: scale, offset: scale }), None];
        let finish = Some(Finish { bounds: Bounds::RELU, norms, sums: &mut self.sums });
        let output = &mut self.input_gradient;
        let input_gradient = InputGradient { output, accumulate: false, add: None, finish };
        let term = |data| Term { data, scale: factor };
        let gradient = Mix {
            a: term(&self.gradient),
            b: Some(term(&self.output)),
            shift: factor,
            bounds: Bounds::NONE,
            masks: &[],
            storage: self.storage,
        };
        let input = rectified(&self.input, scale, self.storage);
        let input_gradient = self.has_input_gradient.then_some(input_gradient);
        plan.run(set, BackwardUnit { gradient, input, input_gradient, weights, scratch });
    }
}

fn rectified<'a>(data: &'a [Lane], scale: &'a [f32], storage: Storage) -> Mix<'a> {
    Mix { a: Term { data, scale }, b: None, shift: scale, bounds: Bounds::RELU, masks: &[], storage }
}
