//! MNIST and Fashion-MNIST from IDX files, and a small part of the latter that is embedded.
//!
//! LeCun, Cortes, Burges: "The MNIST database of handwritten digits". Xiao, Rasul, Vollgraf: "Fashion-MNIST: a Novel Image
//! Dataset for Benchmarking Machine Learning Algorithms", 2017, arXiv:1708.07747. How the embedded part was chosen is told
//! in `assets/fashion-mini/README.md`.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use crate::damage::Damage;
use crate::idx::{self, Images};
use crate::{DataError, Dataset, Splits};
use std::path::{Path, PathBuf};

/// Images and labels to train on, images and labels to test on.
pub(crate) const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

const CLASSES: usize = 10;
const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;

/// What distinguishes the data sets in these files.
pub(crate) struct Kind {
    name: &'static str,
    mean: f32,
    std: f32,
}

pub(crate) const MNIST: Kind = Kind { name: "mnist", mean: 0.1307, std: 0.3081 };
pub(crate) const FASHION: Kind = Kind { name: "fashion-mnist", mean: 0.2860, std: 0.3530 };
const MINI: Kind = Kind { name: "fashion-mini", ..FASHION };

macro_rules! embedded {
    ($file:literal) => {
        (concat!("embedded ", $file), include_bytes!(concat!("../assets/fashion-mini/", $file)).as_slice())
    };
}

/// Images and labels of the embedded part.
const TRAIN: [(&str, &[u8]); 2] = [embedded!("train-images-idx3-ubyte.gz"), embedded!("train-labels-idx1-ubyte.gz")];
const TEST: [(&str, &[u8]); 2] = [embedded!("t10k-images-idx3-ubyte.gz"), embedded!("t10k-labels-idx1-ubyte.gz")];

/// Bytes of the embedded files.
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "lengths of constants, added by the compiler"
)]
pub(crate) const MINI_BYTES: usize = TRAIN[0].1.len() + TRAIN[1].1.len() + TEST[0].1.len() + TEST[1].1.len();

/// The embedded part: 1,000 training and 200 test images of each class.
pub(crate) fn mini() -> Result<Splits, DataError> {
    let split = |split: &str, [images, labels]: [(&'static str, &[u8]); 2]| {
        let paths = [Path::new(images.0), Path::new(labels.0)];
        let (images, labels) = (idx::parse_images(paths[0], images.1)?, idx::parse_labels(paths[1], labels.1)?);
        MINI.dataset(split, paths, images, labels, &mut Damage::default())
    };
    Ok(Splits { train: split("train", TRAIN)?, test: split("test", TEST)? })
}

impl Kind {
    /// The whole, from the files in the order of [`FILES`].
    pub fn read(&self, paths: &[PathBuf], damage: &mut Damage) -> Result<Splits, DataError> {
        let [train_images, train_labels, test_images, test_labels] = paths else {
            return Ok(Splits { train: self.empty("train"), test: self.empty("test") });
        };
        let mut split = |split: &str, paths: [&Path; 2]| {
            let images = damage.report_file(idx::read_images(paths[0]))?;
            let labels = damage.report_file(idx::read_labels(paths[1]))?;
            let (Some(images), Some(labels)) = (images, labels) else { return Ok(self.empty(split)) };
            let read = self.dataset(split, paths, images, labels, damage);
            Ok(damage.report_file(read)?.unwrap_or_else(|| self.empty(split)))
        };
        let train = split("train", [train_images, train_labels])?;
        Ok(Splits { train, test: split("test", [test_images, test_labels])? })
    }

    fn empty(&self, split: &str) -> Dataset {
        Dataset {
            name: format!("{} {split}", self.name),
            channels: 1,
            height: SIDE,
            width: SIDE,
            classes: CLASSES,
            images: Vec::new().into(),
            labels: Vec::new(),
            mean: vec![self.mean],
            std: vec![self.std],
        }
    }

    fn dataset(
        &self,
        split: &str,
        paths: [&Path; 2],
        images: Images,
        labels: Vec<u8>,
        damage: &mut Damage,
    ) -> Result<Dataset, DataError> {
        let [images_path, labels_path] = paths.map(Path::to_path_buf);
        let found = [images.height, images.width];
        if found != [SIDE, SIDE] {
            return Err(DataError::WrongImageSize { path: images_path, expected: [SIDE, SIDE], found });
        }
        if images.count != labels.len() {
            let (images, labels) = (images.count, labels.len());
            return Err(DataError::CountMismatch { images_path, images, labels_path, labels });
        }
        let mut labels: Vec<u16> = labels.into_iter().map(u16::from).collect();
        let mut pixels = images.pixels;
        let outside = |label: &u16| usize::from(*label) >= CLASSES;
        if labels.iter().any(outside) {
            for (record, &label) in labels.iter().enumerate().filter(|(_, label)| outside(label)) {
                let (path, kind, classes) = (labels_path.clone(), "label", CLASSES);
                damage.report(DataError::LabelOutOfRange { path, record, kind, label: i64::from(label), classes })?;
            }
            let kept = pixels.chunks_exact(PIXELS).zip(&labels).filter(|(_, label)| !outside(label));
            pixels = kept.flat_map(|(image, _)| image).copied().collect();
            labels.retain(|label| !outside(label));
        }
        Ok(Dataset { images: pixels.into(), labels, ..self.empty(split) })
    }
}
