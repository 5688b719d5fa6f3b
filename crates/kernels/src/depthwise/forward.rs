//! Forward: all taps of a register tile, with the sums that batch norm wants.

use super::{Phase, Ring, Tap};
use crate::conv::{ConvShape, ForwardUnit, TILE, register_tiles};
use crate::dispatch::{InstructionSet, fence, floats, floats_mut, load, parts, store, with_tile};
use crate::layout::{LANES, Lane};
use crate::storage::{Element, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// What the forward pass of one depthwise convolution knows ahead.
#[derive(Debug)]
pub struct DepthwiseForwardPlan {
    shape: ConvShape,
    unit: usize,
    ring: Ring,
    weights: Vec<f32>,
}

impl DepthwiseForwardPlan {
    /// Plans the convolution for units of `unit` tiles.
    ///
    /// # Panics
    /// If `shape` is not depthwise: [`ConvShape::is_depthwise`].
    pub fn new(shape: ConvShape, unit: usize) -> DepthwiseForwardPlan {
        shape.check();
        assert!(shape.is_depthwise(), "{shape:?} is not depthwise");
        DepthwiseForwardPlan { shape, unit, ring: ring(&shape), weights: vec![0.0; shape.weight_len()] }
    }

    /// Takes over the current weights, `[channels, 1, kernel height, kernel width]` with all zeros.
    pub fn refresh(&mut self, dense: &[f32]) {
        self.weights.copy_from_slice(dense);
    }

    /// Bytes of the weights as the kernel reads them.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.weights[..])
    }

    /// Lanes of scratch that [`DepthwiseForwardPlan::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.ring.len() + 2 * self.ring.channels
    }

    /// Computes one unit.
    pub fn run(&self, set: InstructionSet, unit: ForwardUnit<'_>) {
        unit.check(&self.shape, self.unit);
        assert!(unit.scratch.len() >= self.scratch_len());
        with_storage!(unit.input.storage, E => set.run(Forward::<E> { plan: self, unit, element: PhantomData }));
    }
}

/// The input, its columns split by phase so that strided taps read neighbours.
fn ring(shape: &ConvShape) -> Ring {
    let ([height, width], [_, stride], [_, halo]) = (shape.kernel, shape.stride, shape.padding);
    let positions = (shape.input.width + 2 * halo).div_ceil(stride);
    // Column w sits at packed column w + halo = stride·position + phase.
    let phase = |phase| {
        let first = (phase + stride - halo % stride) % stride;
        let count = shape.input.width.saturating_sub(first).div_ceil(stride);
        Phase { first, position: phase * positions + (first + halo) / stride, count }
    };
    let phases: Vec<Phase> = (0..stride.min(width)).map(phase).collect();
    let mut ring = Ring::new(shape.input, height, phases.len() * positions, stride, phases);
    let taps = |first_slot| {
        let tap = |index| {
            let (row, column) = (index / width, index % width);
            let slot = (first_slot + row) % height;
            Tap { index, offset: slot * ring.row_len() + column % stride * positions + column / stride }
        };
        (0..height * width).map(tap).collect()
    };
    ring.taps = (0..height).map(taps).collect();
    ring
}

struct Forward<'p, 'a, E> {
    plan: &'p DepthwiseForwardPlan,
    unit: ForwardUnit<'a>,
    element: PhantomData<E>,
}

impl<E: Element> WithSimd for Forward<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { plan, mut unit, .. } = self;
        let (ring, plane, [above, _]) = (&plan.ring, plan.shape.output, plan.shape.padding);
        let ([height, width], [down, _]) = (plan.shape.kernel, plan.shape.stride);
        let (packed, sums) = unit.scratch.split_at_mut(ring.len());
        let sums = &mut sums[..2 * ring.channels];
        let keep = unit.keep.as_mut().map(|keep| floats_mut(keep));
        let register_tiles = register_tiles(plane.width, TILE);
        let output = floats_mut(unit.output);
        packed.fill(Lane::ZERO);
        for channels in ring.blocks() {
            sums.fill(Lane::ZERO);
            for (tile, row) in (0..plan.unit).flat_map(|tile| (0..plane.height).map(move |row| (tile, row))) {
                let first = (row * down) as isize - above as isize;
                let held = if row == 0 { first } else { first - down as isize + height as isize };
                let missing = (tile, first.max(held)..first + height as isize, channels.clone());
                // SAFETY: `run` checked the operands.
                unsafe { ring.fill::<S, E>(simd, missing, &unit.input, keep, packed) };
                let (taps, mask) = (&ring.taps[ring.slot(first)], unit.masks.get(tile));
                for (i, channel) in channels.clone().enumerate() {
                    let filter = &plan.weights[channel * height * width..][..height * width];
                    let tile_of = Tile { taps, filter, bias: unit.bias.get(channel).copied().unwrap_or(0.0), mask };
                    let line = tile * E::tile_len(plane) + row * plane.row_len() + channel * plane.width;
                    for (start, len) in register_tiles.clone() {
                        let x = floats(&packed[i * ring.line_len + start..]);
                        let sums = if unit.moments.is_empty() { None } else { Some(floats_mut(&mut sums[2 * i..])) };
                        // SAFETY: taps stay inside the ring by construction of the plan; `run` checked the output.
                        unsafe {
                            with_tile!(len, T => tile_of.run::<S, E, T>(simd, x, output, (line + start) * LANES, sums));
                        }
                    }
                }
            }
            for (moment, sum) in unit.moments.iter_mut().skip(2 * channels.start).zip(&*sums) {
                *moment = sum.0.iter().sum();
            }
        }
        fence();
    }
}

/// Some neighbouring vectors of one row of one channel.
struct Tile<'a> {
    taps: &'a [Tap],
    filter: &'a [f32],
    bias: f32,
    mask: Option<&'a Lane>,
}

impl Tile<'_> {
    /// # Safety
    /// `x` is the tile's place in slot 0 of the ring; `output` holds it `at` numbers from its start, `sums` two lanes.
    #[inline(always)]
    unsafe fn run<S: Simd, E: Element, const T: usize>(
        &self,
        simd: S,
        x: *const f32,
        output: *mut f32,
        at: usize,
        sums: Option<*mut f32>,
    ) {
        for lane in (0..parts::<S>()).map(|part| part * S::F32_LANES) {
            let mut values = [simd.splat_f32s(self.bias); T];
            for tap in self.taps {
                let weight = simd.splat_f32s(self.filter[tap.index]);
                for (j, value) in values.iter_mut().enumerate() {
                    // SAFETY: the caller's promise, `j` counts the tile's vectors.
                    let x = unsafe { load::<S>(x.add((tap.offset + j) * LANES + lane)) };
                    *value = simd.mul_add_e_f32s(weight, x, *value);
                }
            }
            for (j, &value) in values.iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { E::stream::<S>(output, at + j * LANES + lane, value) };
            }
            if let Some(sums) = sums {
                // SAFETY: the caller's promise.
                unsafe { self.add_moments(simd, values, lane, sums.add(lane)) };
            }
        }
    }

    /// Adds Σz and Σz² of the live lanes.
    ///
    /// # Safety
    /// `sums` points into two lanes.
    #[inline(always)]
    unsafe fn add_moments<S: Simd, const T: usize>(&self, simd: S, z: [S::f32s; T], lane: usize, sums: *mut f32) {
        // Two chains each, short enough to hide behind the next tile.
        let (mut sum, mut squares) = ([simd.splat_f32s(0.0); 2], [simd.splat_f32s(0.0); 2]);
        for (j, z) in z.into_iter().enumerate() {
            let live = match self.mask {
                // SAFETY: a mask is one lane.
                Some(mask) => simd.mul_f32s(z, unsafe { load::<S>(floats(std::slice::from_ref(mask)).add(lane)) }),
                None => z,
            };
            sum[j % 2] = simd.add_f32s(sum[j % 2], live);
            squares[j % 2] = simd.mul_add_e_f32s(live, live, squares[j % 2]);
        }
        for (to, [even, odd]) in [sums, sums.wrapping_add(LANES)].into_iter().zip([sum, squares]) {
            // SAFETY: the caller's promise.
            unsafe { store::<S>(to, simd.add_f32s(load::<S>(to), simd.add_f32s(even, odd))) };
        }
    }
}
