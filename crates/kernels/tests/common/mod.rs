//! Random cases, and what exact arithmetic says about them.

mod convolution;
mod exact;
mod gradient;
mod kernels;
mod recipe;
mod splitmix;
mod tensor;

pub use convolution::Convolution;
pub use exact::{Agreement, Exact, agree};
pub use gradient::Gradient;
pub use kernels::{Backward, Forward};
pub use recipe::Recipe;
pub use splitmix::SplitMix64;
pub use tensor::{Tensor, images_of, junk, masks, poison, spare_lanes_are_zero};

use bidst_kernels::{LANES, Lane, Plane, Storage, tiles};

/// Random numbers, and cases made of them.
pub struct Numbers(SplitMix64);

impl Numbers {
    /// The numbers of one case of one kernel.
    pub fn new(kernel: &str, case: usize) -> Numbers {
        let seed = kernel.bytes().fold(case as u64, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
        Numbers(SplitMix64(seed))
    }

    /// Between 0 and 1.
    pub fn uniform(&mut self) -> f64 {
        self.0.uniform()
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.0.next() % (high - low + 1) as u64) as usize
    }

    /// True in one of `n` cases.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.between(1, n) == 1
    }

    /// One of the `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len() - 1)]
    }

    /// `len` numbers between -2 and 2; on the grid they are multiples of 1/2, so that short sums are exact and
    /// equals are common.
    pub fn values(&mut self, len: usize, grid: bool) -> Vec<f32> {
        let mut value = || match grid {
            true => self.between(0, 8) as f32 / 2.0 - 2.0,
            false => (4.0 * self.uniform() - 2.0) as f32,
        };
        (0..len).map(|_| value()).collect()
    }

    /// `len` values, or none at all: the empty slice that stands for a default.
    pub fn optional(&mut self, len: usize, grid: bool) -> Vec<f32> {
        let len = if self.one_in(3) { 0 } else { len };
        self.values(len, grid)
    }
}

/// Images of one size in one unit of tiles, some of whose lanes may be spare.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub plane: Plane,
    pub images: usize,
    pub tiles: usize,
    pub grid: bool,
    pub storage: Storage,
}

impl Batch {
    /// Up to four tiles of small planes.
    pub fn draw(numbers: &mut Numbers) -> Batch {
        let [channels, height, width] = [20, 7, 7].map(|most| numbers.between(1, most));
        let images = numbers.between(1, 40);
        let tiles = tiles(images) + usize::from(numbers.one_in(4));
        let plane = Plane { channels, height, width };
        Batch { plane, images, tiles, grid: numbers.one_in(4), storage: draw_storage(numbers) }
    }

    pub fn with(self, plane: Plane) -> Batch {
        Batch { plane, ..self }
    }

    /// Lanes of the unit.
    pub fn lanes(&self) -> usize {
        self.tiles * self.storage.lanes(self.plane)
    }

    pub fn has_spare_lanes(&self) -> bool {
        self.images < self.tiles * LANES
    }

    /// Values of one channel.
    pub fn population(&self) -> usize {
        self.images * self.plane.height * self.plane.width
    }

    /// The masks of the unit: always where lanes are spare, else sometimes.
    pub fn masks(&self, numbers: &mut Numbers) -> Vec<Lane> {
        match self.has_spare_lanes() || numbers.one_in(4) {
            true => masks(self.images, self.tiles),
            false => Vec::new(),
        }
    }
}

/// One of both storages.
pub fn draw_storage(numbers: &mut Numbers) -> Storage {
    numbers.pick(&[Storage::F32, Storage::Bf16])
}
