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
            let order = Permutation::new(len, streams.key(Purpose::Candidates, layer as u64, 0));
            next_in_order(&order, &BitSet::of(len, active), wanted, cursor)
        }
    }
}

/// The next `wanted` inactive positions in `order` from `cursor` on, going round. `wanted` must not exceed what there is.
fn next_in_order(order: &Permutation, active: &BitSet, wanted: usize, cursor: &mut u64) -> Vec<u32> {
    let mut found = BitSet::new(order.len as usize);
    let mut missing = wanted;
    while missing > 0 {
        let position = order.at(*cursor % order.len) as u32;
        *cursor = (*cursor + 1) % order.len;
        if !active.contains(position) && found.insert(position) {
            missing -= 1;
        }
    }
    found.to_sorted()
}

/// A pseudo-random order of 0..len that is stored nowhere: a four-round Feistel network over the next power of two,
/// applied again until it lands below `len` (cycle walking, Black and Rogaway 2002).
struct Permutation {
    len: u64,
    low: u32,
    high: u32,
    key: u64,
}

impl Permutation {
    fn new(len: usize, key: u64) -> Self {
        let bits = (len.max(2) as u64).next_power_of_two().trailing_zeros();
        Self { len: len as u64, low: bits / 2, high: bits - bits / 2, key }
    }

    /// The position at place `index` < len.
    fn at(&self, index: u64) -> u64 {
        let mut value = index;
        loop {
            value = self.mix(value);
            if value < self.len {
                return value;
            }
        }
    }

    fn mix(&self, value: u64) -> u64 {
        let (mut low, mut high) = (value & mask(self.low), value >> self.low);
        for round in 0..2 {
            high ^= rng::at(self.key, low << 2 | round << 1) & mask(self.high);
            low ^= rng::at(self.key, high << 2 | round << 1 | 1) & mask(self.low);
        }
        high << self.low | low
    }
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
            let order = Permutation::new(len, key);
            let mut seen = BitSet::new(len);
            prop_assert!((0..len as u64).all(|index| seen.insert(order.at(index) as u32)));
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
