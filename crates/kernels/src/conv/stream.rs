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
    pub fn new(shape: &ConvShape, pattern: Pattern<'_>, lists: usize, place: impl Fn(Tap) -> (usize, usize)) -> Stream {
        let positions = || {
            let active = pattern.active.iter().enumerate();
            let candidates = pattern.candidates.iter().enumerate().map(|(i, at)| (i + pattern.active.len(), at));
            active.chain(candidates).map(|(source, &at)| {
                let (list, offset) = place(tap(shape, at as usize));
                (source, list, u32::try_from(offset * LANES).expect("a packed band is small"))
            })
        };
        let mut starts = vec![0u32; lists + 1];
        positions().for_each(|(_, list, _)| starts[list + 1] += 1);
        for list in 0..lists {
            starts[list + 1] += starts[list];
        }
        let count = pattern.active.len() + pattern.candidates.len();
        let mut next = starts.clone();
        let mut entries = vec![Entry { weight: 0.0, offset: 0 }; count];
        let mut sources = vec![0; count];
        for (source, list, offset) in positions() {
            let at = next[list] as usize;
            next[list] += 1;
            entries[at].offset = offset;
            sources[at] = source as u32;
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

fn tap(shape: &ConvShape, index: usize) -> Tap {
    let [height, width] = shape.kernel;
    let inputs = shape.group_inputs();
    let (column, rest) = (index % width, index / width);
    let (row, rest) = (rest % height, rest / height);
    let (input, output) = (rest % inputs, rest / inputs);
    assert!(output < shape.output.channels, "weight index {index} lies outside {shape:?}");
    let group = output / (shape.output.channels / shape.groups);
    Tap { output, input: group * inputs + input, row, column }
}
