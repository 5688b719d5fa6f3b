//! Random streams as functions of what they are for.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers decides; part of its key, so that no two uses share numbers.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Order = 1,
    Augment = 2,
    Region = 3,
}

/// The stream of (`seed`, `purpose`, `epoch`, `index`).
pub(crate) fn stream(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, epoch, 0]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}

/// A number below `bound`; each is equally likely to within 2⁻³² for the sizes here (at most 2³²).
pub(crate) fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// A number from `low` to below `high`.
pub(crate) fn between(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * ((rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64)
}

/// The numbers below `count` in a random order that depends on (`seed`, `epoch`) only.
pub(crate) fn permutation(count: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    let mut rng = stream(seed, Purpose::Order, epoch, 0);
    for last in (1..count).rev() {
        order.swap(last, below(&mut rng, last + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = permutation(1000, 7, 3);
        assert_ne!(order, permutation(1000, 7, 4));
        assert_ne!(order, permutation(1000, 8, 3));
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..1000));
    }

    #[test]
    fn the_order_of_an_epoch_never_changes_between_versions() {
        assert_eq!(permutation(8, 1, 2), [6, 4, 5, 0, 3, 2, 7, 1]);
    }

    #[test]
    fn numbers_below_a_bound_are_spread_evenly() {
        let mut rng = stream(5, Purpose::Augment, 0, 0);
        let mut counts = [0u32; 9];
        for _ in 0..9000 {
            counts[below(&mut rng, 9)] += 1;
        }
        assert!(counts.iter().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    }
}
