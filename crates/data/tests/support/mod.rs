//! Small files in the formats the crate reads.
#![allow(dead_code, missing_docs)]

pub mod jpeg;
pub mod pickles;

use bidst_data::OpenOptions;
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

/// A PNG of 8-bit RGB.
pub fn png(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let pixels: Vec<u8> =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| pixel(x, y)).collect();
    encoded(width, height, png::ColorType::Rgb, &pixels)
}

/// A PNG of 8-bit samples.
pub fn encoded(width: u32, height: u32, color: png::ColorType, samples: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(samples).unwrap();
    bytes
}

/// Sizes that suit tests, and the folder.
pub fn small_pictures(folder: &Folder) -> OpenOptions<'_> {
    OpenOptions { dir: Some(folder.path()), size: 8, resize: 10, ..OpenOptions::default() }
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

    /// Two classes, `ant` and `bee`: two training images of each, one for validation; ants are red, bees are blue.
    pub fn pictures() -> Folder {
        let red = |width, height| png(width, height, |_, _| [200, 10, 20]);
        let blue = |width, height| png(width, height, |x, y| [x as u8, y as u8, 250]);
        Folder::empty()
            .with("train/ant/1.png", &red(20, 30))
            .with("train/ant/2.PNG", &red(16, 16))
            .with("train/ant/notes.txt", b"no image")
            .with("train/bee/1.png", &blue(40, 20))
            .with("train/bee/2.jpg", &jpeg::jpeg(16, 24, &[0x60, 0x70, 0xb0]))
            .with("val/ant/3.png", &red(9, 12))
            .with("val/bee/3.png", &blue(24, 24))
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
