//! A plain bitset over positions.

/// A set of positions below a fixed length, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BitSet {
    words: Vec<u64>,
}

impl BitSet {
    pub(crate) fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)] }
    }

    pub(crate) fn of(len: usize, positions: &[u32]) -> Self {
        let mut set = Self::new(len);
        set.extend(positions);
        set
    }

    /// The positions below `limit` but these, as a set of length `len`.
    pub(crate) fn all_but(positions: &[u32], limit: usize, len: usize) -> Self {
        let mut set = Self::new(len);
        set.insert_below(limit);
        positions.iter().for_each(|&position| set.remove(position));
        set
    }

    /// From the words of [`words`](Self::words); `None` if their number or a bit beyond `len` is wrong.
    pub(crate) fn from_words(len: usize, words: &[u64]) -> Option<Self> {
        let tail = len % 64;
        let fits = words.len() == len.div_ceil(64) && (tail == 0 || words.last().is_none_or(|last| last >> tail == 0));
        fits.then(|| Self { words: words.to_vec() })
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Adds a position; whether it was new.
    pub(crate) fn insert(&mut self, position: u32) -> bool {
        let (word, bit) = (position as usize / 64, 1u64 << (position % 64));
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    pub(crate) fn remove(&mut self, position: u32) {
        self.words[position as usize / 64] &= !(1 << (position % 64));
    }

    /// Adds a position if it is in `other`, a set of the same length, without a branch; whether it is.
    pub(crate) fn insert_if_in(&mut self, other: &BitSet, position: u32) -> bool {
        let (word, bit) = (position as usize / 64, position % 64);
        let is_in = other.words[word] >> bit & 1;
        self.words[word] |= is_in << bit;
        is_in == 1
    }

    /// Adds every position below `limit`.
    pub(crate) fn insert_below(&mut self, limit: usize) {
        self.words[..limit / 64].fill(u64::MAX);
        if !limit.is_multiple_of(64) {
            self.words[limit / 64] |= (1 << (limit % 64)) - 1;
        }
    }

    pub(crate) fn extend(&mut self, positions: &[u32]) {
        for &position in positions {
            self.insert(position);
        }
    }

    /// Whether a position is there.
    pub(crate) fn contains(&self, position: u32) -> bool {
        self.words[position as usize / 64] >> (position % 64) & 1 == 1
    }

    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The positions in ascending order.
    pub(crate) fn to_sorted(&self) -> Vec<u32> {
        let mut out = Vec::with_capacity(self.count());
        for (i, &word) in self.words.iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                out.push((i * 64) as u32 + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        out
    }
}
