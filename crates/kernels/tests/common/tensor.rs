//! Images in both layouts, with spare lanes that betray who reads them.

use super::{Batch, Numbers};
use bidst_kernels::{LANES, Lane, Plane, images_from_tile, tile_from_images};

/// What spare lanes hold where nobody may count on them.
pub fn junk() -> f32 {
    1e4
}

/// A buffer of NaNs, for memory that must be written before it is read.
pub fn poison(len: usize) -> Vec<Lane> {
    vec![Lane([f32::NAN; LANES]); len]
}

/// The same images as `[image][channel][row][column]` and as one unit's tiles.
pub struct Tensor {
    pub images: Vec<f32>,
    pub tiles: Vec<Lane>,
}

impl Tensor {
    /// Random images; spare lanes hold `spare`.
    pub fn draw(numbers: &mut Numbers, batch: Batch, spare: f32) -> Tensor {
        let images = numbers.values(batch.images * batch.plane.len(), batch.grid);
        let mut tiles = vec![Lane([spare; LANES]); batch.tiles * batch.plane.len()];
        let parts = images.chunks(LANES * batch.plane.len());
        for (images, tile) in parts.zip(tiles.chunks_exact_mut(batch.plane.len())) {
            tile_from_images(images, batch.plane, tile);
            let live = images.len() / batch.plane.len();
            tile.iter_mut().for_each(|lane| lane.0[live..].fill(spare));
        }
        Tensor { images, tiles }
    }
}

/// One mask per tile of a unit.
pub fn masks(images: usize, tiles: usize) -> Vec<Lane> {
    (0..tiles).map(|tile| Lane::mask(live(images, tile))).collect()
}

/// The first `images` images of a unit's tiles.
pub fn images_of(tiles: &[Lane], plane: Plane, images: usize) -> Vec<f32> {
    let mut all = vec![0.0; images * plane.len()];
    for (images, tile) in all.chunks_mut(LANES * plane.len()).zip(tiles.chunks_exact(plane.len())) {
        images_from_tile(tile, plane, images);
    }
    all
}

pub fn spare_lanes_are_zero(tiles: &[Lane], batch: Batch) -> bool {
    let spare_is_zero = |(tile, lanes): (usize, &[Lane])| {
        lanes.iter().all(|lane| lane.0[live(batch.images, tile)..].iter().all(|&value| value == 0.0))
    };
    tiles.chunks_exact(batch.plane.len()).enumerate().all(spare_is_zero)
}

fn live(images: usize, tile: usize) -> usize {
    images.saturating_sub(tile * LANES).min(LANES)
}
