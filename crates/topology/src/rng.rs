//! Random numbers as a function of (seed, purpose, layer, step).
//!
//! No generator is carried from step to step, so a resumed run draws what an uninterrupted one would, and what one
//! layer draws cannot depend on another.

use crate::bits::BitSet;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is for; different purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// The first mask.
    Mask = 1,
    /// The first weights.
    Init = 2,
    /// Random growth.
    Grow = 3,
    /// Candidates for growth.
    Candidates = 4,
    /// Gumbel noise at decisions.
    Gumbel = 5,
    /// The first values of stored inactive weights.
    Stored = 6,
    /// Whatever a caller draws that is none of these.
    Other = 7,
    /// The images on which a network is scored before training.
    Sample = 8,
    /// The fixed signs of positions (Deep R).
    Sign = 9,
}

/// All random streams of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The stream for one purpose, layer and step: ChaCha with 8 rounds whose 256-bit key is just those four numbers.
    pub fn stream(&self, purpose: Purpose, layer: u64, step: u64) -> ChaCha8Rng {
        let mut key = [0; 32];
        for (bytes, number) in key.chunks_exact_mut(8).zip([self.seed, purpose as u64, layer, step]) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// A 64-bit key for [`at`], drawn from the stream of the same arguments.
    pub fn key(&self, purpose: Purpose, layer: u64, step: u64) -> u64 {
        self.stream(purpose, layer, step).next_u64()
    }
}

/// Random bits for one position under a key: the SplitMix64 finaliser over a Weyl sequence (Steele, Lea and Flood
/// 2014). A number per position costs nanoseconds and depends on no other position.
pub fn at(key: u64, position: u64) -> u64 {
    let mut z = key.wrapping_add(position.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Uniform in [0, 1) with 53 bits.
pub fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * 2f64.powi(-53)
}

/// `count` numbers uniform in [0, 1), with 24 bits.
pub fn uniforms(rng: &mut impl Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| (rng.next_u32() >> 8) as f32 * 2f32.powi(-24)).collect()
}

/// Uniform in {0, …, n − 1} without bias (Lemire 2019).
///
/// # Panics
/// If `n` is 0.
pub fn below(rng: &mut impl Rng, n: u64) -> u64 {
    assert!(n > 0, "no number is below 0");
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(n);
        // The threshold is below n, and the division that finds it takes longer than all the rest.
        if product as u64 >= n || product as u64 >= n.wrapping_neg() % n {
            return (product >> 64) as u64;
        }
    }
}

/// A number below `n` from 32 bits: half as many as [`below`] takes, for a bias of at most n/2³².
pub(crate) fn below_u32(rng: &mut impl Rng, n: u32) -> u32 {
    ((u64::from(rng.next_u32()) * u64::from(n)) >> 32) as u32
}

/// Standard normal (Box and Muller 1958; one of the pair is discarded).
pub fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(rng)).cos()
}

/// Standard Gumbel from 64 random bits: −ln(−ln u) with u in (0, 1).
pub fn gumbel(bits: u64) -> f64 {
    let u = ((bits >> 12) as f64 + 0.5) * 2f64.powi(-52);
    -(-u.ln()).ln()
}

/// `count` different numbers below `population`, uniformly and sorted (Floyd's algorithm on a bitset).
///
/// # Panics
/// If `count` exceeds `population` or `population` exceeds 32-bit indices.
pub fn choose(rng: &mut impl Rng, population: usize, count: usize) -> Vec<u32> {
    assert!(count <= population && u32::try_from(population).is_ok(), "cannot choose {count} of {population}");
    let mut chosen = BitSet::new(population);
    for last in population - count..population {
        let pick = below(rng, last as u64 + 1) as u32;
        if !chosen.insert(pick) {
            chosen.insert(last as u32);
        }
    }
    chosen.to_sorted()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_function_of_its_four_numbers_and_differs_in_each() {
        let first = |seed, purpose, layer, step| Streams::new(seed).stream(purpose, layer, step).next_u64();
        let base = first(1, Purpose::Mask, 2, 3);
        assert_eq!(base, first(1, Purpose::Mask, 2, 3));
        for other in [
            first(2, Purpose::Mask, 2, 3),
            first(1, Purpose::Init, 2, 3),
            first(1, Purpose::Mask, 3, 3),
            first(1, Purpose::Mask, 2, 4),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn choosing_is_uniform_over_positions() {
        let mut hits = [0u32; 10];
        for step in 0..5000 {
            for i in choose(&mut Streams::new(7).stream(Purpose::Grow, 0, step), 10, 3) {
                hits[i as usize] += 1;
            }
        }
        assert!(hits.iter().all(|&n| (1350..1650).contains(&n)), "{hits:?}");
    }

    #[test]
    fn normal_and_gumbel_have_their_moments() {
        let mut rng = Streams::new(5).stream(Purpose::Init, 0, 0);
        let n = 100_000;
        let (mut sum, mut square, mut extreme) = (0.0, 0.0, 0.0);
        for i in 0..n {
            let x = normal(&mut rng);
            (sum, square) = (sum + x, square + x * x);
            extreme += gumbel(at(9, i));
        }
        let n = n as f64;
        assert!((sum / n).abs() < 0.02 && (square / n - 1.0).abs() < 0.02);
        assert!((extreme / n - 0.577_215_7).abs() < 0.02);
        assert!(gumbel(0).is_finite() && gumbel(u64::MAX).is_finite());
    }
}
