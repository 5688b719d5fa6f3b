//! The weight gradient at *every* position, for rules that look at all zeros: an outer product in registers.

use super::{ConvShape, Window};
use crate::dispatch::{InstructionSet, floats, load, parts};
use crate::layout::Lane;
use crate::mix::{Mix, Target, pack_row};
use crate::storage::{Element, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Vectors of a plane's band that stay in L1 while a block of outputs and inputs meets over all taps.
const BAND_VECTORS: usize = 64;

/// Input channels in a register block.
const INPUTS: usize = 4;

/// What the dense weight gradient of one convolution knows ahead.
#[derive(Debug)]
pub struct DenseGradientPlan {
    shape: ConvShape,
    unit: usize,
    input: Target,
    gradient: Target,
    band: usize,
}

/// One unit of the batch.
pub struct DenseGradientUnit<'a> {
    /// The gradient of the raw output, zero in spare lanes.
    pub gradient: Mix<'a>,
    /// The input values, as in the forward pass.
    pub input: Mix<'a>,
    /// One sum per position of the dense weight tensor.
    pub weights: &'a mut [f32],
    /// At least [`DenseGradientPlan::scratch_len`] lanes.
    pub scratch: &'a mut [Lane],
}

impl DenseGradientPlan {
    /// Plans the convolution for units of `unit` tiles.
    pub fn new(shape: ConvShape, unit: usize) -> DenseGradientPlan {
        shape.check();
        let stride = shape.stride[1];
        let positions = (shape.input.width + 2 * shape.padding[1]).div_ceil(stride);
        let phases = stride.min(shape.kernel[1]);
        let input = Target { halo: shape.padding[1], positions, stride, phases, tiles: unit };
        let gradient = Target { halo: 0, positions: shape.output.width, stride: 1, phases: 1, tiles: unit };
        let band = (BAND_VECTORS / (shape.output.width * unit)).clamp(1, shape.output.height);
        DenseGradientPlan { shape, unit, input, gradient, band }
    }

    fn input_row(&self) -> usize {
        self.input.row_len(self.shape.input)
    }

    fn gradient_row(&self) -> usize {
        self.gradient.row_len(self.shape.output)
    }

    fn input_rows(&self, rows: usize) -> usize {
        (rows - 1) * self.shape.stride[0] + self.shape.kernel[0]
    }

    /// Lanes of scratch that [`DenseGradientPlan::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.input_rows(self.band) * self.input_row() + self.band * self.gradient_row()
    }

    /// Computes one unit.
    pub fn run(&self, set: InstructionSet, unit: DenseGradientUnit<'_>) {
        unit.gradient.check(self.shape.output, self.unit);
        unit.input.check(self.shape.input, self.unit);
        assert_eq!(unit.weights.len(), self.shape.weight_len());
        assert!(unit.scratch.len() >= self.scratch_len());
        let storage = unit.input.storage;
        assert_eq!(unit.gradient.storage, storage, "input and gradient are stored alike");
        with_storage!(storage, E => set.run(DenseGradient::<E> { plan: self, unit, element: PhantomData }));
    }
}

struct DenseGradient<'p, 'a, E> {
    plan: &'p DenseGradientPlan,
    unit: DenseGradientUnit<'a>,
    element: PhantomData<E>,
}

impl<E: Element> WithSimd for DenseGradient<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let DenseGradient { plan, unit, .. } = self;
        let shape = &plan.shape;
        let (input_row, gradient_row) = (plan.input_row(), plan.gradient_row());
        let (inputs, gradients) = unit.scratch.split_at_mut(plan.input_rows(plan.band) * input_row);
        unit.weights.fill(0.0);
        let mut window = Window::new(shape.input, plan.input);
        for top in (0..shape.output.height).step_by(plan.band) {
            let rows = plan.band.min(shape.output.height - top);
            let first = (top * shape.stride[0]) as isize - shape.padding[0] as isize;
            // SAFETY: `run` checked the operands, and the band holds that many rows.
            unsafe { window.fill::<S, E>(simd, (first, plan.input_rows(rows)), &unit.input, None, inputs) };
            for row in 0..rows {
                let slot = &mut gradients[row * gradient_row..][..gradient_row];
                // SAFETY: as above.
                unsafe {
                    pack_row::<S, E>(simd, &unit.gradient, None, shape.output, Some(top + row), plan.gradient, slot)
                };
            }
            let band = Band { plan, inputs, gradients, rows };
            match S::REGISTER_COUNT >= 32 {
                true => band.run::<S, 4>(simd, unit.weights),
                false => band.run::<S, 2>(simd, unit.weights),
            }
        }
    }
}

struct Band<'a> {
    plan: &'a DenseGradientPlan,
    inputs: &'a [Lane],
    gradients: &'a [Lane],
    rows: usize,
}

impl Band<'_> {
    #[inline(always)]
    fn run<S: Simd, const OUTPUTS: usize>(&self, simd: S, weights: &mut [f32]) {
        let shape = &self.plan.shape;
        let (inputs, outputs) = (shape.group_inputs(), shape.output.channels / shape.groups);
        let [height, width] = shape.kernel;
        for group in 0..shape.groups {
            let end = (group + 1) * outputs;
            for output in (group * outputs..end).step_by(OUTPUTS) {
                for input in (0..inputs).step_by(INPUTS) {
                    for tap in 0..height * width {
                        let o: [usize; OUTPUTS] = std::array::from_fn(|o| (output + o).min(end - 1));
                        let i: [usize; INPUTS] = std::array::from_fn(|i| (input + i).min(inputs - 1));
                        let sums = self.block::<S, OUTPUTS>(
                            simd,
                            o,
                            i.map(|i| group * inputs + i),
                            [tap / width, tap % width],
                        );
                        for (o, sums) in (output..end).zip(sums) {
                            for (i, sum) in (input..inputs).zip(sums) {
                                weights[(o * inputs + i) * height * width + tap] += sum;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Sums of one tap for a block of output and input channels.
    #[inline(always)]
    fn block<S: Simd, const OUTPUTS: usize>(
        &self,
        simd: S,
        outputs: [usize; OUTPUTS],
        inputs: [usize; INPUTS],
        tap: [usize; 2],
    ) -> [[f32; INPUTS]; OUTPUTS] {
        let (plan, shape) = (self.plan, &self.plan.shape);
        let [down, right] = shape.stride;
        let column = ((tap[1] % right) * plan.input.positions + tap[1] / right) * plan.unit;
        let x =
            inputs.map(|input| &self.inputs[tap[0] * plan.input_row() + input * plan.input.channel_len() + column..]);
        let dz = outputs.map(|output| &self.gradients[output * plan.gradient.channel_len()..]);
        let mut sums = [[simd.splat_f32s(0.0); INPUTS]; OUTPUTS];
        for row in 0..self.rows {
            let vectors = shape.output.width * plan.unit;
            let (from_x, from_dz) = (row * down * plan.input_row(), row * plan.gradient_row());
            let x = x.map(|x| floats(&x[from_x..from_x + vectors]));
            let dz = dz.map(|dz| floats(&dz[from_dz..from_dz + vectors]));
            for vector in 0..vectors * parts::<S>() {
                let at = vector * S::F32_LANES;
                let mut values = [simd.splat_f32s(0.0); INPUTS];
                for (value, x) in values.iter_mut().zip(x) {
                    // SAFETY: the slices just taken hold `vectors` lanes.
                    *value = unsafe { load::<S>(x.add(at)) };
                }
                for (sums, dz) in sums.iter_mut().zip(dz) {
                    // SAFETY: as above.
                    let dz = unsafe { load::<S>(dz.add(at)) };
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = simd.mul_add_e_f32s(value, dz, *sum);
                    }
                }
            }
        }
        let mut totals = [[0.0; INPUTS]; OUTPUTS];
        for (totals, sums) in totals.iter_mut().zip(sums) {
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = simd.reduce_sum_f32s(sum);
            }
        }
        totals
    }
}
