//! Random crops and flips, fused with normalisation: from bytes to `f32` in one pass.

use crate::Dataset;
use crate::random::{Purpose, below, stream};
use rand_chacha::rand_core::Rng;

/// How training images are varied. What happens to an image depends on (seed, epoch, its index) only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Black pixels put around the image before a window of its size is cut at a random place; 0 is no crop.
    pub crop_padding: usize,
    /// Whether the image is mirrored left to right half of the time (after the crop).
    pub flip: bool,
}

impl Augment {
    /// Images as they are.
    pub const NONE: Augment = Augment { crop_padding: 0, flip: false };

    /// What happens to image `index` in `epoch`.
    pub(crate) fn draw(self, seed: u64, epoch: u64, index: u32) -> View {
        if self == Augment::NONE {
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
            images: (1..=24).collect(),
            labels: vec![0],
            mean: vec![0.0, 0.5],
            std: vec![1.0 / 255.0, 0.25],
        }
    }

    fn view_of(down: isize, right: isize, flip: bool) -> Vec<f32> {
        let dataset = dataset();
        let mut out = vec![f32::NAN; 24];
        Normalizer::new(&dataset).write(dataset.image(0), View { down, right, flip }, &mut out);
        out[..12].iter().map(|value| value.round()).collect()
    }

    #[test]
    fn normalisation_is_pixel_over_255_minus_mean_over_std() {
        let dataset = dataset();
        let mut out = vec![0.0; 24];
        Normalizer::new(&dataset).write(dataset.image(0), View::UNCHANGED, &mut out);
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
        Normalizer::new(&dataset).write(dataset.image(0), View { down: 0, right: -1, flip: false }, &mut out);
        assert_eq!(out[12], (0.0 - 0.5) / 0.25);
    }

    #[test]
    fn a_flip_mirrors_the_cropped_window() {
        assert_eq!(view_of(0, 0, true)[..4], [4., 3., 2., 1.]);
        assert_eq!(view_of(0, 1, true)[..4], [0., 4., 3., 2.]);
    }

    #[test]
    fn draws_cover_every_place_and_both_sides_evenly() {
        let augment = Augment { crop_padding: 4, flip: true };
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
        let augment = Augment { crop_padding: 4, flip: true };
        let draws = |seed, epoch| (0..64).map(|index| augment.draw(seed, epoch, index)).collect::<Vec<_>>();
        assert_eq!(draws(1, 1), draws(1, 1));
        assert_ne!(draws(1, 1), draws(2, 1));
        assert_ne!(draws(1, 1), draws(1, 2));
        assert_eq!(Augment::NONE.draw(1, 1, 1), View::UNCHANGED);
    }
}
