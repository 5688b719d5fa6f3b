//! CIFAR-10 and CIFAR-100: their binary version, and what it has in common with [the Python version](crate::python).
//!
//! A binary file is a sequence of records without header: one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100),
//! then 3072 pixel bytes, `[3, 32, 32]`, red before green before blue.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use crate::damage::Damage;
use crate::{DataError, Dataset, Splits, file};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

pub(crate) const PIXELS: usize = 3 * 32 * 32;

/// What distinguishes the two data sets.
#[derive(Debug)]
pub struct Format {
    /// Name of the data set.
    pub name: &'static str,
    /// The label bytes of a record, in order: what each is called, and the number of its classes. The last is the label
    /// that is used.
    pub labels: &'static [(&'static str, usize)],
    /// The entry of the Python version that holds the label that is used.
    pub python_labels: &'static str,
    /// Mean of `pixel / 255` per channel over the training images.
    pub mean: [f32; 3],
    /// Standard deviation of `pixel / 255` per channel, as results for this data set commonly use it.
    pub std: [f32; 3],
}

/// CIFAR-10: 10 classes, five training files.
pub static CIFAR10: Format = Format {
    name: "cifar10",
    labels: &[("label", 10)],
    python_labels: "labels",
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2023, 0.1994, 0.2010],
};

/// CIFAR-100 with its 100 fine classes.
pub static CIFAR100: Format = Format {
    name: "cifar100",
    labels: &[("coarse label", 20), ("fine label", 100)],
    python_labels: "fine_labels",
    mean: [0.5071, 0.4865, 0.4409],
    std: [0.2673, 0.2564, 0.2762],
};

/// Records read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// `[N, 3, 32, 32]`.
    pub pixels: Vec<u8>,
    /// One per image.
    pub labels: Vec<u16>,
}

impl Records {
    pub(crate) fn push(&mut self, image: &[u8], label: u16) {
        self.pixels.extend_from_slice(image);
        self.labels.push(label);
    }
}

/// Appends the records of a file.
pub(crate) type ReadFile = fn(&Format, &Path, &mut Records, &mut Damage) -> Result<(), DataError>;

/// Reads a file of the binary version and appends its records.
pub(crate) fn read_file(
    format: &Format,
    path: &Path,
    records: &mut Records,
    damage: &mut Damage,
) -> Result<(), DataError> {
    let (file, size) = file::open(path)?;
    records.pixels.reserve_exact(usize::try_from(size).unwrap_or(0));
    format.parse(path, BufReader::with_capacity(1 << 18, file), records, damage)
}

impl Format {
    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.labels.last().map_or(0, |&(_, classes)| classes)
    }

    /// Reads both splits; the training images are those of all files but the last, in order.
    pub(crate) fn read(&self, files: &[PathBuf], read: ReadFile, damage: &mut Damage) -> Result<Splits, DataError> {
        let (test, train) = files.split_last().unwrap_or((const { &PathBuf::new() }, &[]));
        let mut split = |name: &str, paths: &[PathBuf]| {
            let mut records = Records::default();
            for path in paths {
                let done = read(self, path, &mut records, damage);
                damage.report_file(done)?;
            }
            Ok(self.dataset(name, records))
        };
        Ok(Splits { train: split("train", train)?, test: split("test", std::slice::from_ref(test))? })
    }

    /// Appends the records in `bytes`; `path` is for messages.
    ///
    /// # Errors
    /// [`DataError::Empty`] without a record, and [`DataError::Io`] if reading fails. Unless `damage` tolerates them,
    /// [`DataError::PartialRecord`] if the last record is not whole, and [`DataError::LabelOutOfRange`].
    pub fn parse(
        &self,
        path: &Path,
        mut bytes: impl Read,
        records: &mut Records,
        damage: &mut Damage,
    ) -> Result<(), DataError> {
        let size = PIXELS.saturating_add(self.labels.len());
        let mut buffer = Vec::with_capacity(size);
        for record in 0.. {
            buffer.clear();
            let read = bytes.by_ref().take(size as u64).read_to_end(&mut buffer);
            read.map_err(|reason| DataError::Io { path: path.into(), reason })?;
            match buffer.split_at_checked(self.labels.len()) {
                Some((labels, pixels)) if pixels.len() == PIXELS => match self.label(path, record, labels) {
                    Ok(label) => records.push(pixels, label),
                    Err(outside) => damage.report(outside)?,
                },
                _ if !buffer.is_empty() => return damage.report(partial(path, record, size, buffer.len())),
                _ if record == 0 => return Err(DataError::Empty { path: path.into() }),
                _ => break,
            }
        }
        Ok(())
    }

    /// The last of the label bytes, after all have been found in range.
    fn label(&self, path: &Path, record: usize, bytes: &[u8]) -> Result<u16, DataError> {
        let mut used = 0;
        for (&byte, &(kind, classes)) in bytes.iter().zip(self.labels) {
            let label = u16::from(byte);
            if usize::from(label) >= classes {
                return Err(DataError::LabelOutOfRange {
                    path: path.into(),
                    record,
                    kind,
                    label: i64::from(label),
                    classes,
                });
            }
            used = label;
        }
        Ok(used)
    }

    fn dataset(&self, split: &str, records: Records) -> Dataset {
        Dataset {
            name: format!("{} {split}", self.name),
            channels: 3,
            height: 32,
            width: 32,
            classes: self.classes(),
            images: records.pixels.into(),
            labels: records.labels,
            mean: self.mean.into(),
            std: self.std.into(),
        }
    }
}

fn partial(path: &Path, whole: usize, record: usize, rest: usize) -> DataError {
    let size = whole.saturating_mul(record).saturating_add(rest) as u64;
    DataError::PartialRecord { path: path.into(), size, record: record as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8], pixel: u8) -> Vec<u8> {
        labels.iter().copied().chain(std::iter::repeat_n(pixel, PIXELS)).collect()
    }

    #[test]
    fn records_of_all_files_follow_one_another() -> Result<(), DataError> {
        let (mut records, damage) = (Records::default(), &mut Damage::default());
        CIFAR10.parse(
            Path::new("1.bin"),
            [record(&[3], 7), record(&[9], 8)].concat().as_slice(),
            &mut records,
            damage,
        )?;
        CIFAR10.parse(Path::new("2.bin"), record(&[0], 9).as_slice(), &mut records, damage)?;
        assert_eq!(records.labels, [3, 9, 0]);
        let firsts: Vec<u8> = records.pixels.chunks(PIXELS).filter_map(|image| image.first().copied()).collect();
        assert_eq!((firsts, records.pixels.len()), (vec![7, 8, 9], 3 * PIXELS));
        Ok(())
    }

    #[test]
    fn the_fine_label_of_cifar100_is_the_one_used() -> Result<(), DataError> {
        let (mut records, damage) = (Records::default(), &mut Damage::default());
        CIFAR100.parse(Path::new("train.bin"), record(&[19, 99], 1).as_slice(), &mut records, damage)?;
        assert_eq!(records.labels, [99]);
        Ok(())
    }
}
