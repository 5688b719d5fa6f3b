//! The one element-wise recipe of the engine, alone or while packing the input of a convolution.
//!
//! ```text
//! value = clamp(scale_a[c]·a + scale_b[c]·b + shift[c])
//! ```
//!
//! Batch norm with ReLU is `a` alone; a residual adds `b`; two normalised branches use both scales; the backward
//! pass of batch norm, dz = A·g + B·z + C, is the same form without the clamp. So there is one loop for all of them.

use crate::dispatch::{InstructionSet, fence, floats, floats_mut, load, parts, store};
use crate::layout::{LANES, Lane, Plane};
use crate::storage::{Element, Storage, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// The range an activation function clamps to: its derivative is 1 inside and 0 at and beyond the ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Lower end.
    pub low: f32,
    /// Upper end.
    pub high: f32,
}

impl Bounds {
    /// No activation function.
    pub const NONE: Bounds = Bounds { low: f32::NEG_INFINITY, high: f32::INFINITY };
    /// ReLU.
    pub const RELU: Bounds = Bounds { low: 0.0, high: f32::INFINITY };

    /// ReLU clipped at `max`, as in ReLU6.
    pub fn clip(max: f32) -> Bounds {
        Bounds { low: 0.0, high: max }
    }
}

/// One operand of a [`Mix`].
#[derive(Clone, Copy)]
pub struct Term<'a> {
    /// Values of the unit's tiles.
    pub data: &'a [Lane],
    /// Factor per channel; empty means 1.
    pub scale: &'a [f32],
}

/// Which values to form, over the tiles of one unit.
#[derive(Clone, Copy)]
pub struct Mix<'a> {
    /// First operand.
    pub a: Term<'a>,
    /// Second operand, if any.
    pub b: Option<Term<'a>>,
    /// Added per channel; empty means 0.
    pub shift: &'a [f32],
    /// Activation function.
    pub bounds: Bounds,
    /// One mask per tile of the unit that zeroes its spare lanes; empty when all lanes are live or need no zeroing.
    pub masks: &'a [Lane],
    /// How the operands are stored, and whatever the kernel at work reads and writes beside them.
    pub storage: Storage,
}

impl<'a> Mix<'a> {
    /// The values of `data` as they are.
    pub fn copy(data: &'a [Lane], storage: Storage) -> Mix<'a> {
        Mix { a: Term { data, scale: &[] }, b: None, shift: &[], bounds: Bounds::NONE, masks: &[], storage }
    }

    pub(crate) fn is_copy(&self) -> bool {
        self.a.scale.is_empty()
            && self.b.is_none()
            && self.shift.is_empty()
            && self.bounds == Bounds::NONE
            && self.masks.is_empty()
    }

    pub(crate) fn check(&self, plane: Plane, tiles: usize) {
        let len = self.storage.lanes(plane) * tiles;
        let scaled = |term: &Term<'_>| {
            assert!(term.data.len() >= len, "an operand is shorter than the unit's tiles");
            assert!(term.scale.is_empty() || term.scale.len() == plane.channels, "one scale per channel");
        };
        scaled(&self.a);
        self.b.iter().for_each(scaled);
        assert!(self.shift.is_empty() || self.shift.len() == plane.channels, "one shift per channel");
        assert!(self.masks.is_empty() || self.masks.len() >= tiles, "one mask per tile");
    }

    /// Asks for the numbers of both operands at the float offset `at`; any will do.
    #[inline(always)]
    fn fetch<E: Element>(&self, at: usize) {
        E::prefetch_near(floats(self.a.data), at);
        if let Some(b) = self.b {
            E::prefetch_near(floats(b.data), at);
        }
    }

    /// The constants of one channel.
    #[inline(always)]
    fn channel<S: Simd>(&self, simd: S, channel: usize) -> Channel<S> {
        let at = |values: &[f32], default: f32| values.get(channel).copied().unwrap_or(default);
        let scale_b = match &self.b {
            Some(b) => at(b.scale, 1.0),
            None => 0.0,
        };
        Channel {
            scale_a: simd.splat_f32s(at(self.a.scale, 1.0)),
            scale_b: simd.splat_f32s(scale_b),
            shift: simd.splat_f32s(at(self.shift, 0.0)),
            low: simd.splat_f32s(self.bounds.low),
            high: simd.splat_f32s(self.bounds.high),
        }
    }
}

struct Channel<S: Simd> {
    scale_a: S::f32s,
    scale_b: S::f32s,
    shift: S::f32s,
    low: S::f32s,
    high: S::f32s,
}

/// How far ahead of the row that is being packed operands are fetched, in lanes: what memory takes to answer.
const AHEAD: usize = 128;

/// Where the columns of one packed row go: `[channel][phase][position][tile of the unit]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Zeros before the first column of the input.
    pub halo: usize,
    /// Packed positions per phase.
    pub positions: usize,
    /// Column stride of the convolution.
    pub stride: usize,
    /// Phases kept: a tap that never reads a phase leaves it out.
    pub phases: usize,
    /// Tiles of sixteen images side by side at each position.
    pub tiles: usize,
}

impl Target {
    pub(crate) fn channel_len(&self) -> usize {
        self.phases * self.positions * self.tiles
    }

    /// Lanes of one packed row of all channels.
    pub(crate) fn row_len(&self, plane: Plane) -> usize {
        plane.channels * self.channel_len()
    }
}

/// Forms one row of all channels and lays it out for the gather kernels; `row` is `None` in the vertical halo.
///
/// `keep` also receives the values in the ordinary layout, for those who read them again.
///
/// # Safety
/// `mix` is stored as `E` and was checked against `plane` and `target.tiles`; `packed` holds `plane.channels * target.channel_len()`
/// lanes, `keep` (if any) as many lanes as an operand.
#[inline(always)]
pub(crate) unsafe fn pack_row<S: Simd, E: Element>(
    simd: S,
    mix: &Mix<'_>,
    keep: Option<*mut f32>,
    plane: Plane,
    row: Option<usize>,
    target: Target,
    packed: &mut [Lane],
) {
    let Some(row) = row else {
        packed[..plane.channels * target.channel_len()].fill(Lane::ZERO);
        return;
    };
    let copy = mix.is_copy();
    for channel in 0..plane.channels {
        let out = &mut packed[channel * target.channel_len()..][..target.channel_len()];
        if target.halo > 0 || target.positions * target.stride > plane.width {
            zero_halo(out, plane.width, target);
        }
        let constants = mix.channel(simd, channel);
        for tile in 0..target.tiles {
            let from = tile * E::tile_len(plane) + (row * plane.channels + channel) * plane.width;
            for phase in 0..target.phases {
                // Column w sits at packed column w + halo = stride·position + phase.
                let first = (phase + target.stride - target.halo % target.stride) % target.stride;
                let position = (first + target.halo) / target.stride;
                let mut to = (phase * target.positions + position) * target.tiles + tile;
                let mut column = first;
                while column < plane.width {
                    let at = (from + column) * LANES;
                    mix.fetch::<E>(at + AHEAD * LANES);
                    let packed = floats_mut(&mut out[to..=to]);
                    for part in 0..parts::<S>() {
                        let lane = part * S::F32_LANES;
                        // SAFETY: `at` is inside every operand (checked against the plane), `packed` is one lane.
                        unsafe {
                            let value = if copy {
                                E::load::<S>(floats(mix.a.data), at + lane)
                            } else {
                                mixed::<S, E>(simd, mix, &constants, tile, at + lane)
                            };
                            store::<S>(packed.add(lane), value);
                            if let Some(keep) = keep {
                                E::stream::<S>(keep, at + lane, value);
                            }
                        }
                    }
                    to += target.tiles;
                    column += target.stride;
                }
            }
        }
    }
}

/// Zeroes the packed positions of one channel that no column of the input fills.
#[inline(always)]
fn zero_halo(out: &mut [Lane], width: usize, target: Target) {
    for phase in 0..target.phases {
        let line = &mut out[phase * target.positions * target.tiles..][..target.positions * target.tiles];
        let before = target.halo.saturating_sub(phase).div_ceil(target.stride).min(target.positions);
        let after = (width + target.halo).saturating_sub(phase).div_ceil(target.stride).min(target.positions);
        line[..before * target.tiles].fill(Lane::ZERO);
        line[after * target.tiles..].fill(Lane::ZERO);
    }
}

/// Some columns of one row of one channel.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    /// Tile of the unit.
    pub tile: usize,
    pub channel: usize,
    /// The first column, in floats from the start of the operands.
    pub at: usize,
    /// From one column to the next, in floats.
    pub step: usize,
    pub count: usize,
    /// From a column to the one that will be wanted next, in floats: that one is fetched ahead.
    pub ahead: isize,
}

/// Forms the columns and lays them side by side; `keep` receives them in the ordinary layout.
///
/// # Safety
/// `mix` was checked against a plane that the columns lie in; `packed` holds them, `keep` (if any) as many lanes as an
/// operand.
#[inline(always)]
pub(crate) unsafe fn pack_columns<S: Simd, E: Element>(
    simd: S,
    mix: &Mix<'_>,
    keep: Option<*mut f32>,
    columns: Columns,
    packed: *mut f32,
) {
    // A copy of its own, which the stores below cannot change behind the compiler's back.
    let mix = *mix;
    let (copy, constants) = (mix.is_copy(), mix.channel(simd, columns.channel));
    for column in 0..columns.count {
        let at = columns.at + column * columns.step;
        mix.fetch::<E>(at.wrapping_add_signed(columns.ahead));
        for lane in (0..parts::<S>()).map(|part| part * S::F32_LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                let value = match copy {
                    true => E::load::<S>(floats(mix.a.data), at + lane),
                    false => mixed::<S, E>(simd, &mix, &constants, columns.tile, at + lane),
                };
                store::<S>(packed.add(column * LANES + lane), value);
                if let Some(keep) = keep {
                    E::stream::<S>(keep, at + lane, value);
                }
            }
        }
    }
}

/// # Safety
/// `at` is the float offset of a vector inside every operand.
#[inline(always)]
unsafe fn mixed<S: Simd, E: Element>(simd: S, mix: &Mix<'_>, channel: &Channel<S>, tile: usize, at: usize) -> S::f32s {
    // SAFETY: the caller's promise; masks were checked to be one per tile.
    unsafe {
        let value = unmasked::<S, E>(simd, mix, channel, at);
        match mix.masks {
            [] => value,
            masks => simd.mul_f32s(value, load::<S>(floats(masks).add(tile * LANES + at % LANES))),
        }
    }
}

/// # Safety
/// As [`mixed`].
#[inline(always)]
unsafe fn unmasked<S: Simd, E: Element>(simd: S, mix: &Mix<'_>, channel: &Channel<S>, at: usize) -> S::f32s {
    // SAFETY: the caller's promise.
    unsafe {
        let a = E::load::<S>(floats(mix.a.data), at);
        let mut value = simd.mul_add_e_f32s(channel.scale_a, a, channel.shift);
        if let Some(b) = mix.b {
            value = simd.mul_add_e_f32s(channel.scale_b, E::load::<S>(floats(b.data), at), value);
        }
        // In this order of operands x86 hands a NaN on instead of clamping it away.
        simd.min_f32s(channel.high, simd.max_f32s(channel.low, value))
    }
}

/// The values of one channel at `T` float offsets of the ordinary layout; masks are left out.
///
/// # Safety
/// The offsets are those of whole vectors inside every operand.
#[inline(always)]
pub(crate) unsafe fn mixed_at<S: Simd, E: Element, const T: usize>(
    simd: S,
    mix: &Mix<'_>,
    copy: bool,
    channel: usize,
    at: [usize; T],
) -> [S::f32s; T] {
    // Loops, not `map`: a closure is compiled without the vector instructions unless it happens to be inlined.
    let mut values = [simd.splat_f32s(0.0); T];
    if copy {
        for (value, at) in values.iter_mut().zip(at) {
            // SAFETY: the caller's promise.
            *value = unsafe { E::load::<S>(floats(mix.a.data), at) };
        }
        return values;
    }
    let constants = mix.channel(simd, channel);
    for (value, at) in values.iter_mut().zip(at) {
        // SAFETY: the caller's promise.
        *value = unsafe { unmasked::<S, E>(simd, mix, &constants, at) };
    }
    values
}

/// Writes the mix of one unit's tiles to `out`, in the ordinary layout and the mix's storage.
pub fn mix(set: InstructionSet, plane: Plane, tiles: usize, recipe: Mix<'_>, out: &mut [Lane]) {
    recipe.check(plane, tiles);
    assert!(out.len() >= recipe.storage.lanes(plane) * tiles);
    with_storage!(recipe.storage, E => set.run(MixPass::<E> { plane, tiles, recipe, out, element: PhantomData }));
}

struct MixPass<'a, E> {
    plane: Plane,
    tiles: usize,
    recipe: Mix<'a>,
    out: &'a mut [Lane],
    element: PhantomData<E>,
}

impl<E: Element> WithSimd for MixPass<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Plane { channels, height, width } = self.plane;
        for tile in 0..self.tiles {
            for line in 0..height * channels {
                let constants = self.recipe.channel(simd, line % channels);
                let start = (tile * E::tile_len(self.plane) + line * width) * LANES;
                for at in (start..start + width * LANES).step_by(S::F32_LANES) {
                    // SAFETY: `mix` checked every operand and the output against the plane and the tiles.
                    unsafe {
                        let value = mixed::<S, E>(simd, &self.recipe, &constants, tile, at);
                        E::stream::<S>(floats_mut(self.out), at, value);
                    }
                }
            }
        }
        fence();
    }
}
