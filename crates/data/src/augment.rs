//! Random crops and flips, fused with normalisation: from bytes to `f32` in one pass.

use crate::Dataset;
use crate::random::{Purpose, below, between, stream};
use crate::resize::Region;
use rand_chacha::rand_core::Rng;

/// How training images are varied. What happens to an image depends on (seed, epoch, its index) only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Black pixels put around the image before a window of its size is cut at a random place; 0 is no crop.
    pub crop_padding: usize,
    /// Whether the image is mirrored left to right half of the time (after the crop).
    pub flip: bool,
    /// Whether a part of 8% to 100% of the stored image, of an aspect from 3/4 to 4/3, is resized to the size that is shown
    /// (Szegedy et al., "Going Deeper with Convolutions", 2014, arXiv:1409.4842, section 6).
    pub resized_crop: bool,
}

/// Shares of the area that a resized crop may have.
const AREA: [f64; 2] = [0.08, 1.0];
/// Width / height that it may have.
const ASPECT: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
/// Draws that may lie outside the image before its centre is taken.
const TRIES: usize = 10;

impl Augment {
    /// Images as they are.
    pub const NONE: Augment = Augment { crop_padding: 0, flip: false, resized_crop: false };

    /// The part of image `index`, stored with `height` x `width` pixels, that is resized in `epoch`; `None` without resized
    /// crops.
    pub(crate) fn region(self, seed: u64, epoch: u64, index: u32, height: usize, width: usize) -> Option<Region> {
        if !self.resized_crop {
            return None;
        }
        let mut rng = stream(seed, Purpose::Region, epoch, u64::from(index));
        let side = |square: f64| square.sqrt().round() as usize;
        for _ in 0..TRIES {
            let area = (height * width) as f64 * between(&mut rng, AREA[0], AREA[1]);
            let aspect = between(&mut rng, ASPECT[0].ln(), ASPECT[1].ln()).exp();
            let (rows, columns) = (side(area / aspect), side(area * aspect));
            if (1..=height).contains(&rows) && (1..=width).contains(&columns) {
                let (top, left) = (below(&mut rng, height - rows + 1), below(&mut rng, width - columns + 1));
                return Some(Region { top, left, height: rows, width: columns });
            }
        }
        let rows = height.min((width as f64 / ASPECT[0]).round() as usize);
        let columns = width.min((height as f64 * ASPECT[1]).round() as usize);
        Some(Region { top: (height - rows) / 2, left: (width - columns) / 2, height: rows, width: columns })
    }

    /// What happens to image `index` in `epoch`.
    pub(crate) fn draw(self, seed: u64, epoch: u64, index: u32) -> View {
        if self.crop_padding == 0 && !self.flip {
            return View::UNCHANGED;
        }
        let mut rng = stream(seed, Purpose::Augment, epoch, u64::from(index));
        let places = 2 * self.crop_padding + 1;
        let mut shift = || below(&mut rng, places) as isize - self.crop_padding as isize;
        let (down, right) = (shift(), shift());
        View { down, right, flip: self.flip && rng.next_u64() >> 63 == 1 }
    }
}

/// The window cut out of an image, relative to the image, and whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub down: isize,
    pub right: isize,
    pub flip: bool,
}

impl View {
    const UNCHANGED: View = View { down: 0, right: 0, flip: false };
}

/// `(pixel / 255 - mean) / std` for each channel and each of the 256 pixels.
pub(crate) struct Normalizer {
    tables: Vec<[f32; 256]>,
    width: usize,
    height: usize,
}

impl Normalizer {
    pub fn new(dataset: &Dataset) -> Normalizer {
        let table = |(mean, std): (&f32, &f32)| std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std);
        Normalizer {
            tables: dataset.mean.iter().zip(&dataset.std).map(table).collect(),
            width: dataset.width,
            height: dataset.height,
        }
    }

    /// Writes the normalised `view` of `image` (`[C, H, W]` bytes) to `out` (`[C, H, W]`).
    pub fn write(&self, image: &[u8], view: View, out: &mut [f32]) {
        let plane = self.height * self.width;
        let planes = image.chunks_exact(plane).zip(out.chunks_exact_mut(plane));
        for (table, (image, out)) in self.tables.iter().zip(planes) {
            for (y, row) in out.chunks_exact_mut(self.width).enumerate() {
                match y.checked_add_signed(view.down).filter(|&y| y < self.height) {
                    Some(y) => write_row(table, &image[y * self.width..][..self.width], view, row),
                    None => row.fill(table[0]),
                }
            }
        }
    }
}

/// One row of the window: the part over the image, black on either side of it, mirrored if asked.
fn write_row(table: &[f32; 256], pixels: &[u8], view: View, row: &mut [f32]) {
    let missing_left = view.right.min(0).unsigned_abs().min(row.len());
    let missing_right = view.right.max(0).unsigned_abs().min(row.len());
    let pixels = &pixels[missing_right..pixels.len() - missing_left];
    row[..missing_left].fill(table[0]);
    let after = missing_left + pixels.len();
    row[after..].fill(table[0]);
    for (value, &pixel) in row[missing_left..after].iter_mut().zip(pixels) {
        *value = table[usize::from(pixel)];
    }
    if view.flip {
        row.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset() -> Dataset {
        Dataset {
            name: "steps".into(),
            channels: 2,
            height: 3,
            width: 4,
            classes: 1,
            images: (1..=24).collect::<Vec<u8>>().into(),
            labels: vec![0],
            mean: vec![0.0, 0.5],
            std: vec![1.0 / 255.0, 0.25],
        }
    }

    fn view_of(down: isize, right: isize, flip: bool) -> Vec<f32> {
        let dataset = dataset();
        let mut out = vec![f32::NAN; 24];
        Normalizer::new(&dataset).write(&dataset.image(0).unwrap(), View { down, right, flip }, &mut out);
        out[..12].iter().map(|value| value.round()).collect()
    }

    #[test]
    fn normalisation_is_pixel_over_255_minus_mean_over_std() {
        let dataset = dataset();
        let mut out = vec![0.0; 24];
        Normalizer::new(&dataset).write(&dataset.image(0).unwrap(), View::UNCHANGED, &mut out);
        assert_eq!(out[4], (5.0 / 255.0) / (1.0 / 255.0));
        assert_eq!(out[12], (13.0 / 255.0 - 0.5) / 0.25);
    }

    #[test]
    fn a_window_beyond_the_image_shows_black_there() {
        let down_right = [6., 7., 8., 0., 10., 11., 12., 0., 0., 0., 0., 0.];
        assert_eq!(view_of(1, 1, false), down_right);
        let up_left = [0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 1., 2.];
        assert_eq!(view_of(-2, -2, false), up_left);
        assert_eq!(view_of(9, 0, false), [0.; 12]);
        assert_eq!(view_of(0, -9, false), [0.; 12]);
    }

    #[test]
    fn padding_is_the_pixel_zero_before_normalisation() {
        let dataset = dataset();
        let mut out = vec![0.0; 24];
        Normalizer::new(&dataset).write(&dataset.image(0).unwrap(), View { down: 0, right: -1, flip: false }, &mut out);
        assert_eq!(out[12], (0.0 - 0.5) / 0.25);
    }

    #[test]
    fn a_flip_mirrors_the_cropped_window() {
        assert_eq!(view_of(0, 0, true)[..4], [4., 3., 2., 1.]);
        assert_eq!(view_of(0, 1, true)[..4], [0., 4., 3., 2.]);
    }

    #[test]
    fn draws_cover_every_place_and_both_sides_evenly() {
        let augment = Augment { crop_padding: 4, flip: true, resized_crop: false };
        let mut seen = [[0u32; 9]; 9];
        let mut flips = 0;
        for index in 0..8100 {
            let view = augment.draw(3, 1, index);
            seen[(view.down + 4) as usize][(view.right + 4) as usize] += 1;
            flips += u32::from(view.flip);
        }
        assert!(seen.iter().flatten().all(|&count| (50..160).contains(&count)), "{seen:?}");
        assert!((3800..4300).contains(&flips), "{flips}");
    }

    #[test]
    fn a_draw_depends_on_seed_epoch_and_index() {
        let augment = Augment { crop_padding: 4, flip: true, resized_crop: false };
        let draws = |seed, epoch| (0..64).map(|index| augment.draw(seed, epoch, index)).collect::<Vec<_>>();
        assert_eq!(draws(1, 1), draws(1, 1));
        assert_ne!(draws(1, 1), draws(2, 1));
        assert_ne!(draws(1, 1), draws(1, 2));
        assert_eq!(Augment::NONE.draw(1, 1, 1), View::UNCHANGED);
    }

    #[test]
    fn resized_crops_keep_their_area_and_aspect_and_cover_the_image() {
        let augment = Augment { resized_crop: true, ..Augment::NONE };
        let (height, width) = (60, 80);
        let mut covered = vec![0u32; height * width];
        for index in 0..3000 {
            let region = augment.region(1, 2, index, height, width).unwrap();
            let area = (region.height * region.width) as f64 / (height * width) as f64;
            let aspect = region.width as f64 / region.height as f64;
            assert!((0.07..=1.0).contains(&area) && (0.7..1.42).contains(&aspect), "{region:?}");
            for row in region.top..region.top + region.height {
                covered[row * width + region.left..][..region.width].iter_mut().for_each(|count| *count += 1);
            }
        }
        assert!(covered.iter().all(|&count| count > 0), "a part is never shown");
        assert_eq!(augment.region(1, 2, 7, height, width), augment.region(1, 2, 7, height, width));
        assert_ne!(augment.region(1, 2, 7, height, width), augment.region(1, 3, 7, height, width));
        assert_eq!(Augment::NONE.region(1, 2, 7, height, width), None);
    }

    #[test]
    fn of_an_image_that_no_crop_fits_the_centre_is_taken() {
        let augment = Augment { resized_crop: true, ..Augment::NONE };
        let region = augment.region(1, 0, 0, 1000, 3).unwrap();
        assert_eq!(region, Region { top: 498, left: 0, height: 4, width: 3 });
    }
}
