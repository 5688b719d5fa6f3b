//! The end of a gradient as a pass of its own, where no convolution could take it into its epilogue.

use crate::conv::{Epilogue, InputGradient};
use crate::dispatch::{InstructionSet, fence, floats_mut};
use crate::layout::{LANES, Lane, Plane};
use crate::mix::{Mix, mixed_at};
use crate::storage::{Element, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// The gradient of a value, through its activation function and with the sums its batch norms ask for.
pub struct Rectify<'a> {
    /// Size of the value.
    pub plane: Plane,
    /// Tiles in the unit.
    pub tiles: usize,
    /// The value itself, which says where the activation function is flat.
    pub value: Mix<'a>,
    /// The contributions (`accumulate`, `add`) and what becomes of them.
    pub gradient: InputGradient<'a>,
}

/// Adds up the contributions and finishes them.
pub fn rectify(set: InstructionSet, mut work: Rectify<'_>, scratch: &mut [Lane]) {
    work.value.check(work.plane, work.tiles);
    work.gradient.check(work.plane, work.value.storage, work.tiles);
    let sums = &mut scratch[..3 * work.plane.channels];
    sums.fill(Lane::ZERO);
    let (plane, tiles, value, gradient) = (work.plane, work.tiles, &work.value, &mut work.gradient);
    with_storage!(value.storage, E => set.run(Pass::<E> { plane, tiles, value, gradient, sums, element: PhantomData }));
    work.gradient.reduce(sums);
}

struct Pass<'p, 'a, E> {
    plane: Plane,
    tiles: usize,
    value: &'p Mix<'a>,
    gradient: &'p mut InputGradient<'a>,
    sums: &'p mut [Lane],
    element: PhantomData<E>,
}

impl<E: Element> WithSimd for Pass<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Plane { channels, height, width } = self.plane;
        let copy = self.value.is_copy();
        let epilogue = Epilogue::new(self.gradient);
        for tile in 0..self.tiles {
            for line in 0..height * channels {
                let channel = line % channels;
                let start = tile * E::tile_len(self.plane) + line * width;
                for at in (start * LANES..(start + width) * LANES).step_by(S::F32_LANES) {
                    // SAFETY: `rectify` checked every operand against the plane and the tiles.
                    unsafe {
                        let x = mixed_at::<S, E, 1>(simd, self.value, copy, channel, [at]);
                        let sums = floats_mut(self.sums).add(3 * channel * LANES + at % LANES);
                        epilogue.finish::<S, E, 1>(simd, channel, [at], x, [simd.splat_f32s(0.0)], sums);
                    }
                }
            }
        }
        fence();
    }
}
