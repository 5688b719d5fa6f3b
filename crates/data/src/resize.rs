//! Cutting and resizing of images, `[channels, height, width]` bytes.
//!
//! Resizing is bilinear and antialiased, as with torchvision on PIL images.

use crate::OpenOptions;
use crate::dataset::Stored;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

/// The longer side of an image that is kept, in shorter sides; the centre of a longer one is.
pub(crate) const MAX_ASPECT: usize = 8;

/// A rectangle of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

/// The sizes of stored images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    resize: usize,
    /// Side of the square that is cut out of the resized image; `None` keeps all of it.
    square: Option<usize>,
}

/// An image as it will be stored.
pub(crate) struct Ready {
    pub pixels: Vec<u8>,
    pub height: usize,
    pub width: usize,
    pub label: u16,
}

impl Ready {
    pub fn stored(&self) -> Stored<'_> {
        Stored { pixels: &self.pixels, height: self.height, width: self.width }
    }
}

impl Shape {
    /// All of the image, as training cuts from it.
    pub fn whole(options: &OpenOptions<'_>) -> Shape {
        Shape { resize: options.resize, square: None }
    }

    /// The square that is evaluated.
    pub fn evaluated(options: &OpenOptions<'_>) -> Shape {
        Shape { resize: options.resize, square: Some(options.size) }
    }

    /// Its name in names of files.
    pub fn name(self) -> String {
        match self.square {
            Some(size) => format!("{}-{size}", self.resize),
            None => self.resize.to_string(),
        }
    }

    /// Resizes an image; `None` if there is nothing of it.
    pub fn apply(self, image: &Stored<'_>, label: u16) -> Option<Ready> {
        let most = MAX_ASPECT * image.height.min(image.width);
        let (rows, columns) = (image.height.min(most), image.width.min(most));
        let (top, left) = ((image.height - rows) / 2, (image.width - columns) / 2);
        let region = Region { top, left, height: rows, width: columns };
        let [height, width] = with_shorter_side(rows, columns, self.resize);
        let mut pixels = vec![0; 3 * height * width];
        if !self::region(image, region, height, width, &mut pixels) {
            return None;
        }
        let whole = Ready { pixels, height, width, label };
        let Some(side) = self.square else { return Some(whole) };
        let mut pixels = vec![0; 3 * side * side];
        centre(&whole.stored(), side, side, &mut pixels);
        Some(Ready { pixels, height: side, width: side, label })
    }
}

/// Copies the centre of `image` to `out`, `[channels, height, width]`; the image is at least that large.
pub(crate) fn centre(image: &Stored<'_>, height: usize, width: usize, out: &mut [u8]) {
    let top = image.height.saturating_sub(height) / 2;
    let left = image.width.saturating_sub(width) / 2;
    let planes = image.pixels.chunks_exact((image.height * image.width).max(1));
    for (plane, out) in planes.zip(out.chunks_exact_mut((height * width).max(1))) {
        let rows = plane.chunks_exact(image.width).skip(top);
        for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
            out.copy_from_slice(&row[left..left + width]);
        }
    }
}

/// Resizes `region` of `image` to `out`, `[channels, height, width]`. False if the region is not inside the image.
pub(crate) fn region(image: &Stored<'_>, region: Region, height: usize, width: usize, out: &mut [u8]) -> bool {
    let Region { top, left, height: rows, width: columns } = region;
    let options = ResizeOptions::new()
        .crop(left as f64, top as f64, columns as f64, rows as f64)
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let mut resizer = Resizer::new();
    let planes = image.pixels.chunks_exact((image.height * image.width).max(1));
    planes.zip(out.chunks_exact_mut((height * width).max(1))).all(|(plane, out)| {
        let from = TypedImageRef::<U8>::from_buffer(image.width as u32, image.height as u32, plane);
        let to = TypedImage::<U8>::from_buffer(width as u32, height as u32, out);
        match (from, to) {
            (Ok(from), Ok(mut to)) => resizer.resize_typed(&from, &mut to, &options).is_ok(),
            _ => false,
        }
    })
}

/// Height and width of an image after its shorter side became `short`.
pub(crate) fn with_shorter_side(height: usize, width: usize, short: usize) -> [usize; 2] {
    let longer = |long: usize, by: usize| ((long * short) as f64 / by as f64).round() as usize;
    if height < width { [short, longer(width, height)] } else { [longer(height, width), short] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_centre_is_cut_out_of_every_channel() {
        let pixels: Vec<u8> = (0..40).collect();
        let mut out = vec![0; 8];
        centre(&Stored { pixels: &pixels, height: 4, width: 5 }, 2, 2, &mut out);
        assert_eq!(out, [6, 7, 11, 12, 26, 27, 31, 32]);
    }

    #[test]
    fn a_region_of_its_own_size_is_copied_and_one_outside_is_refused() {
        let pixels: Vec<u8> = (0..20).collect();
        let image = Stored { pixels: &pixels, height: 4, width: 5 };
        let mut out = vec![0; 4];
        assert!(region(&image, Region { top: 1, left: 2, height: 2, width: 2 }, 2, 2, &mut out));
        assert_eq!(out, [7, 8, 12, 13]);
        assert!(!region(&image, Region { top: 3, left: 2, height: 2, width: 2 }, 2, 2, &mut out));
    }

    #[test]
    fn the_shorter_side_gets_its_size_and_the_other_follows() {
        assert_eq!(with_shorter_side(300, 400, 256), [256, 341]);
        assert_eq!(with_shorter_side(500, 100, 256), [1280, 256]);
        assert_eq!(with_shorter_side(10, 10, 256), [256, 256]);
    }
}
