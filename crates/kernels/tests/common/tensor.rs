//! Images in both layouts, with spare lanes that betray who reads them.

use super::{Batch, Numbers};
use bidst_kernels::{LANES, Lane, images_from_tile, tile_from_images};

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
        let Batch { plane, storage, .. } = batch;
        let images = numbers.values(batch.images * plane.len(), batch.grid);
        let images: Vec<f32> = images.into_iter().map(|value| storage.round(value)).collect();
        let mut tiles = poison(batch.lanes());
        for (index, tile) in tiles.chunks_exact_mut(storage.lanes(plane)).enumerate() {
            let from = (index * LANES).min(batch.images) * plane.len();
            let live = live(batch.images, index);
            tile_from_images(&images[from..from + live * plane.len()], plane, storage, tile);
            for at in 0..plane.len() {
                let mut element = storage.get(tile, at);
                element.0[live..].fill(spare);
                storage.set(tile, at, element);
            }
        }
        Tensor { images, tiles }
    }
}

/// One mask per tile of a unit.
pub fn masks(images: usize, tiles: usize) -> Vec<Lane> {
    (0..tiles).map(|tile| Lane::mask(live(images, tile))).collect()
}

/// The live images of a unit's tiles.
pub fn images_of(tiles: &[Lane], batch: Batch) -> Vec<f32> {
    let Batch { plane, storage, .. } = batch;
    let mut all = vec![0.0; batch.images * plane.len()];
    for (images, tile) in all.chunks_mut(LANES * plane.len()).zip(tiles.chunks_exact(storage.lanes(plane))) {
        images_from_tile(tile, plane, storage, images);
    }
    all
}

pub fn spare_lanes_are_zero(tiles: &[Lane], batch: Batch) -> bool {
    let Batch { plane, storage, images, .. } = batch;
    let spare_is_zero = |(index, tile): (usize, &[Lane])| {
        let spare = |at: usize| storage.get(tile, at).0[live(images, index)..].iter().all(|&value| value == 0.0);
        (0..plane.len()).all(spare)
    };
    tiles.chunks_exact(storage.lanes(plane)).enumerate().all(spare_is_zero)
}

fn live(images: usize, tile: usize) -> usize {
    images.saturating_sub(tile * LANES).min(LANES)
}
