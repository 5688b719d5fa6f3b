//! Fashion-MNIST, whole from files, and a small part of it that is embedded.
//!
//! Xiao, Rasul, Vollgraf: "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017,
//! arXiv:1708.07747. How the embedded part was chosen is told in `assets/fashion-mini/README.md`.

use crate::idx::{self, Images};
use crate::{DataError, Dataset, Splits};
use std::path::Path;

/// Images and labels to train on, images and labels to test on.
pub(crate) const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

const CLASSES: usize = 10;
const SIDE: usize = 28;
const MEAN: f32 = 0.2860;
const STD: f32 = 0.3530;

macro_rules! embedded {
    ($file:literal) => {
        (concat!("embedded ", $file), include_bytes!(concat!("../assets/fashion-mini/", $file)).as_slice())
    };
}

/// The embedded part: 1,000 training and 200 test images of each class.
pub(crate) fn mini() -> Result<Splits, DataError> {
    let train = [embedded!("train-images-idx3-ubyte.gz"), embedded!("train-labels-idx1-ubyte.gz")];
    let test = [embedded!("t10k-images-idx3-ubyte.gz"), embedded!("t10k-labels-idx1-ubyte.gz")];
    let split = |name, [images, labels]: [(&'static str, &[u8]); 2]| {
        let paths = [Path::new(images.0), Path::new(labels.0)];
        dataset(name, paths, idx::parse_images(paths[0], images.1)?, idx::parse_labels(paths[1], labels.1, CLASSES)?)
    };
    Ok(Splits { train: split("fashion-mini train", train)?, test: split("fashion-mini test", test)? })
}

/// The whole, from a file of images and one of labels for each split.
pub(crate) fn mnist(train: [&Path; 2], test: [&Path; 2]) -> Result<Splits, DataError> {
    let split = |name, paths: [&Path; 2]| {
        dataset(name, paths, idx::read_images(paths[0])?, idx::read_labels(paths[1], CLASSES)?)
    };
    Ok(Splits { train: split("fashion-mnist train", train)?, test: split("fashion-mnist test", test)? })
}

fn dataset(name: &str, paths: [&Path; 2], images: Images, labels: Vec<u8>) -> Result<Dataset, DataError> {
    let [images_path, labels_path] = paths.map(Path::to_path_buf);
    let found = [images.height, images.width];
    if found != [SIDE, SIDE] {
        return Err(DataError::WrongImageSize { path: images_path, expected: [SIDE, SIDE], found });
    }
    if images.count != labels.len() {
        return Err(DataError::CountMismatch { images_path, images: images.count, labels_path, labels: labels.len() });
    }
    Ok(Dataset {
        name: name.into(),
        channels: 1,
        height: SIDE,
        width: SIDE,
        classes: CLASSES,
        images: images.pixels,
        labels,
        mean: vec![MEAN],
        std: vec![STD],
    })
}
