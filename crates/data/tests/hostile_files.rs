//! The files in `tests/hostile` of the repository, each refused by name, with little memory and in no time.
//!
//! `BIDST_MAKE_HOSTILE=1 cargo test -p bidst-data --test hostile_files` writes those that are missing.
#![allow(missing_docs)]

#[path = "../../../tests/hostile/mod.rs"]
mod hostile;
mod support;

use bidst_data::cifar::{CIFAR10, CIFAR100, Format, Records};
use bidst_data::{Damage, DataError, idx, picture, python};
use hostile::refused;
use std::path::Path;
use support::jpeg::jpeg;
use support::pickles::{PICKLERS, Pickler, batch, dictionary};
use support::{encoded, gzip, images, png, record};

fn as_images(bytes: &[u8]) -> Result<(), DataError> {
    idx::parse_images(Path::new("given"), bytes).map(drop)
}

fn as_labels(bytes: &[u8]) -> Result<(), DataError> {
    idx::parse_labels(Path::new("given"), bytes).map(drop)
}

fn as_cifar10(bytes: &[u8]) -> Result<(), DataError> {
    CIFAR10.parse(Path::new("given"), bytes, &mut Records::default(), &mut Damage::default())
}

fn as_cifar100(bytes: &[u8]) -> Result<(), DataError> {
    CIFAR100.parse(Path::new("given"), bytes, &mut Records::default(), &mut Damage::default())
}

fn as_python(bytes: &[u8]) -> Result<(), DataError> {
    as_python_of(&CIFAR10, bytes)
}

fn as_python_of(format: &Format, bytes: &[u8]) -> Result<(), DataError> {
    python::parse(format, Path::new("given"), bytes, &mut Records::default(), &mut Damage::default())
}

fn as_picture(bytes: &[u8]) -> Result<(), DataError> {
    let path = Path::new("given").into();
    picture::decode(bytes).map(drop).map_err(|reason| DataError::Picture { path, reason })
}

/// A test for each file: `name: "file", bytes, reader, "what the refusal says";`
macro_rules! files {
    ($($(#[doc = $sentence:literal])+ $name:ident: $file:literal, $bytes:expr, $reader:expr, $fragment:literal;)*) => {
        $($(#[doc = $sentence])+ #[test] fn $name() {
            let message = refused($file, || $bytes, $reader, $fragment);
            assert!(message.contains("given") && message.len() < 1000, "{message}");
        })*
    };
}

fn small_idx(shape: [u32; 3], data: usize) -> Vec<u8> {
    support::idx(&shape, &vec![7; data])
}

fn good_png() -> Vec<u8> {
    png(6, 5, |x, y| [x as u8, y as u8, 9])
}

/// A PNG whose header, with a right checksum, says something else.
fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = good_png();
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = !bytes[12..29].iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// `bytes` with something put `after` the first `marker`.
fn patched(mut bytes: Vec<u8>, marker: &[u8], after: usize, with: &[u8]) -> Vec<u8> {
    let at = bytes.windows(marker.len()).position(|window| window == marker).unwrap() + after;
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

fn flipped(mut bytes: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    bytes
}

fn good_jpeg() -> Vec<u8> {
    jpeg(24, 16, &[76, 85, 255])
}

fn good_batch() -> Vec<u8> {
    batch(PICKLERS[0], &[[5; 3072]], &[3])
}

files! {
    /// A file without bytes.
    an_empty_idx: "idx/empty", vec![], as_images, "is empty";
    /// Two of the four bytes of the magic number.
    half_a_magic_number: "idx/half-magic", vec![0, 0], as_images, "4 bytes of a header field expected, 2 found";
    /// A ZIP archive under the name of an IDX file.
    an_archive_instead_of_idx: "idx/archive", b"PK\x03\x04\x14\0\0\0\x08\0".to_vec(), as_images, "does not begin as an IDX file";
    /// Floating-point elements.
    floats_in_idx: "idx/floats", { let mut b = small_idx([1, 2, 2], 4); b[2] = 13; b }, as_images, "[00, 00, 0d, 03]";
    /// Labels where images should be.
    labels_for_images: "idx/labels-for-images", support::idx(&[3], &[1, 2, 3]), as_images, "[00, 00, 08, 01]";
    /// Images where labels should be.
    images_for_labels: "idx/images-for-labels", small_idx([1, 2, 2], 4), as_labels, "an IDX file of labels";
    /// The header ends within its last number.
    a_cut_idx_header: "idx/cut-header", small_idx([1, 2, 2], 0)[..15].to_vec(), as_images, "4 bytes of a header field expected, 3 found";
    /// One pixel is missing.
    a_pixel_too_few: "idx/pixel-too-few", small_idx([2, 4, 4], 31), as_images, "32 bytes of images expected, 31 found";
    /// One pixel too many.
    a_pixel_too_many: "idx/pixel-too-many", small_idx([2, 4, 4], 33), as_images, "goes on after its 32 bytes";
    /// A dimension of zero.
    no_rows: "idx/no-rows", small_idx([3, 0, 28], 0), as_images, "gives the shape [3, 0, 28]";
    /// Dimensions whose product does not fit 64 bits.
    a_product_that_overflows: "idx/overflow", small_idx([u32::MAX; 3], 9), as_images, "is too large: its header gives the shape [4294967295,";
    /// A gibibyte claimed, a few bytes there.
    a_claim_of_a_gibibyte: "idx/claim", small_idx([1 << 14, 1 << 8, 1 << 8], 20), as_images, "1073741824 bytes of images expected, 20 found";
    /// A gibibyte and one image more claimed.
    a_claim_beyond_the_limit: "idx/beyond-limit", small_idx([(1 << 14) + 1, 1 << 8, 1 << 8], 20), as_images, "the limit is 1073741824 bytes";
    /// Fewer labels than the header says.
    labels_cut_off: "idx/cut-labels", support::idx(&[9], &[1, 2]), as_labels, "9 bytes of labels expected, 2 found";

    /// A gzip stream without its end.
    a_gzip_stream_cut_off: "gzip/cut", { let b = gzip(&images(1)); b[..b.len() - 9].to_vec() }, as_images, "its gzip stream has no end";
    /// A checksum that does not fit.
    a_wrong_gzip_checksum: "gzip/checksum", flipped(gzip(&images(1)), 8), as_images, "is damaged: ";
    /// Two megabytes of zeros after the image.
    a_gzip_bomb: "gzip/bomb", gzip(&[images(1), vec![0; 2 << 20]].concat()), as_images, "goes on after its 784 bytes";
    /// Gzip within gzip.
    gzip_in_gzip: "gzip/nested", gzip(&gzip(&images(1))), as_images, "does not begin as an IDX file";
    /// Text after the stream.
    text_after_gzip: "gzip/trailing", [gzip(&images(1)), b"and more".to_vec()].concat(), as_images, "given is ";
    /// A compression method that does not exist.
    an_unknown_gzip_method: "gzip/method", { let mut b = gzip(&images(1)); b[2] = 7; b }, as_images, "is damaged: ";
    /// A header that claims a gibibyte, compressed.
    a_gzipped_claim: "gzip/claim", gzip(&small_idx([1 << 14, 1 << 8, 1 << 8], 20)), as_images, "1073741824 bytes of images expected, 20 found";

    /// A CIFAR file without bytes.
    an_empty_cifar_file: "cifar/empty.bin", vec![], as_cifar10, "is empty";
    /// Half a record.
    half_a_record: "cifar/half-record.bin", record(&[1], 2)[..1500].to_vec(), as_cifar10, "is no multiple of its 3073 byte records";
    /// A byte after the last record.
    a_byte_after_the_records: "cifar/byte-more.bin", [record(&[1], 2), vec![0]].concat(), as_cifar10, "has 3074 bytes";
    /// A class that does not exist.
    label_ten_of_cifar10: "cifar/label-10.bin", record(&[10], 2), as_cifar10, "record 0: label 10 is out of range";
    /// A coarse class that does not exist.
    coarse_label_twenty: "cifar/coarse-20.bin", record(&[20, 1], 2), as_cifar100, "coarse label 20 is out of range";
    /// A fine class that does not exist, in the second record.
    fine_label_hundred: "cifar/fine-100.bin", [record(&[1, 1], 2), record(&[1, 100], 2)].concat(), as_cifar100, "record 1: fine label 100";

    /// A pickle that runs a command when Python loads it.
    a_pickle_that_runs_a_command: "python/command", {
        let mut p = Pickler::new(PICKLERS[0]);
        p.global("os", "system").text("echo hello").op(b"\x85R.");
        p.finish()
    }, as_python, "`os.system` at byte 2 does not occur";
    /// The same with the opcodes of protocol 4.
    a_command_in_protocol_4: "python/command-4", {
        let mut p = Pickler::new(PICKLERS[3]);
        p.global("builtins", "exec").text("print(1)").op(b"\x85R.");
        p.finish()
    }, as_python, "`builtins.exec` at byte";
    /// The oldest protocol, which is text.
    protocol_zero: "python/protocol-0", b"(dp0\nS'labels'\np1\n(lp2\nI3\nas.".to_vec(), as_python, "no pickle of protocol 2 to 5";
    /// A text that claims two gibibytes.
    a_text_of_two_gibibytes: "python/long-text", b"\x80\x02}T\xff\xff\xff\x7fabc".to_vec(), as_python, "2147483647 bytes are needed and 3 are left";
    /// Bytes that claim more than there are addresses.
    bytes_without_end: "python/long-bytes", [b"\x80\x04\x8e".to_vec(), vec![0xff; 8]].concat(), as_python, "18446744073709551615 bytes are needed";
    /// A frame longer than the file.
    a_frame_beyond_the_end: "python/long-frame", [b"\x80\x04\x95".to_vec(), vec![0xff; 7], vec![0, b'}', b'.']].concat(), as_python, "bytes are needed and 2 are left";
    /// Ten thousand tuples in one another.
    ten_thousand_nested_tuples: "python/nested", [b"\x80\x02N".to_vec(), vec![0x85; 10_000], b".".to_vec()].concat(), as_python, "more than 6 containers are nested";
    /// More values than the file has reason for.
    nine_thousand_numbers: "python/many-values", [b"\x80\x02](".to_vec(), b"N".repeat(9000), b"e.".to_vec()].concat(), as_python, "too many for a file of this size";
    /// A list that holds itself many times over.
    a_list_fetched_again: "python/shared-list", b"\x80\x02]q\x00(h\x00h\x00e.".to_vec(), as_python, "fetches something that was not stored";
    /// A place of the memo far away.
    a_memo_far_away: "python/far-memo", b"\x80\x02Nr\xff\xff\xff\xff.".to_vec(), as_python, "fetches something that was not stored";
    /// Marks without end.
    eight_thousand_marks: "python/marks", [b"\x80\x02".to_vec(), vec![b'('; 9000]].concat(), as_python, "too many for a file of this size";
    /// Opcodes that find nothing on the stack.
    an_empty_stack: "python/empty-stack", b"\x80\x02u.".to_vec(), as_python, "does not find the values";
    /// One key twice.
    a_key_twice: "python/key-twice", b"\x80\x02}(U\x04dataNU\x04dataNu.".to_vec(), as_python, "has a key twice";
    /// An array with fewer bytes than its shape needs.
    an_array_too_short: "python/short-array", dictionary(PICKLERS[4], &["labels"], &[1; 100], [2, 3072], &[1, 2]), as_python, "has 100 bytes, but a shape of 2 x 3072";
    /// A shape with a negative number.
    a_negative_shape: "python/negative-shape", patched(good_batch(), b"M\x00\x0c\x86", 0, b"J\xff\xff\xff"), as_python, "given is damaged";
    /// A label below zero.
    a_negative_label: "python/negative-label", batch(PICKLERS[1], &[[5; 3072]], &[-1]), as_python, "label -1 is out of range";
    /// A batch of CIFAR-10 for CIFAR-100.
    a_batch_of_the_other_data_set: "python/other-data-set", good_batch(), |bytes| as_python_of(&CIFAR100, bytes), "no entry `fine_labels`";
    /// Bytes after the end.
    bytes_after_the_pickle: "python/trailing", [good_batch(), vec![0; 5]].concat(), as_python, "5 bytes follow its end";

    /// A GIF under the name of a JPEG.
    a_gif: "image/gif.jpg", b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(), as_picture, "neither as a JPEG nor as a PNG";
    /// Only the signature of a PNG.
    only_a_png_signature: "image/signature.png", good_png()[..8].to_vec(), as_picture, "damaged or cut off";
    /// A PNG cut within its pixels.
    a_png_cut_off: "image/cut.png", { let b = good_png(); b[..b.len() - 20].to_vec() }, as_picture, "damaged or cut off";
    /// A PNG whose pixels fail their checksum.
    a_png_with_a_wrong_checksum: "image/checksum.png", patched(good_png(), b"IDAT", 6, &[0x55, 0x55]), as_picture, "damaged or cut off";
    /// 64 million pixels claimed by a hundred bytes.
    a_png_that_claims_too_much: "image/claim.png", png_claiming(8000, 8000), as_picture, "8000x8000 pixels, more than its";
    /// The largest sides that can be written down.
    a_png_of_all_sides: "image/sides.png", png_claiming(0x7fff_ffff, 0x7fff_ffff), as_picture, "given: it";
    /// A PNG of no width.
    a_png_without_width: "image/no-width.png", png_claiming(0, 5), as_picture, "given: it";
    /// A palette that is not there.
    a_png_without_its_palette: "image/no-palette.png", {
        let mut b = encoded(2, 1, png::ColorType::Grayscale, &[7, 8]);
        b[25] = 3;
        let crc = !b[12..29].iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        });
        b[29..33].copy_from_slice(&crc.to_be_bytes());
        b
    }, as_picture, "damaged or cut off";
    /// A JPEG cut within its pixels.
    a_jpeg_cut_off: "image/cut.jpg", { let b = good_jpeg(); b[..b.len() - 6].to_vec() }, as_picture, "damaged or cut off";
    /// 64 million pixels claimed by a JPEG of two hundred bytes.
    a_jpeg_that_claims_too_much: "image/claim.jpg", patched(good_jpeg(), &[0xff, 0xc0], 5, &[0x1f, 0x40, 0x1f, 0x40]), as_picture, "8000x8000 pixels, more than its";
    /// A JPEG of no height.
    a_jpeg_without_height: "image/no-height.jpg", patched(good_jpeg(), &[0xff, 0xc0], 5, &[0, 0]), as_picture, "given";
    /// A JPEG whose tables of codes are impossible.
    a_jpeg_with_impossible_codes: "image/codes.jpg", patched(good_jpeg(), &[0xff, 0xc4], 5, &[255, 255, 255, 255]), as_picture, "damaged or cut off";
    /// A JPEG that ends after its headers.
    a_jpeg_of_headers_only: "image/headers.jpg", {
        let b = good_jpeg();
        let scan = b.windows(2).position(|marker| marker == [0xff, 0xda]).unwrap();
        b[..scan].to_vec()
    }, as_picture, "damaged or cut off";
}
