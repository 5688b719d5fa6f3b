//! A weight pattern as the streams of `(weight, offset)` that the kernels read.

use super::ConvShape;
use crate::layout::LANES;

/// The positions a kernel visits: the active ones, and with a probe also candidates, as weights of value 0.
#[derive(Clone, Copy, Debug)]
pub struct Pattern<'a> {
    /// Active flat indices into `[out, in / groups, kernel height, kernel width]`, sorted.
    pub active: &'a [u32],
    /// Candidate flat indices, sorted and not active.
    pub candidates: &'a [u32],
}

/// A weight and where its operand lies, in floats from the origin of a register tile.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Entry {
    pub weight: f32,
    pub offset: u32,
}

/// Entries in lists, one per channel whose tile stays in registers (and phase, and block).
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Entries of list `l` are `starts[l]..starts[l + 1]`.
    pub starts: Vec<u32>,
    pub entries: Vec<Entry>,
    /// Position in the values (then the candidates) of each entry.
    pub source: Vec<u32>,
}

/// A weight position taken apart.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub output: usize,
    pub input: usize,
    pub row: usize,
    pub column: usize,
}

impl Stream {
    /// Sorts the positions of `pattern` by `place`, which gives list and lane offset, keeping index order in lists.
    ///
    /// Both must be sums of something that depends on the output channel, on the input channel, and on the rest.
    pub fn new(shape: &ConvShape, pattern: Pattern<'_>, lists: usize, place: impl Fn(Tap) -> (usize, usize)) -> Stream {
        let parts = [(pattern.active, 0), (pattern.candidates, pattern.active.len())];
        let mut starts = vec![0u32; lists + 1];
        for (positions, _) in parts {
            for_each_place(shape, positions, &place, |_, list, _| starts[list + 1] += 1);
        }
        for list in 0..lists {
            starts[list + 1] += starts[list];
        }
        let count = pattern.active.len() + pattern.candidates.len();
        let mut next = starts.clone();
        let mut entries = vec![Entry { weight: 0.0, offset: 0 }; count];
        let mut sources = vec![0; count];
        for (positions, first) in parts {
            for_each_place(shape, positions, &place, |i, list, offset| {
                let at = next[list] as usize;
                next[list] += 1;
                entries[at].offset = offset;
                sources[at] = (first + i) as u32;
            });
        }
        Stream { starts, entries, source: sources }
    }

    /// Takes over the current weights; candidates stay at 0.
    pub fn refresh(&mut self, values: &[f32]) {
        for (entry, &source) in self.entries.iter_mut().zip(&self.source) {
            entry.weight = values.get(source as usize).copied().unwrap_or(0.0);
        }
    }

    /// For each list, the number of chunks of at most `size` entries before it; and their total.
    pub fn chunks_before(&self, size: usize) -> Vec<u32> {
        let mut before = vec![0];
        for list in self.starts.windows(2) {
            before.push(before[before.len() - 1] + (list[1] - list[0]).div_ceil(size as u32));
        }
        before
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&self.entries[..]) + size_of_val(&self.source[..]) + size_of_val(&self.starts[..])
    }
}

/// Visits sorted flat positions in order, each as its number, its list, and its offset in floats.
///
/// Places are looked up: taking every index apart by division would take longer than the rest of a decision.
fn for_each_place(
    shape: &ConvShape,
    positions: &[u32],
    place: impl Fn(Tap) -> (usize, usize),
    mut visit: impl FnMut(usize, usize, u32),
) {
    assert!(positions.last().is_none_or(|&last| (last as usize) < shape.weight_len()), "positions outside {shape:?}");
    let (inputs, [height, width]) = (shape.group_inputs(), shape.kernel);
    let (row_len, outputs) = (inputs * height * width, shape.output.channels / shape.groups);
    let in_floats = |offset: usize| u32::try_from(offset * LANES).expect("a packed band is small");
    let mut places = Vec::with_capacity(row_len);
    let mut i = 0;
    for output in 0..shape.output.channels {
        let first_input = output / outputs * inputs;
        let at = |input, row, column| place(Tap { output, input: first_input + input, row, column });
        let here = at(0, 0, 0);
        if output % outputs == 0 {
            let taps: Vec<_> = (0..height * width).map(|tap| at(0, tap / width, tap % width)).collect();
            places.clear();
            for input in 0..inputs {
                let channel = at(input, 0, 0);
                places.extend(taps.iter().map(|tap| (channel.0 + tap.0 - here.0, channel.1 + tap.1 - here.1)));
            }
        }
        let (origin, first) = (places[0], (output * row_len) as u32);
        while let Some(&(list, offset)) = positions.get(i).and_then(|&at| places.get((at - first) as usize)) {
            visit(i, list + here.0 - origin.0, in_floats(offset + here.1 - origin.1));
            i += 1;
        }
    }
    assert_eq!(i, positions.len(), "positions must be sorted");
}
