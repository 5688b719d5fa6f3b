//! Sums per channel over one unit's tiles.

use crate::dispatch::{InstructionSet, floats, floats_mut, load, parts, store};
use crate::layout::{LANES, Lane, Plane};
use crate::storage::{Element, Storage, with_storage};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Σx and Σx² per channel over pixels and images, `[sum, sum of squares]` each.
///
/// `masks` holds one mask per tile if some of the unit's lanes are spare, else nothing.
pub fn moments(
    set: InstructionSet,
    plane: Plane,
    (data, storage): (&[Lane], Storage),
    masks: &[Lane],
    moments: &mut [f32],
) {
    let tiles = data.len() / storage.lanes(plane);
    assert_eq!(moments.len(), 2 * plane.channels);
    assert!(masks.is_empty() || masks.len() >= tiles, "one mask per tile");
    with_storage!(storage, E => set.run(Moments::<E> { plane, tiles, data, masks, moments, element: PhantomData }));
}

struct Moments<'a, E> {
    plane: Plane,
    tiles: usize,
    data: &'a [Lane],
    masks: &'a [Lane],
    moments: &'a mut [f32],
    element: PhantomData<E>,
}

impl<E: Element> WithSimd for Moments<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Plane { channels, height, width } = self.plane;
        for (channel, moments) in self.moments.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let mut totals = [Lane::ZERO; 2];
            for lane in (0..parts::<S>()).map(|part| part * S::F32_LANES) {
                let (mut sum, mut squares) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
                for tile in 0..self.tiles {
                    let mask = match self.masks.get(tile) {
                        // SAFETY: `lane` is a part of one lane.
                        Some(mask) => unsafe { load::<S>(floats(std::slice::from_ref(mask)).add(lane)) },
                        None => simd.splat_f32s(1.0),
                    };
                    for row in 0..height {
                        let start = tile * E::tile_len(self.plane) + (row * channels + channel) * width;
                        for at in start..start + width {
                            // SAFETY: the tile lies inside the data.
                            let value = unsafe { E::load::<S>(floats(self.data), at * LANES + lane) };
                            let live = simd.mul_f32s(value, mask);
                            sum = simd.add_f32s(sum, live);
                            squares = simd.mul_add_e_f32s(live, live, squares);
                        }
                    }
                }
                for (total, sums) in totals.iter_mut().zip([sum, squares]) {
                    // SAFETY: as above.
                    unsafe { store::<S>(floats_mut(std::slice::from_mut(total)).add(lane), sums) };
                }
            }
            *moments = totals.map(|total| total.0.iter().sum());
        }
    }
}
