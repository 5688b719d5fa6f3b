//! Files that lie. Each lie is refused by name: no panic, no hang, and a message with the path and what is wrong.
#![allow(missing_docs)]

mod support;

use bidst_data::{Damage, DataError, cifar, idx, open};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use support::{Folder, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, gzip, images, record};

fn refusal(source: &str, folder: &Folder) -> String {
    open(source, Some(folder.path())).expect_err("a hostile file was accepted").to_string()
}

/// Puts `bytes` in place of a good file; the refusal must name the file and contain `fragment`.
fn refused_idx(file: &str, bytes: &[u8], fragment: &str) -> String {
    let folder = Folder::fashion().with(file, bytes);
    let message = refusal("fashion-mnist", &folder);
    assert!(message.contains(&folder.join(file).display().to_string()), "no path in: {message}");
    assert!(message.contains(fragment), "`{fragment}` not in: {message}");
    message.replace(&folder.path().display().to_string(), "")
}

fn parse(bytes: &[u8]) -> Result<idx::Images, DataError> {
    idx::parse_images(Path::new("given.idx"), bytes)
}

/// The sizes of `shape` and the number of data bytes that really follow.
fn header_with(shape: [u32; 3], bytes: usize) -> Vec<u8> {
    support::idx(&shape, &vec![1; bytes])
}

#[test]
fn every_lie_of_an_image_file_has_a_message_of_its_own() {
    let mut wrong_type = images(3);
    wrong_type[2] = 0x0d;
    let mut corrupt = gzip(&images(3));
    let checksum = corrupt.len() - 8;
    corrupt[checksum] ^= 1;
    let gzipped = gzip(&images(3));
    let lies: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "is empty"),
        (vec![0, 0], "4 bytes of a header field expected, 2 found"),
        (
            b"PK\x03\x04 not an idx file".to_vec(),
            "does not begin as an IDX file of images: its first bytes are [50, 4b, 03, 04]",
        ),
        (wrong_type, "its first bytes are [00, 00, 0d, 03], expected [00, 00, 08, 03]"),
        (support::idx(&[3], &[1, 2, 3]), "its first bytes are [00, 00, 08, 01]"),
        (images(3)[..15].to_vec(), "4 bytes of a header field expected, 3 found"),
        (header_with([3, 28, 28], 2351), "2352 bytes of images expected, 2351 found"),
        (header_with([3, 28, 28], 2353), "goes on after its 2352 bytes of data"),
        (header_with([0, 28, 28], 0), "its header gives the shape [0, 28, 28]"),
        (header_with([3, 0, 28], 0), "its header gives the shape [3, 0, 28]"),
        (header_with([u32::MAX, u32::MAX, u32::MAX], 9), "is too large: its header gives the shape [4294967295,"),
        (header_with([u32::MAX, 28, 28], 9), "the limit is 1073741824 bytes"),
        (header_with([1_000_000, 28, 28], 784), "784000000 bytes of images expected, 784 found"),
        (header_with([3, 27, 28], 2268), "has images of [27, 28] pixels, expected [28, 28]"),
        (header_with([2, 28, 28], 1568), "has 2 images but"),
        (gzipped[..gzipped.len() - 9].to_vec(), "its gzip stream has no end"),
        (corrupt, "is damaged: "),
        ([gzipped.as_slice(), b"and more bytes after it"].concat(), "is damaged: "),
    ];
    let count = lies.len();
    let messages: BTreeSet<String> =
        lies.into_iter().map(|(bytes, fragment)| refused_idx(TRAIN_IMAGES, &bytes, fragment)).collect();
    assert_eq!(messages.len(), count, "not distinct: {messages:#?}");
}

#[test]
fn every_lie_of_a_label_file_is_refused() {
    refused_idx(TRAIN_LABELS, &support::idx(&[3], &[9, 0, 10]), "record 2: label 10 is out of range, expected 0 to 9");
    refused_idx(TRAIN_LABELS, &support::idx(&[2], &[9, 0]), "has 2 labels");
    refused_idx(TRAIN_LABELS, &support::idx(&[4], &[9, 0, 1, 2]), "has 4 labels");
    refused_idx(TRAIN_LABELS, &images(3), "does not begin as an IDX file of labels");
    refused_idx(TEST_LABELS, &support::idx(&[2], &[1]), "2 bytes of labels expected, 1 found");
    refused_idx(TEST_LABELS, &support::idx(&[2], &[1, 2, 3]), "goes on after its 2 bytes");
    refused_idx(TEST_LABELS, &support::idx(&[u32::MAX], &[1]), "is too large");
    refused_idx(TEST_LABELS, &support::idx(&[0], &[]), "holds nothing");
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    for bytes in [images(2), gzip(&images(2))] {
        assert!(parse(&bytes).is_ok());
        for length in 0..bytes.len() {
            let message = parse(&bytes[..length]).expect_err("a cut file was accepted").to_string();
            assert!(message.starts_with("given.idx is "), "cut at {length}: {message}");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_header_is_refused() {
    let bytes = images(2);
    for bit in 0..16 * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn a_flipped_bit_in_a_gzip_stream_never_changes_a_pixel() {
    let good = images(1);
    let bytes = gzip(&good);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(images) = parse(&flipped) {
            assert_eq!(images.pixels, good[16..], "bit {bit}");
        }
    }
}

#[test]
fn a_gzip_bomb_is_refused_after_one_byte_too_many() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&images(3)).unwrap();
    for _ in 0..64 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    refused_idx(TRAIN_IMAGES, &encoder.finish().unwrap(), "goes on after its 2352 bytes of data");
    let nested = gzip(&gzip(&images(3)));
    refused_idx(TRAIN_IMAGES, &nested, "does not begin as an IDX file");
}

#[test]
fn a_folder_where_a_file_should_be_is_refused() {
    let folder = Folder::fashion().without(TRAIN_IMAGES);
    fs::create_dir(folder.join(TRAIN_IMAGES)).unwrap();
    assert!(refusal("fashion-mnist", &folder).ends_with("train-images-idx3-ubyte is not a regular file"));
    let folder = Folder::cifar10().without("data_batch_3.bin");
    fs::create_dir(folder.join("data_batch_3.bin")).unwrap();
    assert!(refusal("cifar10", &folder).ends_with("data_batch_3.bin is not a regular file"));
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let folder = Folder::cifar10();
    let error = open("cifar10", Some(&folder.join("test_batch.bin"))).unwrap_err();
    assert!(error.to_string().contains("test_batch.bin is not a folder"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_device_in_place_of_a_file_is_refused() {
    let folder = Folder::cifar100().without("train.bin");
    std::os::unix::fs::symlink("/dev/zero", folder.join("train.bin")).unwrap();
    assert!(refusal("cifar100", &folder).ends_with("train.bin is not a regular file"));
}

#[test]
fn a_file_beyond_the_limit_is_refused_unread() {
    let folder = Folder::cifar100();
    fs::File::create(folder.join("train.bin")).unwrap().set_len((1 << 30) + 1).unwrap();
    assert!(refusal("cifar100", &folder).contains("train.bin is too large: it has 1073741825 bytes"));
}

#[test]
fn every_lie_of_a_cifar_file_is_refused_with_path_and_record() {
    let refused = |folder: Folder, source: &str, fragment: &str| {
        let message = refusal(source, &folder);
        assert!(message.contains(fragment), "`{fragment}` not in: {message}");
        assert!(message.contains(&folder.path().display().to_string()), "no path in: {message}");
    };
    let long = [record(&[1], 0), vec![0]].concat();
    refused(Folder::cifar10().with("data_batch_2.bin", &[]), "cifar10", "data_batch_2.bin is empty");
    refused(
        Folder::cifar10().with("data_batch_2.bin", &long),
        "cifar10",
        "has 3074 bytes, which is no multiple of its 3073",
    );
    refused(Folder::cifar10().with("test_batch.bin", &[3]), "cifar10", "test_batch.bin has 1 bytes");
    let outside = [record(&[1], 0), record(&[10], 0)].concat();
    refused(
        Folder::cifar10().with("data_batch_5.bin", &outside),
        "cifar10",
        "record 1: label 10 is out of range, expected 0 to 9",
    );
    refused(
        Folder::cifar100().with("train.bin", &record(&[20, 0], 0)),
        "cifar100",
        "record 0: coarse label 20 is out of range",
    );
    refused(
        Folder::cifar100().with("test.bin", &record(&[0, 100], 0)),
        "cifar100",
        "record 0: fine label 100 is out of range",
    );
    refused(
        Folder::cifar100().with("test.bin", &record(&[0], 0)),
        "cifar100",
        "is no multiple of its 3074 byte records",
    );
    refused(
        Folder::cifar10().without("data_batch_4.bin"),
        "cifar10",
        "cannot find data_batch_4.bin of data set `cifar10` in",
    );
}

#[test]
fn a_cifar_file_cut_at_any_length_within_a_record_is_refused() {
    let bytes = [record(&[1], 5), record(&[2], 6)].concat();
    for length in (0..bytes.len()).filter(|length| *length != 3073) {
        let result = cifar::CIFAR10.parse(
            Path::new("cut.bin"),
            &bytes[..length],
            &mut cifar::Records::default(),
            &mut Damage::default(),
        );
        let message = result.expect_err("a cut file was accepted").to_string();
        assert!(message.starts_with("cut.bin "), "{message}");
    }
}

#[test]
fn missing_files_are_listed_with_the_folders_searched_and_what_to_do() {
    let folder = Folder::fashion().without(TRAIN_LABELS);
    let message = refusal("fashion-mnist", &folder);
    assert!(message.starts_with("cannot find train-labels-idx1-ubyte of data set `fashion-mnist` in "), "{message}");
    for part in ["fashion-mnist or ", "FashionMNIST", "--data-dir"] {
        assert!(message.contains(part), "`{part}` not in: {message}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..4000), start in 0usize..4) {
        let start: &[u8] = [&[][..], &[0, 0, 8, 3], &[0, 0, 8, 1], &[0x1f, 0x8b, 8, 0]][start];
        let bytes = [start, &bytes].concat();
        let path = Path::new("random");
        let _ = idx::parse_images(path, bytes.as_slice());
        let _ = idx::parse_labels(path, bytes.as_slice());
        let _ = cifar::CIFAR100.parse(path, bytes.as_slice(), &mut cifar::Records::default(), &mut Damage::default());
    }

    #[test]
    fn no_damage_to_a_good_file_makes_a_reader_panic(at in 0usize..400, with in any::<u8>(), gzipped: bool) {
        let mut bytes = if gzipped { gzip(&images(1)) } else { images(1) };
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = parse(&bytes);
    }
}
