//! The Python version of CIFAR: what picklers really write is read, everything else is refused.
#![allow(missing_docs)]

mod support;

use bidst_data::cifar::{CIFAR10, CIFAR100, Format, Records};
use bidst_data::{Damage, DataError, open, open_with, python};
use std::path::Path;
use std::process::Command;
use support::pickles::{PICKLERS, Pickler, batch, batch100, dictionary};
use support::{Folder, small_pictures};

/// Two images of all byte values.
fn images() -> [[u8; 3072]; 2] {
    [1, 7].map(|step| std::array::from_fn(|pixel| (pixel * step) as u8))
}

fn parse(format: &Format, bytes: &[u8]) -> Result<Records, DataError> {
    let mut records = Records::default();
    python::parse(format, Path::new("data_batch_1"), bytes, &mut records, &mut Damage::default()).map(|()| records)
}

fn refusal(bytes: &[u8]) -> String {
    let message = parse(&CIFAR10, bytes).unwrap_err().to_string();
    assert!(message.starts_with("data_batch_1"), "{message}");
    message
}

#[test]
fn what_every_pickler_writes_is_read() {
    for pickler in PICKLERS {
        let ten = parse(&CIFAR10, &batch(pickler, &images(), &[3, 9])).unwrap();
        assert_eq!((ten.labels, ten.pixels == images().concat()), (vec![3, 9], true), "{pickler:?}");
        let hundred = parse(&CIFAR100, &batch100(pickler, &images(), &[99, 0])).unwrap();
        assert_eq!((hundred.labels, hundred.pixels == images().concat()), (vec![99, 0], true), "{pickler:?}");
    }
}

#[test]
fn what_this_machines_python_writes_is_read() {
    let program = "\
import numpy, pickle, sys
data = numpy.arange(2 * 3072, dtype=numpy.uint8).reshape(2, 3072)
text = {'batch_label': 'b', 'labels': [3, 9], 'data': data, 'filenames': ['a.png', 'b.png']}
raw = {key.encode(): value for key, value in text.items()}
for protocol in (2, 3, 4, 5):
    for name, batch in (('text', text), ('raw', raw)):
        with open(f'{sys.argv[1]}/{name}{protocol}', 'wb') as file:
            pickle.dump(batch, file, protocol)
";
    let folder = Folder::empty();
    let python = std::env::var("BIDST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let done = Command::new(python).args(["-c", program]).arg(folder.path()).output();
    if !done.is_ok_and(|output| output.status.success()) {
        eprintln!("passed over: no python3 with numpy here (BIDST_PYTHON names another)");
        return;
    }
    let expected: Vec<u8> = (0..2 * 3072).map(|pixel| pixel as u8).collect();
    for name in ["text", "raw"] {
        for protocol in 2..=5 {
            let bytes = std::fs::read(folder.join(&format!("{name}{protocol}"))).unwrap();
            let records = parse(&CIFAR10, &bytes).unwrap();
            assert_eq!((records.labels, records.pixels == expected), (vec![3, 9], true), "{name} {protocol}");
        }
    }
}

#[test]
fn the_folders_that_torchvision_leaves_are_read_like_the_binary_version() {
    let binary = open("cifar10", Some(Folder::cifar10().path())).unwrap();
    let images = |first, second| [[first; 3072], [second; 3072]];
    let folder = (1..=5u8).fold(Folder::empty(), |folder, number| {
        let bytes = batch(PICKLERS[0], &images(number, 100 + number), &[i32::from(number), 9]);
        folder.with(&format!("cifar-10-batches-py/data_batch_{number}"), &bytes)
    });
    let folder = folder.with("cifar-10-batches-py/test_batch", &batch(PICKLERS[0], &[[200; 3072]], &[7]));
    let opened = open_with("cifar10", &small_pictures(&folder)).unwrap();
    assert_eq!((opened.splits, opened.layout), (binary, Some("Python batches")));

    let hundred = Folder::empty()
        .with("cifar-100-python/train", &batch100(PICKLERS[0], &[[1; 3072], [2; 3072], [3; 3072]], &[99, 0, 50]))
        .with("cifar-100-python/test", &batch100(PICKLERS[0], &[[4; 3072]], &[42]));
    let binary = open("cifar100", Some(Folder::cifar100().path())).unwrap();
    assert_eq!(open("cifar100", Some(hundred.path())).unwrap(), binary);
}

#[test]
fn a_call_of_anything_but_numpy_is_refused_by_name() {
    let calls = [("os", "system"), ("builtins", "eval"), ("numpy", "load"), ("_codecs", "decode")];
    for (module, name) in calls {
        for pickler in PICKLERS {
            let mut p = Pickler::new(pickler);
            p.global(module, name).text("echo").op(b"\x85R.");
            let message = refusal(&p.finish());
            assert!(message.contains(&format!("`{module}.{name}` at byte")), "{message}");
            assert!(message.contains("nothing of it was imported or called"), "{message}");
        }
    }
}

#[test]
fn every_other_opcode_is_refused() {
    let known = b".NKMJUTCBX]})(teasucRbqrhj\x85\x86\x87\x88\x89\x8a\x8c\x8e\x93\x94\x95\x96";
    for opcode in (0..=255u8).filter(|opcode| !known.contains(opcode)) {
        let message = refusal(&[0x80, 4, opcode]);
        assert!(message.contains(&format!("opcode 0x{opcode:02x} at byte 2 does not occur")), "{message}");
    }
}

#[test]
fn every_lie_of_a_batch_has_a_message_of_its_own() {
    let good = |labels: &[i32]| batch(PICKLERS[0], &images(), labels);
    let with_shape = |shape| dictionary(PICKLERS[3], &["labels"], &images().concat(), shape, &[3, 9]);
    let array = |order: &[u8], name: &str| {
        let bytes = good(&[3, 9]);
        let text = format!("U\x02{name}");
        let bytes = replaced(&bytes, b"U\x02u1", text.as_bytes());
        replaced(&bytes, b"\x89T", order)
    };
    let deep = [&[0x80, 2, b'N'][..], &[0x85; 9], b"."].concat();
    let many = [&[0x80, 2, b']', b'('][..], &b"K\x01".repeat(9000), b"e."].concat();
    let twice = b"\x80\x02}(U\x01aK\x01U\x01aK\x02u.".to_vec();
    let lies: Vec<(Vec<u8>, &str)> = vec![
        (b"\x80".to_vec(), "at byte 0, 2 bytes are needed and 1 are left"),
        (b"(dp0\nS'labels'".to_vec(), "it is no pickle of protocol 2 to 5"),
        (b"\x80\x06}.".to_vec(), "it is no pickle of protocol 2 to 5"),
        (good(&[3, 9])[..40].to_vec(), "it is cut off: at byte"),
        (b"\x80\x02T\xff\xff\xff\x7fabc".to_vec(), "2147483647 bytes are needed and 3 are left"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), "18446744073709551615 bytes are needed"),
        (b"\x80\x02}.x".to_vec(), "1 bytes follow its end"),
        (b"\x80\x02K\x01.".to_vec(), "it holds no dictionary"),
        (b"\x80\x02.".to_vec(), "the opcode at byte 2 does not find the values"),
        (b"\x80\x02]K\x01u.".to_vec(), "the opcode at byte 5 does not find the values"),
        (b"\x80\x02h\x05.".to_vec(), "byte 2 fetches something that was not stored"),
        (b"\x80\x02}q\x00h\x00.".to_vec(), "byte 5 fetches something that was not stored"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.".to_vec(), "byte 3 fetches something that was not stored"),
        (deep, "at byte 9, more than 6 containers are nested"),
        (b"\x80\x02]]a.".to_vec(), "at byte 4, more than 1 containers are nested"),
        (many, "there are more than 8332 values, too many for a file of this size"),
        (twice, "the dictionary at byte 14 has a key twice"),
        (b"\x80\x02}.".to_vec(), "it has no entry `data`"),
        (dictionary(PICKLERS[0], &["fine_labels"], &[0; 3072], [1, 3072], &[1]), "it has no entry `labels`"),
        (b"\x80\x02}(U\x04dataK\x01u.".to_vec(), "its entry `data` is not an array of bytes"),
        (good(&[3]), "it has 2 images but 1 labels"),
        (with_shape([2, 3071]), "has 6144 bytes, but a shape of 2 x 3071"),
        (with_shape([1 << 30, 1 << 30]), "but a shape of 1073741824 x 1073741824"),
        (with_shape([3072, 2]), "its images have 2 bytes, expected 3072"),
        (dictionary(PICKLERS[0], &["labels"], &[], [0, 3072], &[]), "it holds no images"),
        (array(b"\x89T", "f4"), "is of another element type"),
        (array(b"\x88T", "u1"), "is in column-major order"),
        (good(&[3, 10]), "record 1: label 10 is out of range, expected 0 to 9"),
        (good(&[-1, 3]), "record 0: label -1 is out of range"),
    ];
    for (bytes, fragment) in lies {
        let message = refusal(&bytes);
        assert!(message.contains(fragment), "`{fragment}` not in: {message}");
    }
}

/// `bytes` with the first `old` replaced.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[test]
fn a_batch_cut_at_any_length_is_refused() {
    for pickler in PICKLERS {
        let bytes = batch(pickler, &images()[..1], &[3]);
        for length in 0..bytes.len() {
            assert!(parse(&CIFAR10, &bytes[..length]).is_err(), "{pickler:?} cut at {length}");
        }
    }
}

#[test]
fn labels_out_of_range_are_left_out_if_that_is_allowed() {
    let bytes = batch(PICKLERS[3], &images(), &[3, 77]);
    let (mut records, mut damage) = (Records::default(), Damage::allowing(1));
    python::parse(&CIFAR10, Path::new("batch"), &bytes, &mut records, &mut damage).unwrap();
    assert_eq!((records.labels, records.pixels.len(), damage.count()), (vec![3], 3072, 1));
    assert!(damage.listed()[0].contains("record 1: label 77"), "{:?}", damage.listed());
}
