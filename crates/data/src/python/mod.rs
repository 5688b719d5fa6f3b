//! The Python version of CIFAR, as its archives hold it and as torchvision leaves it behind.
//!
//! A file is a pickled dictionary with the entries `data` – an array of bytes, `[count, 3072]`, each row `[3, 32, 32]` –
//! and `labels` (CIFAR-10) or `fine_labels` (CIFAR-100), a list of integers. The reader knows the opcodes that picklers of
//! Python 2 and 3 write for such a dictionary, and refuses every other: nothing is ever called or imported.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

mod array;
mod error;
mod pickle;
mod value;

pub use error::PickleError;

use crate::cifar::{Format, PIXELS, Records};
use crate::damage::Damage;
use crate::{DataError, file};
use std::path::Path;
use value::Value;

/// Reads a file and appends its records.
///
/// # Errors
/// As [`parse`], and what the file system has to say.
pub(crate) fn read_file(
    format: &Format,
    path: &Path,
    records: &mut Records,
    damage: &mut Damage,
) -> Result<(), DataError> {
    let bytes = file::read(path, file::LIMIT)?;
    parse(format, path, &bytes, records, damage)
}

/// Appends the records in `bytes`; `path` is for messages.
///
/// # Errors
/// [`DataError::Pickle`] with what is wrong, [`DataError::LabelOutOfRange`] if `damage` does not tolerate it.
pub fn parse(
    format: &Format,
    path: &Path,
    bytes: &[u8],
    records: &mut Records,
    damage: &mut Damage,
) -> Result<(), DataError> {
    let failure = |reason| DataError::Pickle { path: path.into(), reason };
    let (pixels, labels) = batch(format.python_labels, bytes).map_err(failure)?;
    let classes = format.classes();
    for (record, (image, &label)) in pixels.chunks_exact(PIXELS).zip(&labels).enumerate() {
        match u16::try_from(label) {
            Ok(label) if usize::from(label) < classes => records.push(image, label),
            _ => {
                let (path, kind) = (path.into(), "label");
                damage.report(DataError::LabelOutOfRange { path, record, kind, label, classes })?;
            }
        }
    }
    Ok(())
}

/// The pixels, and as many labels as rows of them.
fn batch<'a>(key: &'static str, bytes: &'a [u8]) -> Result<(std::borrow::Cow<'a, [u8]>, Vec<i64>), PickleError> {
    let Value::Dict(entries) = pickle::parse(bytes)? else {
        return Err(PickleError::NoDictionary);
    };
    let entry = |wanted: &'static str| {
        let found = entries.iter().find(|(key, _)| key.is_text(bytes, wanted));
        found.map(|(_, value)| value).ok_or(PickleError::Missing { key: wanted })
    };
    let Value::Array(array) = entry("data")? else {
        return Err(PickleError::Kind { key: "data", expected: "an array of bytes" });
    };
    let Value::List(items) = entry(key)? else {
        return Err(PickleError::Kind { key, expected: "a list" });
    };
    let integer = |item: &Value| match item {
        Value::Int(label) => Ok(*label),
        _ => Err(PickleError::Kind { key, expected: "a list of integers" }),
    };
    let labels = items.iter().map(integer).collect::<Result<Vec<i64>, PickleError>>()?;
    let [rows, columns] = array.shape;
    if columns != PIXELS {
        return Err(PickleError::Columns { found: columns, expected: PIXELS });
    }
    if rows != labels.len() {
        return Err(PickleError::Counts { images: rows, labels: labels.len() });
    }
    if rows == 0 {
        return Err(PickleError::NoImages);
    }
    Ok((array.bytes.of(bytes)?, labels))
}
