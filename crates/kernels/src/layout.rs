//! How activations lie in memory: `[tile][row][channel][column][16 images]`.
//!
//! Sixteen images are the lanes of one [`Lane`], so every kernel works on whole vectors whatever the number of
//! channels or the size of the plane, and one weight multiplies sixteen images at once. A row of all channels is
//! contiguous, which keeps the three rows a 3×3 kernel touches in L2.

use crate::storage::Storage;
use bytemuck::{Pod, Zeroable};
use std::mem::MaybeUninit;

/// Images side by side in one vector.
pub const LANES: usize = 16;

/// The same element of sixteen images; 64 bytes, aligned to a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Lane(pub [f32; LANES]);

impl Lane {
    /// Sixteen zeros.
    pub const ZERO: Lane = Lane([0.0; LANES]);

    /// Ones in the first `live` lanes, zeros in the spare ones of a partial tile.
    pub fn mask(live: usize) -> Lane {
        Lane(std::array::from_fn(|lane| if lane < live { 1.0 } else { 0.0 }))
    }
}

/// A buffer of `len` zeroed lanes.
///
/// Large ones ask for huge pages, because kernels walk through many rows of a tensor at a time, each on pages of its own.
pub fn lanes(len: usize) -> Vec<Lane> {
    let mut lanes = Vec::with_capacity(len);
    ask_for_huge_pages(lanes.spare_capacity_mut());
    lanes.resize(len, Lane::ZERO);
    lanes
}

/// Advises the system before the memory is first touched; it may well decline.
#[cfg(target_os = "linux")]
fn ask_for_huge_pages(memory: &mut [MaybeUninit<Lane>]) {
    /// The advice is for whole pages, which are 4 to 64 KiB long.
    const PAGE: usize = 64 * 1024;
    const HUGE_PAGE: usize = 2 * 1024 * 1024;
    let (skipped, bytes) = (memory.as_ptr().cast::<u8>().align_offset(PAGE), size_of_val(memory));
    let len = bytes.saturating_sub(skipped) / PAGE * PAGE;
    if len >= HUGE_PAGE {
        let start = memory.as_mut_ptr().cast::<u8>().wrapping_add(skipped);
        // SAFETY: these pages belong to `memory` alone, and the advice leaves their contents as they are.
        let _declined = unsafe { rustix::mm::madvise(start.cast(), len, rustix::mm::Advice::LinuxHugepage) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_memory: &mut [MaybeUninit<Lane>]) {}

/// Channels and size of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Plane {
    /// Elements of one image, which is also the number of [`Lane`]s of one tile.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Is there nothing in it?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lanes of one row of all channels.
    pub fn row_len(&self) -> usize {
        self.channels * self.width
    }
}

/// Tiles of sixteen images needed for `images`.
pub fn tiles(images: usize) -> usize {
    images.div_ceil(LANES)
}

/// Copies one tile of images from `[image][channel][row][column]` into the tile layout.
///
/// `images` holds the (at most sixteen) images of this tile; lanes beyond them become 0.
pub fn tile_from_images(images: &[f32], plane: Plane, storage: Storage, tile: &mut [Lane]) {
    let live = images.len() / plane.len().max(1);
    assert!(live <= LANES && images.len() == live * plane.len() && tile.len() == storage.lanes(plane));
    for row in 0..plane.height {
        for channel in 0..plane.channels {
            let to = (row * plane.channels + channel) * plane.width;
            let from = (channel * plane.height + row) * plane.width;
            for column in 0..plane.width {
                let mut lane = Lane::ZERO;
                for image in 0..live {
                    lane.0[image] = images[image * plane.len() + from + column];
                }
                storage.set(tile, to + column, lane);
            }
        }
    }
}

/// The inverse of [`tile_from_images`]: writes the live images of one tile.
pub fn images_from_tile(tile: &[Lane], plane: Plane, storage: Storage, images: &mut [f32]) {
    let live = images.len() / plane.len().max(1);
    assert!(live <= LANES && images.len() == live * plane.len() && tile.len() == storage.lanes(plane));
    for row in 0..plane.height {
        for channel in 0..plane.channels {
            let from = (row * plane.channels + channel) * plane.width;
            let to = (channel * plane.height + row) * plane.width;
            for column in 0..plane.width {
                let lane = storage.get(tile, from + column);
                for image in 0..live {
                    images[image * plane.len() + to + column] = lane.0[image];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_tile_survives_the_round_trip_and_its_spare_lanes_are_zero() {
        let plane = Plane { channels: 3, height: 2, width: 5 };
        let images: Vec<f32> = (0..7 * plane.len()).map(|i| i as f32 + 1.0).collect();
        let mut tile = vec![Lane([9.0; LANES]); plane.len()];
        tile_from_images(&images, plane, Storage::F32, &mut tile);
        assert!(tile.iter().all(|lane| lane.0[7..].iter().all(|&x| x == 0.0)));
        let mut back = vec![0.0; images.len()];
        images_from_tile(&tile, plane, Storage::F32, &mut back);
        assert_eq!(back, images);
    }
}
