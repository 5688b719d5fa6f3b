//! Backward: one loop forms the gradient of the input and of the weights, with one load for two multiply-adds.

use super::epilogue::{Epilogue, InputGradient};
use super::stream::{Entry, Pattern, Stream};
use super::{Blocks, ConvShape, TILE, Window, addresses, band_rows, register_tiles};
use crate::dispatch::{InstructionSet, fence, floats, floats_mut, load, store, with_tile};
use crate::layout::{LANES, Lane};
use crate::mix::{Mix, Target, mixed_at};
use crate::storage::{Element, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Visits of a weight per unit up to which its gradient is reduced at once instead of kept in lanes.
const REDUCE_AT_ONCE: usize = 4;

/// Entries whose gradients share a lane: a lane per entry would cost more in traffic than the arithmetic does.
const GROUP: usize = 4;

/// What the backward pass of one convolution knows ahead, for one pattern.
#[derive(Debug)]
pub struct BackwardPlan {
    shape: ConvShape,
    unit: usize,
    target: Target,
    band: usize,
    /// Rows of the packed gradient above the one that a row's first tap reads.
    reach: usize,
    blocks: Blocks,
    /// A list per phase, block and input channel.
    stream: Stream,
    /// First group of sums of each list, and their number; empty if sums are reduced at once.
    groups: Vec<u32>,
}

/// One unit of the batch in the backward pass.
pub struct BackwardUnit<'a> {
    /// The gradient of the raw output, zero in spare lanes.
    pub gradient: Mix<'a>,
    /// The input values, as in the forward pass, and stored as the gradients are.
    pub input: Mix<'a>,
    /// Where the gradient of the input goes; `None` if nobody needs it.
    pub input_gradient: Option<InputGradient<'a>>,
    /// One sum per entry of the pattern, in the plan's own order: see [`BackwardPlan::scatter`].
    pub weights: &'a mut [f32],
    /// At least [`BackwardPlan::scratch_len`] lanes.
    pub scratch: &'a mut [Lane],
}

impl BackwardUnit<'_> {
    /// Checks everything but the scratch, for units of `tiles` tiles that leave `sums` sums of weights.
    pub(crate) fn check(&self, shape: &ConvShape, tiles: usize, sums: usize) {
        self.gradient.check(shape.output, tiles);
        self.input.check(shape.input, tiles);
        assert!(self.input.masks.is_empty(), "spare lanes are masked in the gradient");
        assert_eq!(self.gradient.storage, self.input.storage, "input and gradients are stored alike");
        assert_eq!(self.weights.len(), sums);
        if let Some(gradient) = &self.input_gradient {
            gradient.check(shape.input, self.input.storage, tiles);
        }
    }
}

impl BackwardPlan {
    /// Plans the convolution for units of `unit` tiles.
    pub fn new(shape: ConvShape, unit: usize, pattern: Pattern<'_>) -> BackwardPlan {
        shape.check();
        let [down, right] = shape.stride;
        // Taps of one phase, per axis: tap = phase + stride·m reads m places before.
        let [taps_y, taps_x] = [shape.kernel[0].div_ceil(down), shape.kernel[1].div_ceil(right)];
        let last = (shape.input.width - 1 + shape.padding[1]) / right;
        let positions = taps_x - 1 + (last + 1).max(shape.output.width);
        let target = Target { halo: taps_x - 1, positions, stride: 1, phases: 1, tiles: unit };
        let channel_len = target.channel_len();
        let row_len = shape.output.channels * channel_len;
        let (inputs, phases) = (shape.input.channels, down * right);
        let entries = pattern.active.len() + pattern.candidates.len();
        let blocks = Blocks::new(shape.output.channels, taps_y * (TILE + taps_x - 1), entries, phases * inputs);
        let stream = Stream::new(&shape, pattern, phases * blocks.count * inputs, |tap| {
            let (phase, m) = ([tap.row % down, tap.column % right], [tap.row / down, tap.column / right]);
            let block = (phase[0] * right + phase[1]) * blocks.count + tap.output / blocks.channels;
            let row = (taps_y - 1 - m[0]) * row_len;
            (block * inputs + tap.input, row + tap.output * channel_len + (taps_x - 1 - m[1]) * unit)
        });
        // A band is counted in input rows; `band` of them read at most (band − 1)/stride + 1 + taps rows.
        let rows = shape.input.height.div_ceil(down);
        let band = band_rows(rows, row_len, 1, taps_y + usize::from(down > 1)) * down;
        let visits = shape.input.height.div_ceil(down) * (shape.input.width.div_ceil(right) * unit).div_ceil(TILE);
        let groups = if visits <= REDUCE_AT_ONCE { Vec::new() } else { stream.chunks_before(GROUP) };
        BackwardPlan { shape, unit, target, band, reach: taps_y - 1, blocks, stream, groups }
    }

    /// Takes over the current weights; candidates count as zeros.
    pub fn refresh(&mut self, values: &[f32]) {
        self.stream.refresh(values);
    }

    /// Bytes of the index streams.
    pub fn bytes(&self) -> usize {
        self.stream.bytes()
    }

    /// Entries of the pattern: active positions and candidates.
    pub fn entries(&self) -> usize {
        self.stream.entries.len()
    }

    fn row_len(&self) -> usize {
        self.target.row_len(self.shape.output)
    }

    fn packed_len(&self) -> usize {
        let [down, _] = self.shape.stride;
        ((self.band - 1) / down + 2 + self.reach) * self.row_len()
    }

    fn accumulators(&self) -> usize {
        self.groups.last().map_or(0, |&groups| groups as usize)
    }

    /// Lanes of scratch that [`BackwardPlan::run`] needs.
    pub fn scratch_len(&self) -> usize {
        let inputs = self.shape.input.channels;
        self.packed_len() + self.accumulators() + 3 * inputs + self.blocks.parts_len(inputs)
    }

    /// Adds the sums of one unit, or of several folded into one: active ones to `gradients`, candidates to
    /// `candidates`.
    pub fn scatter(&self, sums: &[f32], gradients: &mut [f32], candidates: &mut [f32]) {
        let active = gradients.len();
        for (&source, sum) in self.stream.source.iter().zip(sums) {
            let source = source as usize;
            let to = if source < active { &mut gradients[source] } else { &mut candidates[source - active] };
            *to += sum;
        }
    }

    /// Takes the sums of groups apart.
    #[inline(always)]
    fn separate<S: Simd>(&self, simd: S, sums: &[Lane], weights: &mut [f32]) {
        let owners = owners(simd);
        for (entries, group) in self.stream.starts.windows(2).zip(&self.groups) {
            let weights = weights[entries[0] as usize..entries[1] as usize].chunks_mut(GROUP);
            for (weights, sums) in weights.zip(&sums[*group as usize..]) {
                for (weight, owner) in weights.iter_mut().zip(&owners) {
                    let mut total = simd.splat_f32s(0.0);
                    for lane in (0..LANES).step_by(S::F32_LANES) {
                        // SAFETY: parts of a lane.
                        unsafe {
                            let (sum, owner) = (sums.0.as_ptr().add(lane), owner.0.as_ptr().add(lane));
                            total = simd.mul_add_e_f32s(load::<S>(sum), load::<S>(owner), total);
                        }
                    }
                    *weight = simd.reduce_sum_f32s(total);
                }
            }
        }
    }

    /// Computes one unit.
    pub fn run(&self, set: InstructionSet, unit: BackwardUnit<'_>) {
        unit.check(&self.shape, self.unit, self.entries());
        assert!(unit.scratch.len() >= self.scratch_len());
        with_storage!(unit.input.storage, E => set.run(Backward::<E> { plan: self, unit, element: PhantomData }));
    }
}

struct Backward<'p, 'a, E> {
    plan: &'p BackwardPlan,
    unit: BackwardUnit<'a>,
    element: PhantomData<E>,
}

impl<E: Element> WithSimd for Backward<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Backward { plan, mut unit, .. } = self;
        let shape = &plan.shape;
        let (row_len, [down, right], [above, left]) = (plan.row_len(), shape.stride, shape.padding);
        // Two tiles are alive at once, so machines with sixteen registers take half the length.
        let longest = if S::REGISTER_COUNT >= 32 { TILE } else { TILE / 2 };
        let reads = Reads::of(&unit);
        let (packed, rest) = unit.scratch.split_at_mut(plan.packed_len());
        let (accumulators, rest) = rest.split_at_mut(plan.accumulators());
        let (sums, parts) = rest.split_at_mut(3 * shape.input.channels);
        accumulators.fill(Lane::ZERO);
        sums.fill(Lane::ZERO);
        unit.weights.fill(0.0);
        let dx = unit.input_gradient.as_mut().map(Epilogue::new);
        let copy = unit.input.is_copy();
        let mut window = Window::new(shape.output, plan.target);
        for top in (0..shape.input.height).step_by(plan.band) {
            let bottom = (top + plan.band).min(shape.input.height);
            let first = ((top + above) / down) as isize - plan.reach as isize;
            let rows = ((bottom - 1 + above) / down) as isize + 1 - first;
            // SAFETY: `run` checked the operands, and the band holds that many rows.
            unsafe { window.fill::<S, E>(simd, (first, rows as usize), &unit.gradient, None, packed) };
            for row in top..bottom {
                let slot = ((row + above) / down) - (top + above) / down;
                for phase in 0..right {
                    // Columns w of this phase: (w + left) mod stride = phase.
                    let column = (phase + right - left % right) % right;
                    if column >= shape.input.width {
                        continue;
                    }
                    let columns = (shape.input.width - column).div_ceil(right);
                    let position = (column + left) / right;
                    let tile = RegisterTile {
                        plan,
                        input: &unit.input,
                        copy,
                        reads: &reads,
                        list: ((row + above) % down * right + phase) * plan.blocks.count * shape.input.channels,
                        row,
                        column,
                    };
                    for (start, len) in register_tiles(columns * plan.unit, longest) {
                        let gathered = floats(&packed[slot * row_len + position * plan.unit + start..]);
                        let to = match plan.groups.is_empty() {
                            true => WeightSums::Reduced(unit.weights.as_mut_ptr()),
                            false => WeightSums::Grouped(floats_mut(accumulators)),
                        };
                        let (parts, sums) = (floats_mut(parts), floats_mut(sums));
                        // SAFETY: offsets of the stream stay inside the packed band by construction of the plan;
                        // `run` checked everything else.
                        unsafe {
                            with_tile!(len, T => match dx {
                                Some(ref dx) => tile.run::<S, E, T, true>(simd, start, gathered, to, Some(dx), parts, sums),
                                None => tile.run::<S, E, T, false>(simd, start, gathered, to, None, parts, sums),
                            });
                        }
                    }
                }
            }
        }
        fence();
        if !plan.groups.is_empty() {
            plan.separate(simd, accumulators, unit.weights);
        }
        if let Some(gradient) = &mut unit.input_gradient {
            gradient.reduce(sums);
        }
    }
}

/// Where the gradients of weights are summed.
#[derive(Clone, Copy)]
enum WeightSums {
    /// A lane per group of entries, taken apart at the end of the unit.
    Grouped(*mut f32),
    /// One float per entry, where few tiles visit it.
    Reduced(*mut f32),
}

/// The tensors that register tiles read in the ordinary layout, channel by channel, which no hardware foresees.
struct Reads([*const f32; 5]);

impl Reads {
    fn of(unit: &BackwardUnit<'_>) -> Reads {
        let gradient = unit.input_gradient.as_ref();
        let norms = gradient.and_then(|gradient| gradient.finish.as_ref()).map_or([None; 2], |finish| finish.norms);
        let wanted = [
            Some(unit.input.a.data),
            unit.input.b.map(|b| b.data),
            gradient.and_then(|gradient| gradient.add),
            norms[0].map(|norm| norm.z),
            norms[1].map(|norm| norm.z),
        ];
        let mut reads = [std::ptr::null(); 5];
        for (i, data) in wanted.into_iter().enumerate() {
            let data = data.map_or(std::ptr::null(), floats);
            if !reads.contains(&data) {
                reads[i] = data;
            }
        }
        Reads(reads)
    }

    /// Fetches what the same tile will read one row on, `ahead` numbers behind `at`.
    #[inline(always)]
    fn fetch<E: Element, const T: usize>(&self, at: [usize; T], ahead: usize) {
        for data in self.0 {
            if !data.is_null() {
                for at in at {
                    E::prefetch(data, at + ahead);
                }
            }
        }
    }
}

struct RegisterTile<'a> {
    plan: &'a BackwardPlan,
    input: &'a Mix<'a>,
    copy: bool,
    reads: &'a Reads,
    /// First list of the stream for this row and column phase.
    list: usize,
    row: usize,
    column: usize,
}

impl RegisterTile<'_> {
    /// # Safety
    /// `gathered` is the tile's origin in the packed gradient; `weights` holds the sums of all entries, `sums` three lanes a
    /// channel, `parts` a register tile per channel if there are blocks.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn run<S: Simd, E: Element, const T: usize, const DX: bool>(
        &self,
        simd: S,
        start: usize,
        gathered: *const f32,
        weights: WeightSums,
        epilogue: Option<&Epilogue<'_>>,
        parts: *mut f32,
        sums: *mut f32,
    ) {
        let plan = self.plan;
        let plane = plan.shape.input;
        let stride = plan.shape.stride[1];
        let origin = addresses::<E, T>(start, plan.unit, plane, self.row, |pixel| self.column + pixel * stride);
        let last = plan.blocks.count - 1;
        for lane in (0..LANES).step_by(S::F32_LANES) {
            let mut list = self.list;
            for block in 0..=last {
                for channel in 0..plane.channels {
                    let mut at = origin;
                    for at in &mut at {
                        *at += channel * plane.width * LANES + lane;
                    }
                    if block == 0 && lane == 0 {
                        self.reads.fetch::<E, T>(at, plane.row_len() * LANES);
                    }
                    // SAFETY: the addresses lie in the unit's tiles.
                    let x: [S::f32s; T] = unsafe { mixed_at::<S, E, T>(simd, self.input, self.copy, channel, at) };
                    let mut dx = [simd.splat_f32s(0.0); T];
                    let part = parts.wrapping_add(channel * TILE * LANES + lane);
                    if DX && block > 0 {
                        for (j, dx) in dx.iter_mut().enumerate() {
                            // SAFETY: the caller's promise.
                            *dx = unsafe { load::<S>(part.add(j * LANES)) };
                        }
                    }
                    // SAFETY: offsets are counted from the tile's origin.
                    unsafe { self.gather_list::<S, T, DX>(simd, list, gathered.add(lane), &x, &mut dx, weights) };
                    list += 1;
                    if DX && block < last {
                        for (j, &dx) in dx.iter().enumerate() {
                            // SAFETY: the caller's promise.
                            unsafe { store::<S>(part.add(j * LANES), dx) };
                        }
                    } else if DX && let Some(epilogue) = epilogue {
                        let sums = sums.wrapping_add(3 * channel * LANES + lane);
                        // SAFETY: see the caller.
                        unsafe { epilogue.finish::<S, E, T>(simd, channel, at, x, dx, sums) };
                    }
                }
            }
        }
    }

    /// Adds one list's share to `dx`, and its products with `x` to the sums of its entries.
    ///
    /// # Safety
    /// As [`gather`] for every entry of the list; `weights` holds their sums.
    #[inline(always)]
    unsafe fn gather_list<S: Simd, const T: usize, const DX: bool>(
        &self,
        simd: S,
        list: usize,
        gathered: *const f32,
        x: &[S::f32s; T],
        dx: &mut [S::f32s; T],
        weights: WeightSums,
    ) {
        let Stream { starts, entries, .. } = &self.plan.stream;
        let first = starts[list] as usize;
        let mut entries = &entries[first..starts[list + 1] as usize];
        // SAFETY: the caller's promise.
        unsafe {
            match weights {
                WeightSums::Reduced(to) => {
                    for (entry, q) in entries.iter().zip(first..) {
                        *to.add(q) += simd.reduce_sum_f32s(gather::<S, T, DX>(simd, entry, gathered, x, dx));
                    }
                }
                WeightSums::Grouped(to) => {
                    let mut to = to.add(self.plan.groups[list] as usize * LANES);
                    while let Some((now, later)) = entries.split_first_chunk::<GROUP>() {
                        let products = [
                            gather::<S, T, DX>(simd, &now[0], gathered, x, dx),
                            gather::<S, T, DX>(simd, &now[1], gathered, x, dx),
                            gather::<S, T, DX>(simd, &now[2], gathered, x, dx),
                            gather::<S, T, DX>(simd, &now[3], gathered, x, dx),
                        ];
                        add_group::<S>(simd, products, to);
                        (entries, to) = (later, to.add(LANES));
                    }
                    if let [first, rest @ ..] = entries {
                        let mut products = [simd.splat_f32s(0.0); GROUP];
                        products[0] = gather::<S, T, DX>(simd, first, gathered, x, dx);
                        if let [second, rest @ ..] = rest {
                            products[1] = gather::<S, T, DX>(simd, second, gathered, x, dx);
                            if let [third, ..] = rest {
                                products[2] = gather::<S, T, DX>(simd, third, gathered, x, dx);
                            }
                        }
                        add_group::<S>(simd, products, to);
                    }
                }
            }
        }
    }
}

/// One entry: adds its share to `dx` and returns its products with `x`.
///
/// # Safety
/// `gathered` is readable at the entry's offset for `T` vectors, [`LANES`] apart.
#[inline(always)]
unsafe fn gather<S: Simd, const T: usize, const DX: bool>(
    simd: S,
    entry: &Entry,
    gathered: *const f32,
    x: &[S::f32s; T],
    dx: &mut [S::f32s; T],
) -> S::f32s {
    let weight = simd.splat_f32s(entry.weight);
    let (mut even, mut odd) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
    for j in 0..T {
        // SAFETY: the caller's promise.
        let dz = unsafe { load::<S>(gathered.add(entry.offset as usize + j * LANES)) };
        if DX {
            dx[j] = simd.mul_add_e_f32s(weight, dz, dx[j]);
        }
        if j % 2 == 0 {
            even = simd.mul_add_e_f32s(x[j], dz, even);
        } else {
            odd = simd.mul_add_e_f32s(x[j], dz, odd);
        }
    }
    simd.add_f32s(even, odd)
}

/// Adds the products of up to four entries to their one lane of sums, in which each owns a share: see [`owners`].
///
/// # Safety
/// `to` is writable for a lane.
#[inline(always)]
unsafe fn add_group<S: Simd>(simd: S, products: [S::f32s; GROUP], to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        if S::F32_LANES < GROUP {
            for (k, product) in products.into_iter().enumerate() {
                store::<S>(to.add(k), simd.add_f32s(load::<S>(to.add(k)), product));
            }
        } else {
            let [a, b, c, d] = simd.deinterleave_shfl_f32s(products);
            let sum = simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d));
            store::<S>(to, simd.add_f32s(load::<S>(to), sum));
        }
    }
}

/// For each entry of a group, 1 where a lane of the group's sums belongs to it and 0 elsewhere.
#[inline(always)]
fn owners<S: Simd>(simd: S) -> [Lane; GROUP] {
    let mut owners = [Lane::ZERO; GROUP];
    for (entry, owner) in owners.iter_mut().enumerate() {
        let mut products = [simd.splat_f32s(0.0); GROUP];
        products[entry] = simd.splat_f32s(1.0 / GROUP.min(S::F32_LANES) as f32);
        // SAFETY: a lane.
        unsafe { add_group::<S>(simd, products, floats_mut(std::slice::from_mut(owner))) };
    }
    owners
}
