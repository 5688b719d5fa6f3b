//! A data set: pixels as bytes, in memory or in a file, and a label for each image.

use crate::cache::Cache;
use crate::damage::Damage;
use crate::{DataError, resize};
use std::borrow::Cow;
use std::sync::Arc;

/// Images with a class label each, all shown to a network in one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Name and split for messages, such as `cifar10 train`.
    pub name: String,
    /// Channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Number of classes; labels are `0..classes`.
    pub classes: usize,
    /// The pixels of all images.
    pub images: Pixels,
    /// One label per image.
    pub labels: Vec<u16>,
    /// Mean of `pixel / 255` per channel.
    pub mean: Vec<f32>,
    /// Standard deviation of `pixel / 255` per channel.
    pub std: Vec<f32>,
}

/// Where the pixels of a data set are.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// `[N, channels, height, width]`, row-major.
    Memory(Vec<u8>),
    /// In a file, each image at least as large as it is shown; read when it is its turn.
    File(Arc<Cache>),
}

impl From<Vec<u8>> for Pixels {
    fn from(pixels: Vec<u8>) -> Pixels {
        Pixels::Memory(pixels)
    }
}

impl Pixels {
    /// Bytes held in memory for the pixels.
    pub fn memory(&self) -> usize {
        match self {
            Pixels::Memory(pixels) => pixels.len(),
            Pixels::File(cache) => cache.memory(),
        }
    }

    /// CRC-32C that changes when an image does, or their order.
    pub fn digest(&self) -> u32 {
        match self {
            Pixels::Memory(pixels) => crc32c::crc32c(pixels),
            Pixels::File(cache) => cache.digest(),
        }
    }
}

/// One image as it is stored: `[channels, height, width]`.
pub(crate) struct Stored<'a> {
    pub pixels: &'a [u8],
    pub height: usize,
    pub width: usize,
}

/// The training and the test part of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits {
    /// What is trained on.
    pub train: Dataset,
    /// What is measured on, never trained on.
    pub test: Dataset,
}

/// A data set and what had to be left out of it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The data.
    pub splits: Splits,
    /// In which form the files were found; `None` for an embedded data set.
    pub layout: Option<&'static str>,
    /// Damaged records and files, at most as many as were allowed.
    pub skipped: Damage,
}

impl Dataset {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image as it is shown: `channels * height * width`.
    pub fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Pixels of image `index`, `[channels, height, width]`: of a larger one the centre.
    ///
    /// # Errors
    /// [`DataError::Io`] and [`DataError::CacheDamaged`] for pixels in a file.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    pub fn image(&self, index: usize) -> Result<Cow<'_, [u8]>, DataError> {
        if let Pixels::Memory(pixels) = &self.images {
            let length = self.image_len();
            return Ok(Cow::Borrowed(&pixels[index * length..(index + 1) * length]));
        }
        let mut buffer = Vec::new();
        let stored = self.stored(index, &mut buffer)?;
        let mut out = vec![0; self.image_len()];
        resize::centre(&stored, self.height, self.width, &mut out);
        Ok(Cow::Owned(out))
    }

    /// Image `index` as it is stored; `buffer` is for what has to be read.
    pub(crate) fn stored<'a>(&'a self, index: usize, buffer: &'a mut Vec<u8>) -> Result<Stored<'a>, DataError> {
        match &self.images {
            Pixels::File(cache) => cache.read(index, buffer),
            Pixels::Memory(pixels) => {
                let length = self.image_len();
                let pixels = &pixels[index * length..(index + 1) * length];
                Ok(Stored { pixels, height: self.height, width: self.width })
            }
        }
    }

    /// The images of these indices, in memory.
    ///
    /// # Errors
    /// As [`Dataset::image`].
    ///
    /// # Panics
    /// When an index is not below [`Dataset::len`].
    pub fn subset(&self, indices: &[usize]) -> Result<Dataset, DataError> {
        let mut pixels = Vec::with_capacity(indices.len() * self.image_len());
        for &index in indices {
            pixels.extend_from_slice(&self.image(index)?);
        }
        let Dataset { name, mean, std, labels, .. } = self;
        let labels = indices.iter().map(|&index| labels[index]).collect();
        let (name, mean, std) = (name.clone(), mean.clone(), std.clone());
        Ok(Dataset { name, images: pixels.into(), labels, mean, std, ..*self })
    }

    /// Checks that the fields agree with one another; [`crate::open`] returns only data sets that pass.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] with the first disagreement.
    pub fn check(&self) -> Result<(), DataError> {
        match self.inconsistency() {
            None => Ok(()),
            Some(reason) => Err(DataError::Inconsistent { dataset: self.name.clone(), reason }),
        }
    }

    fn inconsistency(&self) -> Option<String> {
        let shape = [self.len(), self.channels, self.height, self.width];
        if shape.contains(&0) {
            return Some(format!("the shape {shape:?} has a zero"));
        }
        let bytes = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if bytes.is_none() || u32::try_from(self.len()).is_err() {
            return Some(format!("no data set has the shape {shape:?}"));
        }
        match &self.images {
            Pixels::Memory(pixels) if bytes != Some(pixels.len()) => {
                return Some(format!("{} pixels cannot have the shape {shape:?}", pixels.len()));
            }
            Pixels::File(cache) if !cache.fits(self.len(), self.channels, self.height, self.width) => {
                return Some(format!("the {} images of its file cannot have the shape {shape:?}", cache.len()));
            }
            _ => {}
        }
        if self.mean.len() != self.channels || self.std.len() != self.channels {
            return Some(format!("mean and std need {} values each, one per channel", self.channels));
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) || !self.std.iter().all(|std| std.is_normal() && *std > 0.0) {
            return Some("mean must be finite and std finite and above zero".into());
        }
        let outside = self.labels.iter().position(|&label| usize::from(label) >= self.classes)?;
        Some(format!("image {outside} has label {}, but there are {} classes", self.labels[outside], self.classes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Dataset {
        Dataset {
            name: "small".into(),
            channels: 2,
            height: 2,
            width: 3,
            classes: 2,
            images: (0..36).collect::<Vec<u8>>().into(),
            labels: vec![0, 1, 1],
            mean: vec![0.5; 2],
            std: vec![0.25; 2],
        }
    }

    #[test]
    fn an_image_is_its_slice_of_the_pixels() {
        assert_eq!(*small().image(1).unwrap(), (12..24).collect::<Vec<u8>>());
        assert_eq!((small().len(), small().image_len(), small().is_empty()), (3, 12, false));
    }

    #[test]
    fn a_subset_has_the_images_and_labels_of_its_indices() {
        let subset = small().subset(&[2, 0]).unwrap();
        subset.check().unwrap();
        assert_eq!(subset.labels, [1, 0]);
        assert_eq!(*subset.image(0).unwrap(), (24..36).collect::<Vec<u8>>());
    }

    #[test]
    fn every_disagreement_between_fields_is_found() {
        small().check().unwrap();
        let broken: [fn(&mut Dataset); 8] = [
            |d| d.labels.clear(),
            |d| d.width = 0,
            |d| d.height = usize::MAX,
            |d| d.images = vec![0; 35].into(),
            |d| d.mean.truncate(1),
            |d| d.std[1] = 0.0,
            |d| d.mean[0] = f32::NAN,
            |d| d.labels[2] = 2,
        ];
        for breaks in broken {
            let mut dataset = small();
            breaks(&mut dataset);
            assert!(matches!(dataset.check(), Err(DataError::Inconsistent { .. })), "{dataset:?}");
        }
    }
}
