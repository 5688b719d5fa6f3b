//! Backward: the gradients of input and filter, with one load for two multiply-adds.

use super::{Phase, Ring, Tap};
use crate::conv::{BackwardUnit, ConvShape, Epilogue, TILE, register_tiles};
use crate::dispatch::{InstructionSet, fence, floats, floats_mut, load, parts, store, with_tile};
use crate::layout::{LANES, Lane};
use crate::mix::{Mix, mixed_at};
use crate::storage::{Element, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;
use std::ops::Range;

/// What the backward pass of one depthwise convolution knows ahead.
#[derive(Debug)]
pub struct DepthwiseBackwardPlan {
    shape: ConvShape,
    unit: usize,
    ring: Ring,
    weights: Vec<f32>,
}

impl DepthwiseBackwardPlan {
    /// Plans the convolution for units of `unit` tiles.
    ///
    /// # Panics
    /// If `shape` is not depthwise: [`ConvShape::is_depthwise`].
    pub fn new(shape: ConvShape, unit: usize) -> DepthwiseBackwardPlan {
        shape.check();
        assert!(shape.is_depthwise(), "{shape:?} is not depthwise");
        DepthwiseBackwardPlan { shape, unit, ring: ring(&shape), weights: vec![0.0; shape.weight_len()] }
    }

    /// Takes over the current weights, `[channels, 1, kernel height, kernel width]` with all zeros.
    pub fn refresh(&mut self, dense: &[f32]) {
        self.weights.copy_from_slice(dense);
    }

    /// Bytes of the weights as the kernel reads them.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }

    fn filter_len(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1]
    }

    /// The row of the gradient that the first tap of an input row reads.
    fn gradient_of(&self, row: usize) -> isize {
        ((row + self.shape.padding[0]) / self.shape.stride[0]) as isize
    }

    /// Lanes of scratch that [`DepthwiseBackwardPlan::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.ring.len() + (self.filter_len() + 3) * self.ring.channels
    }

    /// Computes one unit; the sums of the weights are those of all positions, in the order of the dense tensor.
    pub fn run(&self, set: InstructionSet, unit: BackwardUnit<'_>) {
        unit.check(&self.shape, self.unit, self.shape.weight_len());
        assert!(unit.scratch.len() >= self.scratch_len());
        with_storage!(unit.input.storage, E => set.run(Backward::<E> { plan: self, unit, element: PhantomData }));
    }
}

/// The gradient of the output. Per axis, tap `phase + stride·m` reads `m` places before.
fn ring(shape: &ConvShape) -> Ring {
    let ([height, width], [down, right]) = (shape.kernel, shape.stride);
    let [rows, columns] = [height.div_ceil(down), width.div_ceil(right)];
    let last = (shape.input.width - 1 + shape.padding[1]) / right;
    let line_len = columns - 1 + (last + 1).max(shape.output.width);
    let phases = vec![Phase { first: 0, position: columns - 1, count: shape.output.width }];
    let mut ring = Ring::new(shape.output, rows, line_len, 1, phases);
    let taps = |group| {
        let (first_slot, row_phase, column_phase) = (group / right / down, group / right % down, group % right);
        let tap = |index: usize| {
            let ([row, column], slot) = ([index / width, index % width], first_slot + rows);
            let offset = (slot - index / width / down) % rows * ring.row_len() + columns - 1 - column / right;
            (row % down == row_phase && column % right == column_phase).then_some(Tap { index, offset })
        };
        (0..height * width).filter_map(tap).collect()
    };
    ring.taps = (0..rows * down * right).map(taps).collect();
    ring
}

struct Backward<'p, 'a, E> {
    plan: &'p DepthwiseBackwardPlan,
    unit: BackwardUnit<'a>,
    element: PhantomData<E>,
}

impl<E: Element> WithSimd for Backward<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Backward { plan, mut unit, .. } = self;
        let (ring, height, filter_len) = (&plan.ring, plan.shape.input.height, plan.filter_len());
        let (packed, rest) = unit.scratch.split_at_mut(ring.len());
        let (weights, sums) = rest.split_at_mut(filter_len * ring.channels);
        let sums = &mut sums[..3 * ring.channels];
        let dx = unit.input_gradient.as_mut().map(Epilogue::new);
        packed.fill(Lane::ZERO);
        for channels in ring.blocks() {
            weights.fill(Lane::ZERO);
            sums.fill(Lane::ZERO);
            for (tile, row) in (0..plan.unit).flat_map(|tile| (0..height).map(move |row| (tile, row))) {
                let end = plan.gradient_of(row) + 1;
                let held = if row == 0 { end - ring.rows as isize } else { plan.gradient_of(row - 1) + 1 };
                // SAFETY: `run` checked the operands.
                unsafe { ring.fill::<S, E>(simd, (tile, held..end, channels.clone()), &unit.gradient, None, packed) };
                let row = Row { plan, input: &unit.input, tile, row, channels: channels.clone() };
                // SAFETY: as above.
                unsafe {
                    match &dx {
                        Some(dx) => row.run::<S, E, true>(simd, packed, Some(dx), weights, sums),
                        None => row.run::<S, E, false>(simd, packed, None, weights, sums),
                    }
                }
            }
            for (weight, lanes) in unit.weights[channels.start * filter_len..].iter_mut().zip(&*weights) {
                *weight = lanes.0.iter().sum();
            }
            if let Some(finish) = unit.input_gradient.as_mut().and_then(|gradient| gradient.finish.as_mut()) {
                for (total, sum) in finish.sums.iter_mut().skip(3 * channels.start).zip(&*sums) {
                    *total = sum.0.iter().sum();
                }
            }
        }
        fence();
    }
}

/// One row of some channels of one tile.
struct Row<'a> {
    plan: &'a DepthwiseBackwardPlan,
    input: &'a Mix<'a>,
    tile: usize,
    row: usize,
    channels: Range<usize>,
}

impl Row<'_> {
    /// # Safety
    /// The operands were checked against the plan; `packed` is its ring, which holds what the row reads.
    #[inline(always)]
    unsafe fn run<S: Simd, E: Element, const DX: bool>(
        &self,
        simd: S,
        packed: &[Lane],
        dx: Option<&Epilogue<'_>>,
        weights: &mut [Lane],
        sums: &mut [Lane],
    ) {
        let (plan, ring, filter_len) = (self.plan, &self.plan.ring, self.plan.filter_len());
        let (plane, [down, right], [above, left]) = (plan.shape.input, plan.shape.stride, plan.shape.padding);
        // Two tiles are alive at once, so machines with sixteen registers take half the length.
        let longest = if S::REGISTER_COUNT >= 32 { TILE } else { TILE / 2 };
        let row_group = ring.slot(plan.gradient_of(self.row)) * down + (self.row + above) % down;
        let (copy, ahead) = (self.input.is_copy(), ring.ahead(plane, self.row));
        for phase in 0..right {
            // Columns w of this phase: (w + left) mod stride = phase.
            let column = (phase + right - left % right) % right;
            let taps = &ring.taps[row_group * right + phase];
            let register_tiles = register_tiles(plane.width.saturating_sub(column).div_ceil(right), longest);
            for (i, channel) in self.channels.clone().enumerate() {
                let filter = &plan.weights[channel * filter_len..][..filter_len];
                let tile = Tile { taps, filter, channel, input: self.input, copy, step: right * LANES, ahead };
                let line = self.tile * E::tile_len(plane) + self.row * plane.row_len() + channel * plane.width + column;
                let weights = floats_mut(&mut weights[i * filter_len..]);
                let sums = floats_mut(&mut sums[3 * i..]);
                for (start, len) in register_tiles.clone() {
                    let at = (line + start * right) * LANES;
                    let dz = floats(&packed[i * ring.line_len + (column + left) / right + start..]);
                    // SAFETY: taps stay inside the ring by construction of the plan, and the tile in its line.
                    unsafe { with_tile!(len, T => tile.run::<S, E, T, DX>(simd, at, dz, dx, weights, sums)) };
                }
            }
        }
    }
}

/// Some vectors of one row of one channel.
struct Tile<'a> {
    taps: &'a [Tap],
    filter: &'a [f32],
    channel: usize,
    input: &'a Mix<'a>,
    copy: bool,
    /// From one vector of the tile to the next, in floats.
    step: usize,
    /// From a vector to the one that will be wanted next.
    ahead: isize,
}

impl Tile<'_> {
    /// # Safety
    /// `at` is the float offset of the tile in the input, `dz` its place in slot 0 of the ring; `weights` holds a lane per
    /// tap, `sums` three.
    #[inline(always)]
    unsafe fn run<S: Simd, E: Element, const T: usize, const DX: bool>(
        &self,
        simd: S,
        at: usize,
        dz: *const f32,
        epilogue: Option<&Epilogue<'_>>,
        weights: *mut f32,
        sums: *mut f32,
    ) {
        for lane in (0..parts::<S>()).map(|part| part * S::F32_LANES) {
            let at: [usize; T] = std::array::from_fn(|j| at + j * self.step + lane);
            // SAFETY: the caller's promise.
            let x: [S::f32s; T] = unsafe { mixed_at::<S, E, T>(simd, self.input, self.copy, self.channel, at) };
            for at in at {
                E::prefetch_near(floats(self.input.a.data), at.wrapping_add_signed(self.ahead));
            }
            let mut dx = [simd.splat_f32s(0.0); T];
            for tap in self.taps {
                let weight = simd.splat_f32s(self.filter[tap.index]);
                // SAFETY: the caller's promise, `j` counts the tile's vectors.
                unsafe {
                    let sum = weights.add(tap.index * LANES + lane);
                    let mut dw = [load::<S>(sum), simd.splat_f32s(0.0)];
                    for j in 0..T {
                        let dz = load::<S>(dz.add((tap.offset + j) * LANES + lane));
                        if DX {
                            dx[j] = simd.mul_add_e_f32s(weight, dz, dx[j]);
                        }
                        dw[j % 2] = simd.mul_add_e_f32s(x[j], dz, dw[j % 2]);
                    }
                    store::<S>(sum, simd.add_f32s(dw[0], dw[1]));
                }
            }
            if DX && let Some(epilogue) = epilogue {
                // SAFETY: the caller's promise.
                unsafe { epilogue.finish::<S, E, T>(simd, self.channel, at, x, dx, sums.add(lane)) };
            }
        }
    }
}
