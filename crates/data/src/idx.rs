//! The IDX format of MNIST and its relatives, plain or gzipped.
//!
//! A file is two zero bytes, the element type (8: unsigned byte, the only one read here), the number of dimensions,
//! each dimension as a big-endian `u32`, and the elements, row-major. Images have the dimensions `[count, height,
//! width]`, labels `[count]`. Nothing may follow the elements.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use crate::DataError;
use crate::file::{self, LIMIT};
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const UNSIGNED_BYTE: u8 = 8;

/// The images of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// `[count, height, width]`.
    pub pixels: Vec<u8>,
}

/// Reads a file of images.
///
/// # Errors
/// As [`parse_images`], and what the file system has to say.
pub fn read_images(path: &Path) -> Result<Images, DataError> {
    parse_images(path, BufReader::new(file::open(path)?.0))
}

/// Reads a file of labels.
///
/// # Errors
/// As [`parse_labels`], and what the file system has to say.
pub fn read_labels(path: &Path) -> Result<Vec<u8>, DataError> {
    parse_labels(path, BufReader::new(file::open(path)?.0))
}

/// Reads images from `bytes`; `path` is for messages.
///
/// # Errors
/// Each way in which the header, the gzip stream or the length can be wrong.
pub fn parse_images(path: &Path, bytes: impl BufRead) -> Result<Images, DataError> {
    let (shape, pixels) = parse::<3>(path, "images", bytes)?;
    let [count, height, width] = shape.map(|size| size as usize);
    Ok(Images { count, height, width, pixels })
}

/// Reads labels from `bytes`; `path` is for messages.
///
/// # Errors
/// As [`parse_images`].
pub fn parse_labels(path: &Path, bytes: impl BufRead) -> Result<Vec<u8>, DataError> {
    let ([_], labels) = parse::<1>(path, "labels", bytes)?;
    Ok(labels)
}

/// The dimensions and the elements. Memory grows with the bytes that are really there, whatever the header claims,
/// and decompression stops one byte after the end that the header gives.
fn parse<const RANK: usize>(
    path: &Path,
    kind: &'static str,
    bytes: impl BufRead,
) -> Result<([u32; RANK], Vec<u8>), DataError> {
    let mut stream = Stream::new(path, bytes)?;
    let expected = [0, 0, UNSIGNED_BYTE, RANK as u8];
    let found: [u8; 4] = stream.header()?;
    if found != expected {
        return Err(DataError::WrongMagic { path: path.into(), kind, expected, found });
    }
    let mut shape = [0; RANK];
    for size in &mut shape {
        *size = u32::from_be_bytes(stream.header()?);
    }
    let size = payload_size(path, &shape)?;
    let data = stream.read(size.saturating_add(1))?;
    match data.len() as u64 {
        found if found < size => Err(DataError::Truncated { path: path.into(), part: kind, expected: size, found }),
        found if found > size => Err(DataError::TrailingBytes { path: path.into(), expected: size }),
        _ => Ok((shape, data)),
    }
}

fn payload_size(path: &Path, shape: &[u32]) -> Result<u64, DataError> {
    if shape.contains(&0) {
        return Err(DataError::ZeroDimension { path: path.into(), shape: shape.into() });
    }
    let size = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(u64::from(size)));
    size.filter(|&size| size <= LIMIT).ok_or_else(|| DataError::TooLarge {
        path: path.into(),
        claim: format!("its header gives the shape {shape:?}"),
        limit: LIMIT,
    })
}

/// Bytes that are decompressed on the way if they are a gzip stream.
struct Stream<'a> {
    path: &'a Path,
    gzipped: bool,
    reader: Box<dyn Read + 'a>,
}

impl<'a> Stream<'a> {
    fn new(path: &'a Path, mut bytes: impl BufRead + 'a) -> Result<Stream<'a>, DataError> {
        let start = bytes.fill_buf().map_err(|reason| DataError::Io { path: path.into(), reason })?;
        if start.is_empty() {
            return Err(DataError::Empty { path: path.into() });
        }
        let gzipped = start.starts_with(&GZIP);
        let reader: Box<dyn Read + 'a> = if gzipped { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
        Ok(Stream { path, gzipped, reader })
    }

    /// The next four bytes.
    fn header(&mut self) -> Result<[u8; 4], DataError> {
        let bytes = self.read(4)?;
        bytes.as_slice().try_into().map_err(|_| DataError::Truncated {
            path: self.path.into(),
            part: "a header field",
            expected: 4,
            found: bytes.len() as u64,
        })
    }

    /// At most `limit` bytes, fewer only at the end.
    fn read(&mut self, limit: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        match self.reader.by_ref().take(limit).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(reason) => Err(self.failure(reason)),
        }
    }

    fn failure(&self, reason: io::Error) -> DataError {
        let path = self.path.into();
        match reason.kind() {
            ErrorKind::UnexpectedEof if self.gzipped => DataError::GzipTruncated { path },
            ErrorKind::InvalidInput | ErrorKind::InvalidData if self.gzipped => DataError::GzipCorrupt { path, reason },
            _ => DataError::Io { path, reason },
        }
    }
}
