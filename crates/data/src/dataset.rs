//! A data set in memory: pixels as bytes, as they were in the file.

use crate::DataError;

/// Images of one size with a class label each.
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
    /// Pixels, `[N, channels, height, width]`, row-major.
    pub images: Vec<u8>,
    /// One label per image.
    pub labels: Vec<u8>,
    /// Mean of `pixel / 255` per channel.
    pub mean: Vec<f32>,
    /// Standard deviation of `pixel / 255` per channel.
    pub std: Vec<f32>,
}

/// The training and the test part of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits {
    /// What is trained on.
    pub train: Dataset,
    /// What is measured on, never trained on.
    pub test: Dataset,
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

    /// Bytes of one image: `channels * height * width`.
    pub fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Pixels of image `index`, `[channels, height, width]`.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    pub fn image(&self, index: usize) -> &[u8] {
        let length = self.image_len();
        &self.images[index * length..(index + 1) * length]
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
        let pixels = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        if pixels != Some(self.images.len()) || u32::try_from(self.len()).is_err() {
            return Some(format!("{} pixels cannot have the shape {shape:?}", self.images.len()));
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
            images: (0..36).collect(),
            labels: vec![0, 1, 1],
            mean: vec![0.5; 2],
            std: vec![0.25; 2],
        }
    }

    #[test]
    fn an_image_is_its_slice_of_the_pixels() {
        assert_eq!(small().image(1), (12..24).collect::<Vec<u8>>());
        assert_eq!((small().len(), small().image_len(), small().is_empty()), (3, 12, false));
    }

    #[test]
    fn every_disagreement_between_fields_is_found() {
        small().check().unwrap();
        let broken: [fn(&mut Dataset); 8] = [
            |d| d.labels.clear(),
            |d| d.width = 0,
            |d| d.height = usize::MAX,
            |d| d.images.truncate(35),
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
