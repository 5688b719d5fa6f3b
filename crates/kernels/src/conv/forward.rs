//! Forward: each output channel gathers its non-zeros' inputs into a register tile.

use super::stream::{Pattern, Stream};
use super::{Blocks, ConvShape, TILE, Window, addresses, band_rows, register_tiles};
use crate::dispatch::{InstructionSet, fence, floats, floats_mut, load, store, with_tile};
use crate::layout::{LANES, Lane, Plane};
use crate::mix::{Mix, Target};
use crate::storage::{Element, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// What the forward pass of one convolution knows ahead.
#[derive(Debug)]
pub struct ForwardPlan {
    shape: ConvShape,
    unit: usize,
    target: Target,
    band: usize,
    blocks: Blocks,
    /// A list per block and output channel.
    stream: Stream,
}

/// One unit of the batch in the forward pass.
pub struct ForwardUnit<'a> {
    /// The input values.
    pub input: Mix<'a>,
    /// Also stores the input values, in the ordinary layout.
    pub keep: Option<&'a mut [Lane]>,
    /// Added per output channel; empty for none.
    pub bias: &'a [f32],
    /// Raw output of the unit's tiles, stored as the input is.
    pub output: &'a mut [Lane],
    /// Per output channel Σz and Σz² over the live lanes, `[sum, sum of squares]` each; empty if nobody asks.
    pub moments: &'a mut [f32],
    /// One mask per tile of the unit if some of its lanes are spare, else empty.
    pub masks: &'a [Lane],
    /// At least [`ForwardPlan::scratch_len`] lanes.
    pub scratch: &'a mut [Lane],
}

impl ForwardUnit<'_> {
    pub(crate) fn check(&self, shape: &ConvShape, tiles: usize) {
        let outputs = shape.output.channels;
        self.input.check(shape.input, tiles);
        let lens = [shape.input, shape.output].map(|plane| self.input.storage.lanes(plane) * tiles);
        assert!(self.output.len() >= lens[1], "output holds the unit's tiles");
        assert!(self.keep.as_ref().is_none_or(|keep| keep.len() >= lens[0]));
        assert!(self.bias.is_empty() || self.bias.len() == outputs);
        assert!(self.moments.is_empty() || self.moments.len() == 2 * outputs);
        assert!(self.masks.is_empty() || self.masks.len() >= tiles);
    }
}

impl ForwardPlan {
    /// Plans the convolution for units of `unit` tiles.
    pub fn new(shape: ConvShape, unit: usize, active: &[u32]) -> ForwardPlan {
        shape.check();
        let phases = shape.stride[1].min(shape.kernel[1]);
        let positions = (shape.input.width + 2 * shape.padding[1]).div_ceil(shape.stride[1]);
        let target = Target { halo: shape.padding[1], positions, stride: shape.stride[1], phases, tiles: unit };
        let channel_len = target.channel_len();
        let row_len = shape.input.channels * channel_len;
        let pattern = Pattern { active, candidates: &[] };
        let outputs = shape.output.channels;
        let lanes = shape.kernel[0] * phases * (TILE + shape.kernel[1] - 1);
        let blocks = Blocks::new(shape.input.channels, lanes, active.len(), outputs);
        let stream = Stream::new(&shape, pattern, blocks.count * outputs, |tap| {
            let (phase, position) = (tap.column % shape.stride[1], tap.column / shape.stride[1]);
            let column = (phase * positions + position) * unit;
            let list = tap.input / blocks.channels * outputs + tap.output;
            (list, tap.row * row_len + tap.input * channel_len + column)
        });
        let band = band_rows(shape.output.height, row_len, shape.stride[0], shape.kernel[0]);
        ForwardPlan { shape, unit, target, band, blocks, stream }
    }

    /// Takes over the current weights.
    pub fn refresh(&mut self, values: &[f32]) {
        self.stream.refresh(values);
    }

    /// Bytes of the index stream.
    pub fn bytes(&self) -> usize {
        self.stream.bytes()
    }

    fn row_len(&self) -> usize {
        self.target.row_len(self.shape.input)
    }

    fn packed_len(&self) -> usize {
        ((self.band - 1) * self.shape.stride[0] + self.shape.kernel[0]) * self.row_len()
    }

    /// Lanes of scratch that [`ForwardPlan::run`] needs.
    pub fn scratch_len(&self) -> usize {
        let outputs = self.shape.output.channels;
        self.packed_len() + 2 * outputs + self.blocks.parts_len(outputs)
    }

    /// Computes one unit.
    pub fn run(&self, set: InstructionSet, unit: ForwardUnit<'_>) {
        unit.check(&self.shape, self.unit);
        assert!(unit.scratch.len() >= self.scratch_len());
        with_storage!(unit.input.storage, E => set.run(Forward::<E> { plan: self, unit, element: PhantomData }));
    }
}

struct Forward<'p, 'a, E> {
    plan: &'p ForwardPlan,
    unit: ForwardUnit<'a>,
    element: PhantomData<E>,
}

impl<E: Element> WithSimd for Forward<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { plan, mut unit, .. } = self;
        let shape = &plan.shape;
        let (row_len, [down, _]) = (plan.row_len(), shape.stride);
        let (packed, rest) = unit.scratch.split_at_mut(plan.packed_len());
        let (sums, parts) = rest.split_at_mut(2 * shape.output.channels);
        sums.fill(Lane::ZERO);
        let keep = unit.keep.as_mut().map(|keep| floats_mut(keep));
        let mut window = Window::new(shape.input, plan.target);
        for top in (0..shape.output.height).step_by(plan.band) {
            let rows = plan.band.min(shape.output.height - top);
            let first = (top * down) as isize - shape.padding[0] as isize;
            let needed = (first, (rows - 1) * down + shape.kernel[0]);
            // SAFETY: `run` checked the operands, and the band holds that many rows.
            unsafe { window.fill::<S, E>(simd, needed, &unit.input, keep, packed) };
            for row in 0..rows {
                let origin = &packed[row * down * row_len..];
                for (start, len) in register_tiles(shape.output.width * plan.unit, TILE) {
                    let tile = RegisterTile { plan, row: top + row, start, bias: unit.bias, masks: unit.masks };
                    let x = floats(&origin[start..]);
                    let (output, parts) = (floats_mut(unit.output), floats_mut(parts));
                    let sums = (!unit.moments.is_empty()).then_some(floats_mut(sums));
                    // SAFETY: offsets of the stream stay inside the packed band by construction of the plan; `run`
                    // checked the output and the masks.
                    unsafe { with_tile!(len, T => tile.run::<S, E, T>(simd, x, output, parts, sums)) };
                }
            }
        }
        fence();
        for (moment, sum) in unit.moments.iter_mut().zip(sums) {
            *moment = sum.0.iter().sum();
        }
    }
}

struct RegisterTile<'a> {
    plan: &'a ForwardPlan,
    row: usize,
    start: usize,
    bias: &'a [f32],
    masks: &'a [Lane],
}

impl RegisterTile<'_> {
    /// # Safety
    /// `x` is the tile's origin in the packed band; `output` and `sums` hold the unit's tiles and all channels; `parts` holds
    /// a register tile per channel if there are blocks.
    #[inline(always)]
    unsafe fn run<S: Simd, E: Element, const T: usize>(
        &self,
        simd: S,
        x: *const f32,
        output: *mut f32,
        parts: *mut f32,
        sums: Option<*mut f32>,
    ) {
        let plane: Plane = self.plan.shape.output;
        let at = addresses::<E, T>(self.start, self.plan.unit, plane, self.row, |pixel| pixel);
        let Stream { starts, entries, .. } = &self.plan.stream;
        let last = self.plan.blocks.count - 1;
        let live = Live { masks: self.masks, first: self.start, unit: self.plan.unit };
        for lane in (0..LANES).step_by(S::F32_LANES) {
            let mut list = 0;
            for block in 0..=last {
                for channel in 0..plane.channels {
                    let bias = self.bias.get(channel).copied().unwrap_or(0.0);
                    let mut z = [simd.splat_f32s(bias); T];
                    let part = parts.wrapping_add(channel * TILE * LANES + lane);
                    if block > 0 {
                        for (j, z) in z.iter_mut().enumerate() {
                            // SAFETY: the caller's promise.
                            *z = unsafe { load::<S>(part.add(j * LANES)) };
                        }
                    }
                    for entry in &entries[starts[list] as usize..starts[list + 1] as usize] {
                        let weight = simd.splat_f32s(entry.weight);
                        // SAFETY: see the caller.
                        let from = unsafe { x.add(entry.offset as usize + lane) };
                        for (j, z) in z.iter_mut().enumerate() {
                            // SAFETY: as above, `j` counts the tile's vectors.
                            *z = simd.mul_add_e_f32s(weight, unsafe { load::<S>(from.add(j * LANES)) }, *z);
                        }
                    }
                    list += 1;
                    if block < last {
                        for (j, &z) in z.iter().enumerate() {
                            // SAFETY: the caller's promise.
                            unsafe { store::<S>(part.add(j * LANES), z) };
                        }
                        continue;
                    }
                    let channel_at = channel * plane.width * LANES + lane;
                    for j in 0..T {
                        // SAFETY: the address lies in the unit's output.
                        unsafe { E::stream::<S>(output, at[j] + channel_at, z[j]) };
                    }
                    if let Some(sums) = sums {
                        // SAFETY: two lanes per channel.
                        unsafe { add_moments(simd, z, &live, lane, sums.add(2 * channel * LANES + lane)) };
                    }
                }
            }
        }
    }
}

/// The lanes that count, in a register tile whose first vector is number `first` of a row.
pub(super) struct Live<'a> {
    /// One mask per tile of the unit if some of its lanes are spare, else empty.
    pub masks: &'a [Lane],
    pub first: usize,
    pub unit: usize,
}

/// Adds Σz and Σz² over the live lanes.
///
/// # Safety
/// `to` points into the first of two lanes.
#[inline(always)]
pub(super) unsafe fn add_moments<S: Simd, const T: usize>(
    simd: S,
    z: [S::f32s; T],
    live: &Live<'_>,
    lane: usize,
    to: *mut f32,
) {
    let (mut sum, mut squares) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
    for (j, z) in z.into_iter().enumerate() {
        let z = match live.masks {
            [] => z,
            masks => {
                let mask = &masks[(live.first + j) % live.unit..];
                // SAFETY: one mask per tile of the unit.
                simd.mul_f32s(z, unsafe { load::<S>(floats(mask).add(lane)) })
            }
        };
        sum = simd.add_f32s(sum, z);
        squares = simd.mul_add_e_f32s(z, z, squares);
    }
    // SAFETY: the caller's promise.
    unsafe {
        store::<S>(to, simd.add_f32s(load::<S>(to), sum));
        let to = to.add(LANES);
        store::<S>(to, simd.add_f32s(load::<S>(to), squares));
    }
}
