//! Sums per channel over one unit's tiles.

use crate::dispatch::{InstructionSet, floats, floats_mut, load, parts, store};
use crate::layout::{Lane, Plane};
use pulp::{Simd, WithSimd};

/// Σx and Σx² per channel over pixels and images, `[sum, sum of squares]` each.
///
/// `masks` holds one mask per tile if some of the unit's lanes are spare, else nothing.
pub fn moments(set: InstructionSet, plane: Plane, data: &[Lane], masks: &[Lane], moments: &mut [f32]) {
    assert_eq!(moments.len(), 2 * plane.channels);
    assert!(masks.is_empty() || masks.len() * plane.len() >= data.len(), "one mask per tile");
    set.run(Moments { plane, data, masks, moments });
}

struct Moments<'a> {
    plane: Plane,
    data: &'a [Lane],
    masks: &'a [Lane],
    moments: &'a mut [f32],
}

impl WithSimd for Moments<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Plane { channels, width, .. } = self.plane;
        for (channel, moments) in self.moments.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let mut totals = [Lane::ZERO; 2];
            for lane in (0..parts::<S>()).map(|part| part * S::F32_LANES) {
                let (mut sum, mut squares) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
                for (tile, values) in self.data.chunks_exact(self.plane.len()).enumerate() {
                    let mask = match self.masks.get(tile) {
                        // SAFETY: `lane` is a part of one lane.
                        Some(mask) => unsafe { load::<S>(floats(std::slice::from_ref(mask)).add(lane)) },
                        None => simd.splat_f32s(1.0),
                    };
                    for value in values.chunks_exact(width).skip(channel).step_by(channels).flatten() {
                        // SAFETY: as above.
                        let value = unsafe { load::<S>(floats(std::slice::from_ref(value)).add(lane)) };
                        let live = simd.mul_f32s(value, mask);
                        sum = simd.add_f32s(sum, live);
                        squares = simd.mul_add_e_f32s(live, live, squares);
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
