//! The gradient of the weights at every position: outer products of four input and some output channels in registers.

use super::backward::DenseBackwardPlan;
use crate::dispatch::{floats, lane_sums, load, parts};
use crate::layout::{LANES, Lane};
use crate::mix::Target;
use pulp::Simd;
use std::ops::Range;

/// Vectors of a strip of rows: a block's operands stay in L1 while it meets all taps.
pub(super) const STRIP_VECTORS: usize = 64;

/// Input channels in a register block.
const INPUTS: usize = 4;

/// A tap of the kernel, and where the vectors that it pairs begin in packed rows.
///
/// Bands and strips begin at multiples of the stride, so one place holds for all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    /// Position in the kernel, row by row.
    place: usize,
    /// Rows from the top of a strip to the first input row that it pairs.
    lead: usize,
    /// Lanes from the top of a strip in the packed input.
    input: usize,
    /// Lanes from the top of a strip in the packed gradient.
    gradient: usize,
    /// Vectors of a row.
    vectors: usize,
}

impl Tap {
    /// The taps of the plan's kernel; those that meet nothing but padding are left out.
    pub fn all(plan: &DenseBackwardPlan) -> Vec<Tap> {
        let (shape, unit) = (&plan.shape, plan.unit);
        let ([down, right], above) = (shape.stride, shape.padding[0]);
        let tap = |place: usize| {
            let (row, column) = (place / shape.kernel[1], place % shape.kernel[1]);
            let (first, count, position) = plan.columns(column % right)?;
            let lead = (row % down + down - above % down) % down;
            let gradient_row = plan.gradient_of(lead) - plan.gradient_of(0) + plan.reach[0] - row / down;
            let gradient_column = (position + plan.reach[1] - column / right) * unit;
            Some(Tap {
                place,
                lead,
                input: lead * plan.input_row() + first * plan.input.positions * unit,
                gradient: gradient_row * plan.gradient_row() + gradient_column,
                vectors: count * unit,
            })
        };
        (0..shape.kernel[0] * shape.kernel[1]).filter_map(tap).collect()
    }
}

/// Input rows `top..bottom` with the packed rows of both operands.
#[derive(Clone, Copy)]
pub(super) struct Band<'a> {
    pub plan: &'a DenseBackwardPlan,
    pub gradient: &'a [Lane],
    pub input: &'a [Lane],
    pub top: usize,
    pub bottom: usize,
}

impl Band<'_> {
    /// Adds the sums of the band to `weights`, the dense tensor.
    #[inline(always)]
    pub fn weight_gradient<S: Simd>(&self, simd: S, weights: &mut [f32]) {
        let shape = &self.plan.shape;
        let row_vectors = shape.input.width.div_ceil(shape.stride[1]) * self.plan.unit;
        let rows = (STRIP_VECTORS / row_vectors).max(1) * shape.stride[0];
        for top in (self.top..self.bottom).step_by(rows) {
            let strip = (top, (top + rows).min(self.bottom));
            match S::REGISTER_COUNT >= 32 {
                true => self.strip::<S, 4>(simd, strip, weights),
                false => self.strip::<S, 2>(simd, strip, weights),
            }
        }
    }

    #[inline(always)]
    fn strip<S: Simd, const OUTPUTS: usize>(&self, simd: S, (top, bottom): (usize, usize), weights: &mut [f32]) {
        let (plan, shape) = (self.plan, &self.plan.shape);
        let (inputs, outputs) = (shape.group_inputs(), shape.output.channels / shape.groups);
        let taps = shape.kernel[0] * shape.kernel[1];
        let x = &self.input[(top - self.top) * plan.input_row()..];
        let dz = &self.gradient[(top - self.top) / shape.stride[0] * plan.gradient_row()..];
        for group in 0..shape.groups {
            for first_output in (0..outputs).step_by(OUTPUTS) {
                let dz = starts::<OUTPUTS>(dz, plan.gradient, group * outputs, first_output..outputs);
                for first_input in (0..inputs).step_by(INPUTS) {
                    let x = starts::<INPUTS>(x, plan.input, group * inputs, first_input..inputs);
                    let first = (group * outputs + first_output) * inputs + first_input;
                    let live = [OUTPUTS.min(outputs - first_output), INPUTS.min(inputs - first_input)];
                    for tap in &plan.taps {
                        // SAFETY: the taps stay inside the packed rows by construction of the plan.
                        let sums = unsafe { self.block::<S, OUTPUTS>(simd, x, dz, tap, bottom - top) };
                        for (output, sums) in sums[..live[0]].iter().enumerate() {
                            for (input, sum) in sums[..live[1]].iter().enumerate() {
                                weights[(first + output * inputs + input) * taps + tap.place] += sum;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Sums of one tap for a block of output and input channels, over the rows of a strip.
    ///
    /// # Safety
    /// `x` and `dz` point at the first packed row of the strip, and all rows that the tap pairs are packed.
    #[inline(always)]
    unsafe fn block<S: Simd, const OUTPUTS: usize>(
        &self,
        simd: S,
        x: [*const f32; INPUTS],
        dz: [*const f32; OUTPUTS],
        tap: &Tap,
        rows: usize,
    ) -> [[f32; INPUTS]; OUTPUTS] {
        let (down, row_x, row_dz) = (self.plan.shape.stride[0], self.plan.input_row(), self.plan.gradient_row());
        let (mut row, mut from_x, mut from_dz) = (tap.lead, tap.input * LANES, tap.gradient * LANES);
        let mut sums = [[simd.splat_f32s(0.0); INPUTS]; OUTPUTS];
        while row < rows {
            for vector in 0..tap.vectors * parts::<S>() {
                let at = vector * S::F32_LANES;
                let mut values = [simd.splat_f32s(0.0); INPUTS];
                for (value, x) in values.iter_mut().zip(x) {
                    // SAFETY: the caller's promise.
                    *value = unsafe { load::<S>(x.add(from_x + at)) };
                }
                for (sums, dz) in sums.iter_mut().zip(dz) {
                    // SAFETY: as above.
                    let dz = unsafe { load::<S>(dz.add(from_dz + at)) };
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = simd.mul_add_e_f32s(value, dz, *sum);
                    }
                }
            }
            row += down;
            from_x += down * row_x * LANES;
            from_dz += row_dz * LANES;
        }
        let mut totals = [[0.0; INPUTS]; OUTPUTS];
        for (totals, sums) in totals.iter_mut().zip(sums) {
            *totals = lane_sums(simd, sums);
        }
        totals
    }
}

/// Where the channels of a block begin in a packed row; channels past the end repeat the last one.
#[inline(always)]
fn starts<const N: usize>(row: &[Lane], target: Target, group: usize, channels: Range<usize>) -> [*const f32; N] {
    let mut starts = [std::ptr::null(); N];
    for (i, start) in starts.iter_mut().enumerate() {
        let channel = group + (channels.start + i).min(channels.end - 1);
        *start = floats(&row[channel * target.channel_len()..]);
    }
    starts
}
