//! What an algorithm is tried on.

use crate::LayerSpec;
use crate::rng::{self, Purpose, Streams};

/// What is wrong with the gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// They are all 0.
    AllZero,
    /// None is a number.
    AllNan,
    /// Those of the zeros at even positions are no numbers.
    SomeNan,
    /// They are all the same.
    AllEqual,
}

/// Layers, a seed, and what goes wrong on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// The layers, before the algorithm's maker has prepared them.
    pub layers: Vec<LayerSpec>,
    /// What is wrong with the gradients after the start.
    pub fault: Fault,
    /// Seed of the run.
    pub seed: u64,
    /// Step before which the run is interrupted.
    pub cut: u64,
}

impl World {
    /// A world of these layers in which nothing goes wrong.
    pub fn of(layers: Vec<LayerSpec>, seed: u64) -> Self {
        Self { layers, fault: Fault::None, seed, cut: super::subject::STEPS / 2 }
    }

    /// World number `number`: up to three layers of any density, 0 and 1 included, of up to `number` + 1 and at most 60
    /// positions. The first world in which a law is broken is therefore a small one.
    pub fn numbered(number: u64) -> Self {
        let mut draw = Streams::new(number).stream(Purpose::Other, u64::MAX, 0);
        let mut below = |n: u64| rng::below(&mut draw, n);
        let count = 1 + below(3);
        let layers = (0..count).map(|_| {
            let len = 1 + below(60.min(number + 1)) as usize;
            match below(4) {
                0 => (len, 0),
                1 => (len, len),
                _ => (len, below(len as u64 + 1) as usize),
            }
        });
        let layers = matrices(&layers.collect::<Vec<_>>());
        let fault = [Fault::AllZero, Fault::AllNan, Fault::SomeNan, Fault::AllEqual].get(below(8) as usize).copied();
        Self { layers, fault: fault.unwrap_or_default(), seed: below(u64::MAX), cut: below(super::subject::STEPS) }
    }
}

/// Matrices of at most five rows with these (positions, non-zeros).
pub fn matrices(layers: &[(usize, usize)]) -> Vec<LayerSpec> {
    let rows = |len: usize| (1..=5).rev().find(|rows| len.is_multiple_of(*rows)).unwrap_or(1);
    let shape = |len: usize| vec![rows(len), len / rows(len)];
    let spec = |(i, &(len, nnz))| LayerSpec::new(format!("layer{i}.weight"), shape(len), nnz);
    layers.iter().enumerate().map(spec).collect()
}
