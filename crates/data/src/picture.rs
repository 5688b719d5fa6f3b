//! JPEG and PNG files, decoded to `[3, height, width]` bytes.
//!
//! What a file is, its first bytes say and not its name. Sizes are read and compared with limits, and with what the file
//! could possibly hold, before a decoder may allocate. Grey and paletted images become RGB, transparency is dropped, and an
//! orientation in the metadata is not followed, as is usual with ImageNet.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use crate::dataset::Stored;
use crate::{DataError, file};
use std::io::Cursor;
use std::path::Path;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// Bytes that an image file may have.
pub const MAX_BYTES: u64 = 64 << 20;
/// Rows or columns of an image.
pub const MAX_SIDE: usize = 16_384;
/// Pixels of an image.
pub const MAX_PIXELS: u64 = 64 << 20;
/// Decoded bytes for each byte of a file: deflate reaches 1032, JPEG less.
const MAX_EXPANSION: u64 = 1032;
/// Decoded bytes that need no such proof.
const FREE_BYTES: u64 = 256 << 10;

const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
const JPEG: [u8; 3] = [0xff, 0xd8, 0xff];

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `[3, height, width]`.
    pub pixels: Vec<u8>,
}

impl Picture {
    pub(crate) fn stored(&self) -> Stored<'_> {
        Stored { pixels: &self.pixels, height: self.height, width: self.width }
    }
}

/// Why an image file was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// It begins neither as a JPEG nor as a PNG.
    #[error("it begins neither as a JPEG nor as a PNG file")]
    Format,
    /// A side is zero or too long, or the area too large.
    #[error("its header gives {width}x{height} pixels, the limits are {MAX_SIDE} a side and {MAX_PIXELS} in all")]
    Size {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// So few bytes cannot hold so many pixels.
    #[error("its header gives {width}x{height} pixels, more than its {bytes} bytes can hold")]
    Claim {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes of the file.
        bytes: usize,
    },
    /// The decoder found it damaged or cut off.
    #[error("it is damaged or cut off: {reason}")]
    Damaged {
        /// What the decoder said.
        reason: String,
    },
}

/// Reads and decodes a file.
///
/// # Errors
/// As [`decode`], and what the file system has to say.
pub fn read(path: &Path) -> Result<Picture, DataError> {
    let bytes = file::read(path, MAX_BYTES)?;
    decode(&bytes).map_err(|reason| DataError::Picture { path: path.into(), reason })
}

/// Decodes the bytes of a file.
///
/// # Errors
/// What is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    if bytes.starts_with(&PNG) {
        png(bytes)
    } else if bytes.starts_with(&JPEG) {
        jpeg(bytes)
    } else {
        Err(PictureError::Format)
    }
}

fn damaged(reason: impl ToString) -> PictureError {
    PictureError::Damaged { reason: reason.to_string() }
}

/// Refuses sizes that are out of bounds, or that `bytes` bytes cannot hold.
fn believable(width: usize, height: usize, bytes: usize) -> Result<(), PictureError> {
    let area = (width as u64).saturating_mul(height as u64);
    if area == 0 || area > MAX_PIXELS || width.max(height) > MAX_SIDE {
        return Err(PictureError::Size { width, height });
    }
    let most = (bytes as u64).saturating_mul(MAX_EXPANSION).saturating_add(FREE_BYTES);
    if area > most {
        return Err(PictureError::Claim { width, height, bytes });
    }
    Ok(())
}

fn jpeg(bytes: &[u8]) -> Result<Picture, PictureError> {
    // Strict, because otherwise what is missing of a file that was cut off becomes grey.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    let info = decoder.info().ok_or_else(|| damaged("it has no header"))?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    believable(width, height, bytes.len())?;
    let interleaved = decoder.decode().map_err(damaged)?;
    planes(&interleaved, 3, [0, 1, 2], height, width)
}

fn png(bytes: &[u8]) -> Result<Picture, PictureError> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: 4 << 20 });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let info = decoder.read_header_info().map_err(damaged)?;
    let (width, height) = (info.width as usize, info.height as usize);
    believable(width, height, bytes.len())?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = reader.output_buffer_size().ok_or(PictureError::Size { width, height })?;
    let mut interleaved = vec![0; size];
    let frame = reader.next_frame(&mut interleaved).map_err(damaged)?;
    reader.finish().map_err(damaged)?;
    interleaved.truncate(frame.buffer_size());
    let (channels, order) = match frame.color_type {
        png::ColorType::Grayscale | png::ColorType::Indexed => (1, [0, 0, 0]),
        png::ColorType::GrayscaleAlpha => (2, [0, 0, 0]),
        png::ColorType::Rgb => (3, [0, 1, 2]),
        png::ColorType::Rgba => (4, [0, 1, 2]),
    };
    planes(&interleaved, channels, order, height, width)
}

/// From `[height, width, channels]` to `[3, height, width]`, taking the channels of `order`.
fn planes(
    interleaved: &[u8],
    channels: usize,
    order: [usize; 3],
    height: usize,
    width: usize,
) -> Result<Picture, PictureError> {
    let area = height.saturating_mul(width);
    if interleaved.len() != area.saturating_mul(channels) {
        return Err(damaged("its pixels do not fill it"));
    }
    let mut pixels = Vec::with_capacity(area.saturating_mul(3));
    for channel in order {
        pixels.extend(interleaved.chunks_exact(channels).filter_map(|pixel| pixel.get(channel)));
    }
    Ok(Picture { height, width, pixels })
}
