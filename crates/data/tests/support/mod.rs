//! Small files in the formats the crate reads.
#![allow(dead_code, missing_docs)]

use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
pub const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
pub const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
pub const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// An IDX file of bytes: header for `shape`, then `data`, whether they fit or not.
pub fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// `count` images of 28x28 whose pixels are all different from their neighbours.
pub fn images(count: u32) -> Vec<u8> {
    let pixels: Vec<u8> = (0..count * 784).map(|pixel| (pixel * 7 % 251) as u8).collect();
    idx(&[count, 28, 28], &pixels)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A record of CIFAR: label bytes, then 3072 times `pixel`.
pub fn record(labels: &[u8], pixel: u8) -> Vec<u8> {
    let mut bytes = labels.to_vec();
    bytes.resize(labels.len() + 3072, pixel);
    bytes
}

/// A temporary folder that is removed when dropped.
pub struct Folder(TempDir);

impl Folder {
    pub fn empty() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// Three training images and two test images in the files of Fashion-MNIST.
    pub fn fashion() -> Folder {
        Folder::empty()
            .with(TRAIN_IMAGES, &images(3))
            .with(TRAIN_LABELS, &idx(&[3], &[9, 0, 4]))
            .with(TEST_IMAGES, &images(2))
            .with(TEST_LABELS, &idx(&[2], &[1, 2]))
    }

    /// Two records in each training file, one in the test file.
    pub fn cifar10() -> Folder {
        let batch = |number: u8| [record(&[number], number), record(&[9], 100 + number)].concat();
        (1..=5u8)
            .fold(Folder::empty(), |folder, number| folder.with(&format!("data_batch_{number}.bin"), &batch(number)))
            .with("test_batch.bin", &record(&[7], 200))
    }

    /// Three training records and one test record.
    pub fn cifar100() -> Folder {
        let train = [record(&[0, 99], 1), record(&[19, 0], 2), record(&[5, 50], 3)].concat();
        Folder::empty().with("train.bin", &train).with("test.bin", &record(&[1, 42], 4))
    }

    pub fn with(self, file: &str, bytes: &[u8]) -> Folder {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    pub fn without(self, file: &str) -> Folder {
        fs::remove_file(self.0.path().join(file)).unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }
}
