//! Backward: the gradient of four input channels at once, and that of all weights from the same packed bands.

use super::weights::{Band, STRIP_VECTORS, Tap};
use super::{Block, CHANNELS, Panel, longest, with_vectors};
use crate::conv::{BackwardUnit, ConvShape, Epilogue, Window, addresses, register_tiles};
use crate::dispatch::{InstructionSet, fence, floats, floats_mut, load, parts};
use crate::layout::{LANES, Lane};
use crate::mix::{Target, pack_row};
use crate::storage::{Element, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Lanes that the packed bands of gradient and input may take together: 1 MiB, or as many as one strip of rows needs.
const BAND_LANES: usize = 1024 * 1024 / size_of::<Lane>();

/// What the backward pass of one dense convolution knows ahead.
#[derive(Debug)]
pub struct DenseBackwardPlan {
    pub(super) shape: ConvShape,
    pub(super) unit: usize,
    /// The packed gradient, with a halo.
    pub(super) gradient: Target,
    /// The packed input, by column phase and without a halo.
    pub(super) input: Target,
    /// Input rows in a band.
    band: usize,
    /// Rows and columns of the gradient before the one that a first tap reads.
    pub(super) reach: [usize; 2],
    /// One panel per phase of rows and columns.
    panels: Vec<Panel>,
    pub(super) taps: Vec<Tap>,
}

impl DenseBackwardPlan {
    /// Plans the convolution for units of `unit` tiles.
    pub fn new(shape: ConvShape, unit: usize) -> DenseBackwardPlan {
        shape.check();
        let [down, right] = shape.stride;
        // Taps of one phase, per axis: tap = phase + stride·m reads m places before.
        let reach = [shape.kernel[0].div_ceil(down) - 1, shape.kernel[1].div_ceil(right) - 1];
        let last = (shape.input.width - 1 + shape.padding[1]) / right;
        let positions = reach[1] + (last + 1).max(shape.output.width);
        let gradient = Target { halo: reach[1], positions, stride: 1, phases: 1, tiles: unit };
        let columns = shape.input.width.div_ceil(right);
        let input = Target { halo: 0, positions: columns, stride: right, phases: right, tiles: unit };
        let (gradient_row, input_row) = (gradient.row_len(shape.output), input.row_len(shape.input));
        let fits = |band: &usize| band * down * input_row + (band + 1 + reach[0]) * gradient_row <= BAND_LANES;
        let (rows, strip) = (shape.input.height.div_ceil(down), (STRIP_VECTORS / (columns * unit)).max(1));
        let band = (strip.min(rows)..=rows).rev().find(fits).unwrap_or(strip.min(rows)) * down;
        let panels = (0..down * right)
            .map(|phase| panel(&shape, [phase / right, phase % right], reach, unit, gradient))
            .collect();
        let mut plan = DenseBackwardPlan { shape, unit, gradient, input, band, reach, panels, taps: Vec::new() };
        plan.taps = Tap::all(&plan);
        plan
    }

    /// Takes over the current weights, `[out, in / groups, kernel height, kernel width]` with all zeros. Not needed where
    /// only the gradient of the weights is asked for.
    pub fn refresh(&mut self, dense: &[f32]) {
        assert_eq!(dense.len(), self.shape.weight_len());
        self.panels.iter_mut().for_each(|panel| panel.refresh(dense));
    }

    /// Bytes of the weights as the kernel reads them.
    pub fn bytes(&self) -> usize {
        self.panels.iter().map(Panel::bytes).sum()
    }

    pub(super) fn gradient_row(&self) -> usize {
        self.gradient.row_len(self.shape.output)
    }

    pub(super) fn input_row(&self) -> usize {
        self.input.row_len(self.shape.input)
    }

    /// The row of the gradient that the first tap of an input row reads.
    pub(super) fn gradient_of(&self, row: usize) -> usize {
        (row + self.shape.padding[0]) / self.shape.stride[0]
    }

    /// First input column of a column phase, its number of columns, and the gradient position of its first tap.
    pub(super) fn columns(&self, phase: usize) -> Option<(usize, usize, usize)> {
        let (right, left) = (self.shape.stride[1], self.shape.padding[1]);
        let column = (phase + right - left % right) % right;
        let count = self.shape.input.width.checked_sub(column)?.div_ceil(right);
        (count > 0).then_some((column, count, (column + left) / right))
    }

    fn packed_gradient(&self) -> usize {
        ((self.band - 1) / self.shape.stride[0] + 2 + self.reach[0]) * self.gradient_row()
    }

    fn packed_input(&self) -> usize {
        self.band * self.input_row()
    }

    /// Lanes of scratch that [`DenseBackwardPlan::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.packed_gradient() + self.packed_input() + 3 * self.shape.input.channels
    }

    /// Computes one unit; the sums of the weights are those of all positions, in the order of the dense tensor.
    pub fn run(&self, set: InstructionSet, unit: BackwardUnit<'_>) {
        unit.check(&self.shape, self.unit, self.shape.weight_len());
        assert!(unit.scratch.len() >= self.scratch_len());
        with_storage!(unit.input.storage, E => set.run(Backward::<E> { plan: self, unit, element: PhantomData }));
    }
}

/// The weights that the input pixels of one phase see, by gathered output channel.
fn panel(shape: &ConvShape, phase: [usize; 2], reach: [usize; 2], unit: usize, gradient: Target) -> Panel {
    let ([height, width], [down, right]) = (shape.kernel, shape.stride);
    let (inputs, outputs) = (shape.group_inputs(), shape.output.channels / shape.groups);
    let (row_len, channel_len) = (gradient.row_len(shape.output), gradient.channel_len());
    let entries = (0..outputs).flat_map(move |output| {
        let rows = (phase[0]..height).step_by(down);
        rows.flat_map(move |row| (phase[1]..width).step_by(right).map(move |column| [row, column])).map(
            move |[row, column]| {
                let (up, back) = (reach[0] - row / down, reach[1] - column / right);
                let offset = up * row_len + output * channel_len + back * unit;
                (offset, output * inputs * height * width + row * width + column)
            },
        )
    });
    Panel::new(shape.groups, inputs, height * width, outputs * channel_len, entries)
}

struct Backward<'p, 'a, E> {
    plan: &'p DenseBackwardPlan,
    unit: BackwardUnit<'a>,
    element: PhantomData<E>,
}

impl<E: Element> WithSimd for Backward<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Backward { plan, mut unit, .. } = self;
        let shape = &plan.shape;
        let (packed, rest) = unit.scratch.split_at_mut(plan.packed_gradient());
        let (inputs, rest) = rest.split_at_mut(plan.packed_input());
        let sums = &mut rest[..3 * shape.input.channels];
        sums.fill(Lane::ZERO);
        unit.weights.fill(0.0);
        let dx = unit.input_gradient.as_mut().map(Epilogue::new);
        let mut window = Window::new(shape.output, plan.gradient);
        for top in (0..shape.input.height).step_by(plan.band) {
            let bottom = (top + plan.band).min(shape.input.height);
            let first = plan.gradient_of(top) as isize - plan.reach[0] as isize;
            let rows = plan.gradient_of(bottom - 1) as isize + 1 - first;
            // SAFETY: `run` checked the operands, and the band holds that many rows.
            unsafe { window.fill::<S, E>(simd, (first, rows as usize), &unit.gradient, None, packed) };
            for (row, slot) in (top..bottom).zip(inputs.chunks_exact_mut(plan.input_row())) {
                // SAFETY: as above; the slot is one packed row.
                unsafe { pack_row::<S, E>(simd, &unit.input, None, shape.input, Some(row), plan.input, slot) };
            }
            let band = Band { plan, gradient: packed, input: inputs, top, bottom };
            if let Some(epilogue) = &dx {
                band.input_gradient::<S, E>(simd, epilogue, sums);
            }
            band.weight_gradient(simd, unit.weights);
        }
        fence();
        if let Some(gradient) = &mut unit.input_gradient {
            gradient.reduce(sums);
        }
    }
}

impl Band<'_> {
    #[inline(always)]
    fn input_gradient<S: Simd, E: Element>(&self, simd: S, epilogue: &Epilogue<'_>, sums: &mut [Lane]) {
        let (plan, shape) = (self.plan, &self.plan.shape);
        let [down, right] = shape.stride;
        for row in self.top..self.bottom {
            let slot = (plan.gradient_of(row) - plan.gradient_of(self.top)) * plan.gradient_row();
            let input = &self.input[(row - self.top) * plan.input_row()..];
            for phase in 0..right {
                let Some((column, count, position)) = plan.columns(phase) else { continue };
                let panel = &plan.panels[(row + shape.padding[0]) % down * right + phase];
                for block in panel.blocks() {
                    let origin = &self.gradient[slot + block.shift + position * plan.unit..];
                    for (start, len) in register_tiles(count * plan.unit, longest::<S>()) {
                        let tile = Tile { plan, block, epilogue, row, column, start };
                        let (dz, sums) = (floats(&origin[start..]), floats_mut(sums));
                        // SAFETY: offsets of the panel stay inside the packed band by construction of the plan; `run`
                        // checked everything else.
                        unsafe { with_vectors!(len, V => tile.run::<S, E, V>(simd, dz, input, sums)) };
                    }
                }
            }
        }
    }
}

/// One block of input channels at some neighbouring vectors of a row and column phase.
struct Tile<'a> {
    plan: &'a DenseBackwardPlan,
    block: Block<'a>,
    epilogue: &'a Epilogue<'a>,
    row: usize,
    column: usize,
    start: usize,
}

impl Tile<'_> {
    /// # Safety
    /// `dz` is the tile's origin in the packed gradient, `sums` holds three lanes a channel.
    #[inline(always)]
    unsafe fn run<S: Simd, E: Element, const V: usize>(&self, simd: S, dz: *const f32, input: &[Lane], sums: *mut f32) {
        let (plan, plane) = (self.plan, self.plan.shape.input);
        let stride = plan.shape.stride[1];
        let at = addresses::<E, V>(self.start, plan.unit, plane, self.row, |pixel| self.column + pixel * stride);
        let first = self.column * plan.input.positions * plan.unit + self.start;
        for part in 0..parts::<S>() {
            let lane = part * S::F32_LANES;
            let zeros = [[simd.splat_f32s(0.0); V]; CHANNELS];
            // SAFETY: see the caller.
            let dx = unsafe { self.block.gather(simd, dz.add(lane), zeros) };
            for (k, dx) in dx.into_iter().enumerate() {
                if k >= self.block.live {
                    break;
                }
                let channel = self.block.first + k;
                let from = floats(&input[channel * plan.input.channel_len() + first..][..V]);
                let (mut x, mut to) = ([simd.splat_f32s(0.0); V], at);
                for j in 0..V {
                    // SAFETY: `from` holds `V` lanes.
                    x[j] = unsafe { load::<S>(from.add(j * LANES + lane)) };
                    to[j] += channel * plane.width * LANES + lane;
                }
                // SAFETY: the addresses lie in the unit's tiles.
                unsafe {
                    self.epilogue.finish::<S, E, V>(simd, channel, to, x, dx, sums.add(3 * channel * LANES + lane))
                };
            }
        }
    }
}
