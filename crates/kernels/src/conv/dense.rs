//! Dense convolution: register blocks of four channels, so that every load serves several multiply-adds.
//!
//! The sparse kernels follow a stream of single weights, at one or two multiply-adds a load. Where a pattern holds most of
//! its positions it is faster to multiply by the zeros as well:
//!
//! ```text
//! forward     z[o..o+4, tile]  = Σ w[o..o+4, c, tap] · x[c, tile + tap]     over all input channels c and taps
//! backward   dx[c..c+4, tile]  = Σ w[o, c..c+4, tap] · dz[o, tile − tap]    over all output channels o and taps
//!            dw[o..o+4, c..c+4, tap] += Σ x[c, ·] · dz[o, · − tap]          four by four sums stay in registers
//! ```
//!
//! Packed bands, operands and epilogues are those of the sparse kernels; the weights are given as the dense tensor.

mod backward;
mod forward;
mod weights;

pub use backward::DenseBackwardPlan;
pub use forward::DenseForwardPlan;

use crate::dispatch::load;
use crate::layout::LANES;
use pulp::Simd;

/// Channels side by side in a register block.
const CHANNELS: usize = 4;

/// Vectors in a register block: 24 sums, six operands and a weight fit into 32 registers, eight sums into 16.
const fn longest<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 6 } else { 2 }
}

/// Calls `$call` with the constant `V` equal to `$vectors` (1 to 6).
macro_rules! with_vectors {
    ($vectors:expr, $V:ident => $call:expr) => {
        match $vectors {
            1 => {
                const $V: usize = 1;
                $call
            }
            2 => {
                const $V: usize = 2;
                $call
            }
            3 => {
                const $V: usize = 3;
                $call
            }
            4 => {
                const $V: usize = 4;
                $call
            }
            5 => {
                const $V: usize = 5;
                $call
            }
            _ => {
                const $V: usize = 6;
                $call
            }
        }
    };
}
use with_vectors;

/// Dense weights in the order in which register blocks read them: `[group][block][entry][channel of the block]`.
///
/// An entry is one operand that all channels of a group see: a gathered channel and a tap.
#[derive(Debug)]
struct Panel {
    groups: usize,
    /// Channels of one group that blocks are made of; zeros fill the last block.
    channels: usize,
    /// Positions of the dense tensor between two of them.
    channel_stride: usize,
    /// Lanes between the operands of two groups.
    group_shift: usize,
    /// Where the operand of each entry lies, in floats from the origin of a register tile.
    offsets: Vec<u32>,
    /// Where the weight of each entry lies in the part of the dense tensor that belongs to a group and its first channel.
    sources: Vec<u32>,
    /// Empty until [`Panel::refresh`]; none comes where only the gradient of the weights is asked for.
    weights: Vec<f32>,
}

/// Up to four channels of a [`Panel`].
#[derive(Clone, Copy)]
struct Block<'a> {
    /// First channel, counted over all groups.
    first: usize,
    /// Channels that exist.
    live: usize,
    /// Lanes from the packed row to the operands of the group.
    shift: usize,
    offsets: &'a [u32],
    weights: &'a [f32],
}

impl Panel {
    /// `entries` are pairs of an offset in lanes and a source.
    fn new(
        groups: usize,
        channels: usize,
        channel_stride: usize,
        group_shift: usize,
        entries: impl Iterator<Item = (usize, usize)>,
    ) -> Panel {
        let small = |value: usize| u32::try_from(value).expect("a packed band and a weight tensor are small");
        let (offsets, sources): (Vec<u32>, Vec<u32>) =
            entries.map(|(offset, source)| (small(offset * LANES), small(source))).unzip();
        Panel { groups, channels, channel_stride, group_shift, offsets, sources, weights: Vec::new() }
    }

    /// Weights, with the zeros that fill the last blocks.
    fn len(&self) -> usize {
        self.groups * self.channels.div_ceil(CHANNELS) * CHANNELS * self.offsets.len()
    }

    /// Takes over the current weights, all positions of the dense tensor.
    fn refresh(&mut self, dense: &[f32]) {
        let (entries, stride) = (self.sources.len(), self.channel_stride);
        let (blocks, group_len) = (self.channels.div_ceil(CHANNELS), dense.len() / self.groups);
        self.weights.resize(self.len(), 0.0);
        let weights = self.weights.as_chunks_mut::<CHANNELS>().0;
        for (number, weights) in weights.chunks_exact_mut(entries.max(1)).enumerate() {
            let (group, channel) = (number / blocks, number % blocks * CHANNELS);
            let dense = &dense[group * group_len + channel * stride..];
            for (to, &source) in weights.iter_mut().zip(&self.sources) {
                let from = &dense[source as usize..];
                match self.channels - channel {
                    CHANNELS.. => *to = std::array::from_fn(|k| from[k * stride]),
                    live => (0..live).for_each(|k| to[k] = from[k * stride]),
                }
            }
        }
    }

    /// All blocks in the order of their channels.
    fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let (blocks, block_len) = (self.channels.div_ceil(CHANNELS), CHANNELS * self.offsets.len());
        (0..self.groups * blocks).map(move |number| {
            let (group, first) = (number / blocks, number % blocks * CHANNELS);
            Block {
                first: group * self.channels + first,
                live: CHANNELS.min(self.channels - first),
                shift: group * self.group_shift,
                offsets: &self.offsets,
                weights: &self.weights[number * block_len..][..block_len],
            }
        })
    }

    /// With the weights, whether they have come or not.
    fn bytes(&self) -> usize {
        size_of_val(&self.offsets[..]) + size_of_val(&self.sources[..]) + size_of::<f32>() * self.len()
    }
}

impl Block<'_> {
    /// Adds Σ weight · operand over all entries to `sums`.
    ///
    /// # Safety
    /// `V` vectors from `origin` and each offset on are readable; `origin` includes the shift of the group.
    #[inline(always)]
    unsafe fn gather<S: Simd, const V: usize>(
        &self,
        simd: S,
        origin: *const f32,
        mut sums: [[S::f32s; V]; CHANNELS],
    ) -> [[S::f32s; V]; CHANNELS] {
        for (weights, &offset) in self.weights.as_chunks::<CHANNELS>().0.iter().zip(self.offsets) {
            let mut operands = [simd.splat_f32s(0.0); V];
            for (j, operand) in operands.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *operand = unsafe { load::<S>(origin.add(offset as usize + j * LANES)) };
            }
            for (sums, &weight) in sums.iter_mut().zip(weights) {
                let weight = simd.splat_f32s(weight);
                for (sum, operand) in sums.iter_mut().zip(operands) {
                    *sum = simd.mul_add_e_f32s(weight, operand, *sum);
                }
            }
        }
        sums
    }
}
