//! Forward: four output channels at once.

use super::{Block, CHANNELS, Panel, longest, with_vectors};
use crate::conv::forward::{Live, add_moments};
use crate::conv::{ConvShape, ForwardUnit, Window, addresses, band_rows, register_tiles};
use crate::dispatch::{InstructionSet, fence, floats, floats_mut, parts};
use crate::layout::{LANES, Lane};
use crate::mix::Target;
use crate::storage::{Element, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// What the forward pass of one dense convolution knows ahead.
#[derive(Debug)]
pub struct DenseForwardPlan {
    shape: ConvShape,
    unit: usize,
    target: Target,
    band: usize,
    panel: Panel,
}

impl DenseForwardPlan {
    /// Plans the convolution for units of `unit` tiles.
    pub fn new(shape: ConvShape, unit: usize) -> DenseForwardPlan {
        shape.check();
        let ([height, width], stride) = (shape.kernel, shape.stride[1]);
        let positions = (shape.input.width + 2 * shape.padding[1]).div_ceil(stride);
        let target = Target { halo: shape.padding[1], positions, stride, phases: stride.min(width), tiles: unit };
        let (row_len, channel_len) = (target.row_len(shape.input), target.channel_len());
        let (inputs, outputs) = (shape.group_inputs(), shape.output.channels / shape.groups);
        let entries = (0..inputs * height * width).map(|entry| {
            let (tap, input) = (entry % (height * width), entry / (height * width));
            let (row, column) = (tap / width, tap % width);
            let place = (column % stride * positions + column / stride) * unit;
            (row * row_len + input * channel_len + place, entry)
        });
        let panel = Panel::new(shape.groups, outputs, inputs * height * width, inputs * channel_len, entries);
        let band = band_rows(shape.output.height, row_len, shape.stride[0], height);
        DenseForwardPlan { shape, unit, target, band, panel }
    }

    /// Takes over the current weights, `[out, in / groups, kernel height, kernel width]` with all zeros.
    pub fn refresh(&mut self, dense: &[f32]) {
        assert_eq!(dense.len(), self.shape.weight_len());
        self.panel.refresh(dense);
    }

    /// Bytes of the weights as the kernel reads them.
    pub fn bytes(&self) -> usize {
        self.panel.bytes()
    }

    fn row_len(&self) -> usize {
        self.target.row_len(self.shape.input)
    }

    fn packed_len(&self) -> usize {
        ((self.band - 1) * self.shape.stride[0] + self.shape.kernel[0]) * self.row_len()
    }

    /// Lanes of scratch that [`DenseForwardPlan::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.packed_len() + 2 * self.shape.output.channels
    }

    /// Computes one unit.
    pub fn run(&self, set: InstructionSet, unit: ForwardUnit<'_>) {
        unit.check(&self.shape, self.unit);
        assert!(unit.scratch.len() >= self.scratch_len());
        with_storage!(unit.input.storage, E => set.run(Forward::<E> { plan: self, unit, element: PhantomData }));
    }
}

struct Forward<'p, 'a, E> {
    plan: &'p DenseForwardPlan,
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
        let (packed, sums) = unit.scratch.split_at_mut(plan.packed_len());
        let sums = &mut sums[..2 * shape.output.channels];
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
                for block in plan.panel.blocks() {
                    let origin = &packed[row * down * row_len + block.shift..];
                    for (start, len) in register_tiles(shape.output.width * plan.unit, longest::<S>()) {
                        let tile = Tile { plan, block, row: top + row, start, bias: unit.bias, masks: unit.masks };
                        let x = floats(&origin[start..]);
                        let output = floats_mut(unit.output);
                        let sums = if unit.moments.is_empty() { None } else { Some(floats_mut(sums)) };
                        // SAFETY: offsets of the panel stay inside the packed band by construction of the plan; `run`
                        // checked the output and the masks.
                        unsafe { with_vectors!(len, V => tile.run::<S, E, V>(simd, x, output, sums)) };
                    }
                }
            }
        }
        fence();
        for (moment, sum) in unit.moments.iter_mut().zip(sums) {
            *moment = sum.0.iter().sum();
        }
    }
}

/// One block of output channels at some neighbouring vectors of a row.
struct Tile<'a> {
    plan: &'a DenseForwardPlan,
    block: Block<'a>,
    row: usize,
    start: usize,
    bias: &'a [f32],
    masks: &'a [Lane],
}

impl Tile<'_> {
    /// # Safety
    /// `x` is the tile's origin in the packed band; `output` and `sums` hold the unit's tiles and all channels.
    #[inline(always)]
    unsafe fn run<S: Simd, E: Element, const V: usize>(
        &self,
        simd: S,
        x: *const f32,
        output: *mut f32,
        sums: Option<*mut f32>,
    ) {
        let (plane, unit) = (self.plan.shape.output, self.plan.unit);
        let at = addresses::<E, V>(self.start, unit, plane, self.row, |pixel| pixel);
        let live = Live { masks: self.masks, first: self.start, unit };
        for part in 0..parts::<S>() {
            let lane = part * S::F32_LANES;
            let mut z = [[simd.splat_f32s(0.0); V]; CHANNELS];
            for (k, z) in z.iter_mut().enumerate() {
                *z = [simd.splat_f32s(self.bias.get(self.block.first + k).copied().unwrap_or(0.0)); V];
            }
            // SAFETY: see the caller.
            let z = unsafe { self.block.gather(simd, x.add(lane), z) };
            for (k, z) in z.into_iter().enumerate() {
                if k >= self.block.live {
                    break;
                }
                let channel = self.block.first + k;
                for (j, &z) in z.iter().enumerate() {
                    // SAFETY: the address lies in the unit's output.
                    unsafe { E::stream::<S>(output, at[j] + channel * plane.width * LANES + lane, z) };
                }
                if let Some(sums) = sums {
                    // SAFETY: two lanes per channel.
                    unsafe { add_moments(simd, z, &live, lane, sums.add(2 * channel * LANES + lane)) };
                }
            }
        }
    }
}
