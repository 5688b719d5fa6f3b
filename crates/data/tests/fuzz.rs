//! Four of the six fuzz targets: the readers of data. See `tests/fuzz` of the repository.
#![allow(missing_docs)]

#[path = "../../../tests/fuzz/mod.rs"]
mod fuzz;
mod support;

use bidst_data::cifar::{CIFAR10, CIFAR100, Records};
use bidst_data::{Damage, idx, picture, python};
use std::path::Path;
use support::jpeg::jpeg;
use support::pickles::{PICKLERS, batch, batch100};
use support::{encoded, gzip, images, png, record};

const PATH: &str = "fuzzed";

#[test]
fn idx_files_plain_and_gzipped() {
    let seeds = || {
        let (images, labels) = (images(1), support::idx(&[5], &[1, 2, 3, 4, 5]));
        vec![images.clone(), labels.clone(), gzip(&images), gzip(&labels)]
    };
    fuzz::run(
        "idx",
        seeds,
        fuzz::twice,
        |_| {},
        |bytes| {
            let path = Path::new(PATH);
            idx::parse_images(path, bytes).is_ok() | idx::parse_labels(path, bytes).is_ok()
        },
    );
}

#[test]
fn cifar_binary_files() {
    let seeds = || vec![record(&[1], 2), record(&[1, 2], 3), [record(&[9], 2), record(&[3], 4)].concat()];
    fuzz::run(
        "cifar-binary",
        seeds,
        fuzz::twice,
        |_| {},
        |bytes| {
            let parse = |format: &bidst_data::cifar::Format, mut damage| {
                format.parse(Path::new(PATH), bytes, &mut Records::default(), &mut damage).is_ok()
            };
            // One that tolerates damage goes on where the other stops.
            let _ = parse(&CIFAR100, Damage::allowing(2));
            parse(&CIFAR10, Damage::default())
        },
    );
}

#[test]
fn cifar_python_batches() {
    let seeds = || {
        let images = [[1; 3072]];
        let ten = PICKLERS.map(|pickler| batch(pickler, &images, &[3]));
        [ten, PICKLERS.map(|pickler| batch100(pickler, &images, &[99]))].concat()
    };
    fuzz::run(
        "cifar-python",
        seeds,
        fuzz::twice,
        |_| {},
        |bytes| {
            let parse = |format| {
                python::parse(format, Path::new(PATH), bytes, &mut Records::default(), &mut Damage::default()).is_ok()
            };
            parse(&CIFAR10) | parse(&CIFAR100)
        },
    );
}

#[test]
fn pictures() {
    let seeds = || {
        let rows: Vec<u8> = (0..120).collect();
        vec![
            png(6, 5, |x, y| [x as u8, y as u8, 9]),
            encoded(10, 12, png::ColorType::Grayscale, &rows),
            encoded(5, 6, png::ColorType::Rgba, &rows),
            jpeg(24, 16, &[76, 85, 255]),
            jpeg(9, 17, &[200]),
        ]
    };
    // A picture may be as large as its bytes could hold, decoded, copied and transformed: see `picture`.
    let most = |bytes: usize| 16 * (1032 * bytes + (256 << 10)) + (1 << 20);
    fuzz::run("picture", seeds, most, repair_png, |bytes| picture::decode(bytes).is_ok());
}

/// Makes the checksums of a PNG right again, so that damage gets past them.
fn repair_png(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let Some(chunk) = at.checked_add(8).and_then(|start| bytes.get(at + 4..start.checked_add(length)?)) else {
            return;
        };
        let crc = !chunk.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        });
        at += 8 + length;
        let Some(place) = bytes.get_mut(at..at + 4) else { return };
        place.copy_from_slice(&crc.to_be_bytes());
        at += 4;
    }
}
