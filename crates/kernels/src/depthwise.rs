//! Depthwise convolution: every channel meets one dense filter of its own.
//!
//! With so little arithmetic per element the memory decides. A few channels at a time walk down the plane, with a ring of
//! as many packed rows as the filter is high; the ring stays in L1, and what it will pack next is fetched ahead.
//!
//! ```text
//! forward    z[c, tile]  = Σ w[c, tap] · x[c, tile + tap]     over the taps of the filter
//! backward  dx[c, tile]  = Σ w[c, tap] · dz[c, tile − tap]
//!           dw[c, tap]  += Σ x[c, tile] · dz[c, tile − tap]   the same load serves both
//! ```

mod backward;
mod forward;

pub use backward::DepthwiseBackwardPlan;
pub use forward::DepthwiseForwardPlan;

use crate::conv::ConvShape;
use crate::dispatch::floats_mut;
use crate::layout::{LANES, Lane, Plane};
use crate::mix::{Columns, Mix, pack_columns};
use crate::storage::Element;
use pulp::Simd;
use std::ops::Range;

/// Lanes that a ring may take: 16 KiB, a part of L1 that leaves room for what streams through.
const RING_LANES: usize = 16 * 1024 / size_of::<Lane>();

/// Packed rows of a few channels: row `r` lies in slot `r mod rows`, as `[channel][line]`.
#[derive(Debug)]
struct Ring {
    /// What is packed: the input, or the gradient of the output.
    plane: Plane,
    /// Rows that the taps of one row read.
    rows: usize,
    /// Channels that walk down the plane together.
    channels: usize,
    /// Lanes of one row of one channel, halo included.
    line_len: usize,
    /// Columns from one of a phase to the next.
    stride: usize,
    phases: Vec<Phase>,
    /// The taps, by the slot of the row that the first of them reads; backward also by phase of the row and the column.
    taps: Vec<Vec<Tap>>,
}

/// Columns `first`, `first + stride`, … lie side by side from `position` of the line on.
#[derive(Debug)]
struct Phase {
    first: usize,
    position: usize,
    count: usize,
}

/// A weight of the filter and where its operand lies, in lanes from a register tile's place in slot 0.
#[derive(Clone, Copy, Debug)]
struct Tap {
    index: usize,
    offset: usize,
}

impl Ring {
    fn new(plane: Plane, rows: usize, line_len: usize, stride: usize, phases: Vec<Phase>) -> Ring {
        let channels = (RING_LANES / (rows * line_len)).clamp(1, plane.channels);
        Ring { plane, rows, channels, line_len, stride, phases, taps: Vec::new() }
    }

    fn row_len(&self) -> usize {
        self.channels * self.line_len
    }

    fn len(&self) -> usize {
        self.rows * self.row_len()
    }

    fn slot(&self, row: isize) -> usize {
        row.rem_euclid(self.rows as isize) as usize
    }

    /// The channels, as many at a time as walk together.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (channels, step) = (self.plane.channels, self.channels);
        (0..channels).step_by(step).map(move |start| start..(start + step).min(channels))
    }

    /// From an element of `row` of `plane` to the one wanted a row later, in floats: one row down, or from the last row
    /// to the first one of the next channels.
    fn ahead(&self, plane: Plane, row: usize) -> isize {
        let lanes = match row + 1 < plane.height {
            true => plane.row_len() as isize,
            false => (self.channels * plane.width) as isize - (row * plane.row_len()) as isize,
        };
        lanes * LANES as isize
    }

    /// Packs some channels of `rows` of one tile into their slots: values inside the plane, zeros above and below it.
    /// The zeros left and right are not touched.
    ///
    /// # Safety
    /// `mix` and `keep` were checked against the plane and the tiles of the unit.
    #[inline(always)]
    unsafe fn fill<S: Simd, E: Element>(
        &self,
        simd: S,
        (tile, rows, channels): (usize, Range<isize>, Range<usize>),
        mix: &Mix<'_>,
        keep: Option<*mut f32>,
        packed: &mut [Lane],
    ) {
        for row in rows {
            let slot = &mut packed[self.slot(row) * self.row_len()..][..self.row_len()];
            if row < 0 || row as usize >= self.plane.height {
                slot.fill(Lane::ZERO);
                continue;
            }
            let (step, ahead) = (self.stride * LANES, self.ahead(self.plane, row as usize));
            let start = tile * E::tile_len(self.plane) + row as usize * self.plane.row_len();
            for (channel, line) in channels.clone().zip(slot.chunks_exact_mut(self.line_len)) {
                for &Phase { first, position, count } in &self.phases {
                    let at = (start + channel * self.plane.width + first) * LANES;
                    let columns = Columns { tile, channel, at, step, count, ahead };
                    let to = floats_mut(&mut line[position..][..count]);
                    // SAFETY: the caller's promise; the columns lie in the plane.
                    unsafe { pack_columns::<S, E>(simd, mix, keep, columns, to) };
                }
            }
        }
    }
}

impl ConvShape {
    /// Has every channel a filter of its own?
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.input.channels && self.groups == self.output.channels
    }
}
