//! Sparse convolution: a gather forward and a fused backward, both over register tiles of packed rows.
//!
//! A linear layer is the 1×1 convolution of a 1×1 plane. A pattern that holds (nearly) every position runs faster on the
//! kernels in `dense.rs`, which take the same packed bands, operands and epilogues. The packed buffer holds the few rows that a band of output rows reads,
//! already normalised and with a zero halo, so the inner loops know no edges:
//!
//! ```text
//! forward    z[o, tile]  = Σ w · x[tile + offset]              over the non-zeros of output channel o
//! backward  dx[c, tile]  = Σ w · dz[tile + offset]             over the non-zeros of input channel c
//!           dw[q]       += Σ x[c, tile] · dz[tile + offset]    the same load serves both
//! ```

mod backward;
mod dense;
mod epilogue;
mod forward;
mod stream;

pub use backward::{BackwardPlan, BackwardUnit};
pub use dense::{DenseBackwardPlan, DenseForwardPlan};
pub(crate) use epilogue::Epilogue;
pub use epilogue::{Finish, InputGradient, Norm};
pub use forward::{ForwardPlan, ForwardUnit};
pub use stream::Pattern;

use crate::layout::{LANES, Lane, Plane};
use crate::mix::{Mix, Target, pack_row};
use crate::storage::Element;
use pulp::Simd;
use std::ops::Range;

/// Lanes a packed band may take: 384 KiB, so that it stays in L2 beside what streams through. What one row of outputs needs is
/// taken even if it is more.
const BAND_LANES: usize = 384 * 1024 / size_of::<Lane>();

/// Vectors in a register tile.
pub(crate) const TILE: usize = 8;

/// Lanes of packed channels that a block may read under one register tile: 32 KiB, so that they stay in L1.
const BLOCK_LANES: usize = 32 * 1024 / size_of::<Lane>();

/// Entries that a list must have on average to pay for picking up its register tile where the block before left it.
const BLOCK_ENTRIES: usize = 8;

/// What an entry of a list costs in each register tile beside its multiply-adds of vectors, in those.
const ENTRY_WORK: usize = 2;

/// Geometry of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Input feature map.
    pub input: Plane,
    /// Output feature map.
    pub output: Plane,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Zeros above and below, left and right.
    pub padding: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl ConvShape {
    /// Input channels that one output channel sees.
    pub fn group_inputs(&self) -> usize {
        self.input.channels / self.groups
    }

    /// Positions of the dense weight tensor `[out, in / groups, kernel height, kernel width]`.
    pub fn weight_len(&self) -> usize {
        self.output.channels * self.group_inputs() * self.kernel[0] * self.kernel[1]
    }

    /// Tiles of sixteen images that work side by side so that narrow planes still fill a register tile, as far as `tiles`
    /// is a multiple of them.
    pub fn tiles_per_unit(&self, tiles: usize) -> usize {
        let most = (TILE / self.output.width).max(1);
        (1..=most).rev().find(|&unit| tiles.is_multiple_of(unit)).unwrap_or(1)
    }

    /// How many tiles `live` ones are best padded to where `shapes` follow each other: empty tiles may cost less than narrow planes
    /// that do not fill their register tiles.
    pub fn padded_tiles(shapes: &[ConvShape], live: usize) -> usize {
        let work = |&tiles: &usize| shapes.iter().map(|shape| shape.work(tiles)).sum::<usize>();
        (live..=live.next_multiple_of(TILE)).min_by_key(work).unwrap_or(live)
    }

    /// About what a pass over `tiles` tiles takes with every weight, in multiply-adds of a vector.
    fn work(&self, tiles: usize) -> usize {
        let unit = self.tiles_per_unit(tiles);
        let row = unit * self.output.width;
        let entries = self.weight_len() * self.output.height * (tiles / unit);
        entries * (row + row.div_ceil(TILE) * ENTRY_WORK)
    }

    /// Does the forward pass touch every element of the input, so that it can store them on the way?
    pub fn reads_everything(&self) -> bool {
        let rows = (self.output.height - 1) * self.stride[0] + self.kernel[0];
        self.kernel[0] >= self.stride[0]
            && self.kernel[1] >= self.stride[1]
            && rows >= self.input.height + self.padding[0]
    }

    pub(crate) fn check(&self) {
        let positive = self.kernel.iter().chain(&self.stride).all(|&x| x > 0) && self.groups > 0;
        assert!(positive && !self.input.is_empty() && !self.output.is_empty(), "empty convolution {self:?}");
        assert!(self.input.channels.is_multiple_of(self.groups) && self.output.channels.is_multiple_of(self.groups));
        for (axis, (input, output)) in
            [(self.input.height, self.output.height), (self.input.width, self.output.width)].into_iter().enumerate()
        {
            let reach = (output - 1) * self.stride[axis] + self.kernel[axis];
            assert!(reach <= input + 2 * self.padding[axis], "output {output} reaches past its padded input {input}");
        }
    }
}

/// The rows a packed band holds: slot `i` is row `first + i`.
struct Window {
    plane: Plane,
    target: Target,
    first: isize,
    rows: usize,
}

impl Window {
    fn new(plane: Plane, target: Target) -> Window {
        Window { plane, target, first: 0, rows: 0 }
    }

    /// Moves to `rows` rows from `first` on; keeps what is there already and returns the rows that are missing.
    fn advance(&mut self, first: isize, rows: usize, packed: &mut [Lane]) -> Range<isize> {
        let row_len = self.target.row_len(self.plane);
        let held = self.first + self.rows as isize;
        let kept =
            if self.rows == 0 || first < self.first { 0 } else { (held - first).clamp(0, rows as isize) as usize };
        if kept > 0 {
            let from = (first - self.first) as usize * row_len;
            packed.copy_within(from..from + kept * row_len, 0);
        }
        (self.first, self.rows) = (first, rows);
        first + kept as isize..first + rows as isize
    }

    /// [`Window::advance`], and packs the missing rows: values inside the plane, zeros outside.
    ///
    /// # Safety
    /// As [`pack_row`]; `mix` and `keep` are those of the whole unit.
    #[inline(always)]
    unsafe fn fill<S: Simd, E: Element>(
        &mut self,
        simd: S,
        (first, rows): (isize, usize),
        mix: &Mix<'_>,
        keep: Option<*mut f32>,
        packed: &mut [Lane],
    ) {
        let row_len = self.target.row_len(self.plane);
        for row in self.advance(first, rows, packed) {
            let slot = &mut packed[(row - first) as usize * row_len..][..row_len];
            let inside = if row >= 0 && (row as usize) < self.plane.height { Some(row as usize) } else { None };
            // SAFETY: the caller's promise; the slot is one packed row.
            unsafe { pack_row::<S, E>(simd, mix, keep, self.plane, inside, self.target, slot) };
        }
    }
}

/// Rows of output that make a band whose packed input fits the budget: `band` rows need `band·stride + extra` rows.
fn band_rows(rows: usize, row_len: usize, stride: usize, extra: usize) -> usize {
    (1..=rows).rev().find(|band| ((band - 1) * stride + extra) * row_len <= BAND_LANES).unwrap_or(1)
}

/// The packed channels in blocks whose part under a register tile stays in L1: a tile visits block after block, and within
/// a block all channels of the other side.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    /// Number of blocks.
    count: usize,
    /// Packed channels in each but the last.
    channels: usize,
}

impl Blocks {
    /// For `channels` packed channels of which a register tile reads `lanes` each, and `entries` in `lists` lists if there
    /// is one block. Two blocks were never faster than one.
    fn new(channels: usize, lanes: usize, entries: usize, lists: usize) -> Blocks {
        let fitting = channels.div_ceil((BLOCK_LANES / lanes).max(1));
        let count = fitting.min(entries / (BLOCK_ENTRIES * lists));
        let channels_each = if count < 3 { channels } else { channels.div_ceil(count) };
        Blocks { count: channels.div_ceil(channels_each), channels: channels_each }
    }

    /// Lanes that hold the register tile of `channels` channels between blocks.
    fn parts_len(&self, channels: usize) -> usize {
        if self.count > 1 { channels * TILE } else { 0 }
    }
}

/// Cuts `total` vectors into nearly equal register tiles of at most `max`.
pub(crate) fn register_tiles(total: usize, max: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let count = total.div_ceil(max);
    let (len, longer) = (total / count.max(1), total % count.max(1));
    (0..count).map(move |i| (i * len + i.min(longer), len + usize::from(i < longer)))
}

/// Where the `T` vectors of a register tile lie in the ordinary layout, in numbers from channel 0 on.
#[inline(always)]
fn addresses<E: Element, const T: usize>(
    start: usize,
    unit: usize,
    plane: Plane,
    row: usize,
    column: impl Fn(usize) -> usize,
) -> [usize; T] {
    std::array::from_fn(|j| {
        let (pixel, tile) = ((start + j) / unit, (start + j) % unit);
        (tile * E::tile_len(plane) + row * plane.row_len() + column(pixel)) * LANES
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_tiles_cover_everything_in_nearly_equal_parts() {
        for total in 1..40 {
            let tiles: Vec<_> = register_tiles(total, 8).collect();
            assert_eq!(tiles.iter().map(|t| t.1).sum::<usize>(), total);
            assert!(tiles.iter().all(|&(_, len)| len <= 8 && len + 1 >= tiles[0].1));
            assert!(tiles.windows(2).all(|w| w[0].0 + w[0].1 == w[1].0));
        }
    }

    #[test]
    fn a_unit_fills_a_register_tile_as_far_as_the_tiles_are_a_multiple_of_it() {
        let plane = |width| Plane { channels: 4, height: 1, width };
        let shape = |width| ConvShape {
            input: plane(width),
            output: plane(width),
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            groups: 1,
        };
        for (width, tiles, unit) in [(1, 8, 8), (1, 9, 3), (1, 10, 5), (2, 8, 4), (3, 8, 2), (4, 7, 1), (32, 8, 1)] {
            assert_eq!(shape(width).tiles_per_unit(tiles), unit, "{tiles} tiles of width {width}");
        }
        // Sixteen weights: ten tiles in two units of five, nine in three units of three.
        assert_eq!(shape(1).work(10), 16 * 2 * (5 + ENTRY_WORK));
        assert_eq!(shape(1).work(9), 16 * 3 * (3 + ENTRY_WORK));
        assert_eq!(shape(32).work(1), 16 * (32 + 4 * ENTRY_WORK));
        for (width, live, padded) in [(1, 5, 5), (1, 9, 10), (1, 13, 14), (2, 9, 9), (4, 9, 10), (16, 9, 9), (1, 8, 8)]
        {
            assert_eq!(ConvShape::padded_tiles(&[shape(width)], live), padded, "{live} tiles of width {width}");
        }
    }

    #[test]
    fn a_window_packs_each_row_once_and_keeps_the_overlap() {
        let target = Target { halo: 0, positions: 1, stride: 1, phases: 1, tiles: 1 };
        let mut window = Window::new(Plane { channels: 1, height: 20, width: 1 }, target);
        let mut packed = vec![Lane::ZERO; 5];
        let mut packed_rows = Vec::new();
        for first in [-1, 2, 5] {
            for row in window.advance(first, 5, &mut packed) {
                packed_rows.push(row);
                packed[(row - first) as usize] = Lane([row as f32; LANES]);
            }
            let held: Vec<_> = packed.iter().map(|lane| lane.0[0] as isize).collect();
            assert_eq!(held, (first..first + 5).collect::<Vec<_>>());
        }
        assert_eq!(packed_rows, (-1..10).collect::<Vec<_>>());
    }
}
