//! `.npz`: what `numpy.savez` writes, a ZIP archive of `.npy` arrays, stored as they are.
//!
//! Names are PyTorch's (see [`super::torch`]). A sparse weight `W` is three arrays: `W.indices` (u32, ascending row-major flat
//! positions), `W.values` (f32) and `W.shape` (i64). `about` has the bytes of a JSON object with the fields of
//! [`About`](super::About).

use flate2::Crc;

use super::format::fits;
use super::{Layout, ModelFile, torch};
use crate::error::ModelFileError;

/// Bytes that an archive without extensions can have.
const MAX_BYTES: u64 = u32::MAX as u64;
/// 1980-01-01, the first day of the format: equal models give equal files.
const DATE: u16 = 0x0021;
/// Version of the format that a reader needs: 2.0.
const NEEDS: u16 = 20;

/// The file.
///
/// # Errors
/// [`ModelFileError::TooLarge`]
pub(super) fn bytes(model: &ModelFile, layout: Layout) -> Result<Vec<u8>, ModelFileError> {
    if layout == Layout::Dense {
        fits(model.dense_bytes(), MAX_BYTES)?;
    }
    let mut archive = Archive::default();
    for weight in &model.weights {
        let name = torch::name(&weight.name);
        match (&weight.indices, layout) {
            (Some(indices), Layout::Sparse) => {
                let shape = weight.shape.iter().map(|&side| side as i64);
                archive.array(&format!("{name}.indices"), "<u4", &[indices.len()], words(indices, u32::to_le_bytes));
                archive.array(&format!("{name}.values"), "<f4", &[indices.len()], floats(&weight.values));
                let sides: Vec<i64> = shape.collect();
                archive.array(&format!("{name}.shape"), "<i8", &[sides.len()], words(&sides, i64::to_le_bytes));
            }
            _ => archive.array(&name, "<f4", &weight.shape, floats(&weight.dense())),
        }
    }
    for (name, values) in &model.vectors {
        archive.array(&torch::name(name), "<f4", &[values.len()], floats(values));
    }
    let about = serde_json::to_vec(&super::About { sparse: Default::default(), ..model.about.clone() })?;
    archive.array("about", "|u1", &[about.len()], about);
    let bytes = archive.finish();
    fits(bytes.len(), MAX_BYTES).map(|()| bytes)
}

fn floats(values: &[f32]) -> Vec<u8> {
    words(values, f32::to_le_bytes)
}

fn words<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| bytes(value)).collect()
}

/// A `.npy` file of floats.
pub fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    [npy_header("<f4", shape), floats(values)].concat()
}

/// A ZIP archive that grows file by file.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    /// The list of files, which comes last.
    directory: Vec<u8>,
    files: u16,
}

impl Archive {
    /// Adds an array as a `.npy` file.
    fn array(&mut self, name: &str, element: &str, shape: &[usize], data: Vec<u8>) {
        let mut bytes = npy_header(element, shape);
        bytes.extend(data);
        self.file(&format!("{name}.npy"), &bytes);
    }

    fn file(&mut self, name: &str, data: &[u8]) {
        let mut crc = Crc::new();
        crc.update(data);
        let length = (data.len() as u32).to_le_bytes();
        // Flags, method and time are 0; the sizes are those of stored data.
        let about =
            [&NEEDS.to_le_bytes()[..], &[0; 6], &DATE.to_le_bytes(), &crc.sum().to_le_bytes(), &length, &length];
        let about = [&about.concat()[..], &(name.len() as u16).to_le_bytes(), &[0; 2]].concat();
        let offset = (self.bytes.len() as u32).to_le_bytes();
        self.bytes.extend([b"PK\x03\x04", &about[..], name.as_bytes(), data].concat());
        // No comment, first disk, no attributes.
        let entry = [b"PK\x01\x02", &NEEDS.to_le_bytes()[..], &about, &[0; 10], &offset, name.as_bytes()];
        self.directory.extend(entry.concat());
        self.files += 1;
    }

    fn finish(mut self) -> Vec<u8> {
        let files = self.files.to_le_bytes();
        let place = [self.directory.len(), self.bytes.len()].map(|number| (number as u32).to_le_bytes());
        self.bytes.extend(self.directory);
        self.bytes.extend([b"PK\x05\x06", &[0; 4][..], &files, &files, &place.concat(), &[0; 2]].concat());
        self.bytes
    }
}

/// Header of a `.npy` file, version 1.0: a Python dictionary, padded so that the data begin at a multiple of 64.
fn npy_header(element: &str, shape: &[usize]) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    let sides = if sides.len() == 1 { format!("{},", sides[0]) } else { sides.join(", ") };
    let mut text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({sides}), }}");
    let unpadded = 10 + text.len() + 1;
    text.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_an_array_is_the_one_that_numpy_writes() {
        let header = npy_header("<f4", &[2, 3]);
        assert_eq!(header.len() % 64, 0);
        assert_eq!(&header[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&header[10..]).unwrap();
        assert_eq!(text.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
        assert!(text.ends_with('\n'));
        assert!(npy_header("<u4", &[5]).windows(4).any(|bytes| bytes == b"(5,)"));
    }

    #[test]
    fn an_archive_of_one_file_has_the_bytes_that_the_format_says() {
        let mut archive = Archive::default();
        archive.file("a", b"hello");
        let bytes = archive.finish();
        let about = "1400 0000 0000 0000 2100 86a61036 05000000 05000000 0100 0000";
        let local = format!("504b0304 {about} 61 68656c6c6f");
        let entry = format!("504b0102 1400 {about} 0000 0000 0000 00000000 00000000 61");
        let end = "504b0506 0000 0000 0100 0100 2f000000 24000000 0000";
        let expected = [local, entry, end.to_owned()].concat().replace(' ', "");
        let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected);
    }
}
