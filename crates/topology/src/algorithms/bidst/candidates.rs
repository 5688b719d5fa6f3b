//! Which inactive positions are looked at next.

use super::CandidateRule;
use crate::bits::BitSet;
use crate::mask::complement;
use crate::rng::{self, Purpose, Streams};
use crate::select;

/// Draws the candidates of one layer, sorted: `wanted` inactive positions, or all if there are fewer. `cursor` is the
/// layer's place in the rotating partition and moves on.
pub(super) fn draw(
    rule: CandidateRule,
    streams: &Streams,
    (layer, step): (usize, u64),
    len: usize,
    active: &[u32],
    wanted: usize,
    cursor: &mut u64,
) -> Vec<u32> {
    let wanted = wanted.min(len - active.len());
    match rule {
        CandidateRule::All => complement(len, active),
        CandidateRule::Random => {
            select::random_inactive(&mut streams.stream(Purpose::Candidates, layer as u64, step), len, active, wanted)
        }
        CandidateRule::Rotating => {
            let order = Permutation::over(len, streams.key(Purpose::Candidates, layer as u64, 0));
            next_in_order(&order, &BitSet::all_but(active, len, order.len()), wanted, cursor)
        }
    }
}

/// The next `wanted` of the `open` positions in `order` from `cursor` on, going round. There must be as many.
///
/// Closed positions are passed over without a branch: which they are cannot be predicted.
fn next_in_order(order: &Permutation, open: &BitSet, wanted: usize, cursor: &mut u64) -> Vec<u32> {
    let mut found = BitSet::new(order.len());
    let mut missing = wanted;
    while missing > 0 {
        *cursor %= order.len() as u64;
        missing -= usize::from(found.insert_if_in(open, order.at(*cursor) as u32));
        *cursor += 1;
    }
    found.to_sorted()
}

/// A pseudo-random order of the numbers below a power of two that is stored nowhere: a Feistel network whose rounds are
/// multiplicative hashes.
struct Permutation {
    low: u32,
    high: u32,
    /// Two rounds for each half.
    keys: [[u64; 2]; 2],
}

impl Permutation {
    /// Over the smallest power of two that is not below `len`.
    fn over(len: usize, key: u64) -> Self {
        let bits = (len.max(2) as u64).next_power_of_two().trailing_zeros();
        let keys = [[0, 1], [2, 3]].map(|rounds| rounds.map(|round| rng::at(key, round)));
        Self { low: bits / 2, high: bits - bits / 2, keys }
    }

    fn len(&self) -> usize {
        1 << (self.low + self.high)
    }

    /// The number at place `index` < `len`.
    fn at(&self, index: u64) -> u64 {
        let (mut low, mut high) = (index & mask(self.low), index >> self.low);
        for [of_high, of_low] in self.keys {
            high ^= hash(of_high, low) & mask(self.high);
            low ^= hash(of_low, high) & mask(self.low);
        }
        high << self.low | low
    }
}

/// The upper half of a product that every bit of `value` and `key` goes into (Fibonacci hashing).
fn hash(key: u64, value: u64) -> u64 {
    (value ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(rule: CandidateRule, len: usize, active: &[u32], wanted: usize, cursor: &mut u64) -> Vec<u32> {
        draw(rule, &Streams::new(4), (0, 10), len, active, wanted, cursor)
    }

    #[test]
    fn the_rotating_partition_inspects_every_position_in_the_fewest_draws() {
        let active: Vec<u32> = (0..100).map(|i| i * 10).collect();
        let mut seen = BitSet::of(1000, &active);
        let mut cursor = 0;
        for _ in 0..9 {
            let candidates = drawn(CandidateRule::Rotating, 1000, &active, 100, &mut cursor);
            assert!(candidates.iter().all(|&position| seen.insert(position)));
        }
        assert_eq!(seen.count(), 1000);
    }

    proptest! {
        #[test]
        fn the_order_is_a_permutation(len in 1usize..700, key: u64) {
            let order = Permutation::over(len, key);
            let mut seen = BitSet::new(order.len());
            prop_assert!(order.len() >= len);
            prop_assert!((0..order.len() as u64).all(|index| seen.insert(order.at(index) as u32)));
        }

        #[test]
        fn candidates_are_inactive_and_exactly_as_many_as_wanted(
            active in prop::collection::btree_set(0u32..80, 0..80), wanted in 0usize..100, start in 0u64..80,
        ) {
            let active: Vec<u32> = active.into_iter().collect();
            for rule in [CandidateRule::Rotating, CandidateRule::Random, CandidateRule::All] {
                let candidates = drawn(rule, 80, &active, wanted, &mut start.clone());
                prop_assert!(crate::mask::first_disorder(&candidates, 80).is_none());
                prop_assert!(candidates.iter().all(|position| active.binary_search(position).is_err()));
                let expected = if rule == CandidateRule::All { 80 } else { wanted };
                prop_assert_eq!(candidates.len(), expected.min(80 - active.len()));
            }
        }
    }
}
