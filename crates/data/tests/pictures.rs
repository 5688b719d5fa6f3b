//! Folders of images: decoding, resizing, the cache, and what is damaged.
#![allow(missing_docs)]

mod support;

use bidst_data::picture::{self, PictureError};
use bidst_data::{Augment, Batch, DataError, Loader, LoaderOptions, OpenOptions, Pixels, open_with};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use support::jpeg::jpeg;
use support::{Folder, encoded, png, small_pictures};

#[test]
fn every_kind_of_png_becomes_rgb() {
    let rgb = picture::decode(&png(3, 2, |x, y| [x as u8, y as u8, 9])).unwrap();
    assert_eq!((rgb.height, rgb.width), (2, 3));
    assert_eq!(rgb.pixels, [0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 1, 9, 9, 9, 9, 9, 9]);
    let decode = |color, samples: &[u8]| picture::decode(&encoded(2, 1, color, samples)).unwrap().pixels;
    assert_eq!(decode(png::ColorType::Grayscale, &[7, 8]), [7, 8, 7, 8, 7, 8]);
    assert_eq!(decode(png::ColorType::GrayscaleAlpha, &[7, 0, 8, 255]), [7, 8, 7, 8, 7, 8]);
    assert_eq!(decode(png::ColorType::Rgba, &[1, 2, 3, 0, 4, 5, 6, 255]), [1, 4, 2, 5, 3, 6]);
}

#[test]
fn a_jpeg_becomes_rgb_and_a_grey_one_too() {
    let grey = picture::decode(&jpeg(17, 9, &[200])).unwrap();
    assert_eq!((grey.height, grey.width, grey.pixels), (9, 17, vec![200; 3 * 9 * 17]));
    let red = picture::decode(&jpeg(16, 16, &[76, 85, 255])).unwrap();
    let first = [0, 256, 512].map(|channel| red.pixels[channel]);
    assert!(first[0] > 250 && first[1] < 5 && first[2] < 5, "{first:?}");
}

#[test]
fn sizes_that_the_bytes_cannot_hold_are_refused_before_anything_is_allocated() {
    let claims = |width: u32, height: u32| {
        let mut bytes = png(2, 2, |_, _| [0; 3]);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        picture::decode(&bytes).unwrap_err()
    };
    assert!(matches!(claims(8000, 8000), PictureError::Claim { width: 8000, height: 8000, .. }));
    assert!(matches!(claims(16_385, 1), PictureError::Size { .. }));
    assert!(matches!(claims(16_384, 16_384), PictureError::Size { .. }));
    let mut wide = jpeg(16, 16, &[1]);
    let frame = wide.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    wide[frame + 5..frame + 9].copy_from_slice(&[0x1f, 0x40, 0x1f, 0x40]);
    assert!(matches!(picture::decode(&wide), Err(PictureError::Claim { width: 8000, .. })));
}

/// The checksum of a PNG chunk.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn a_picture_cut_at_any_length_is_refused() {
    for bytes in [png(5, 4, |x, y| [x as u8, y as u8, 3]), jpeg(24, 16, &[76, 85, 255])] {
        picture::decode(&bytes).unwrap();
        for length in 0..bytes.len() - 2 {
            assert!(picture::decode(&bytes[..length]).is_err(), "cut at {length} of {}", bytes.len());
        }
    }
}

#[test]
fn classes_are_numbered_by_name_and_images_keep_their_colours() {
    let folder = Folder::pictures();
    let splits = open_with("image-folder", &small_pictures(&folder)).unwrap().splits;
    assert_eq!((splits.train.labels.as_slice(), splits.test.labels.as_slice()), (&[0, 0, 1, 1][..], &[0, 1][..]));
    assert_eq!((splits.train.classes, splits.train.height, splits.test.width), (2, 8, 8));
    let ant = splits.train.image(0).unwrap();
    assert_eq!((&ant[..64], &ant[64..128], &ant[128..]), (&[200; 64][..], &[10; 64][..], &[20; 64][..]));
    assert_eq!(splits.test.image(1).unwrap()[128..], [250; 64]);
}

#[test]
fn pixels_stay_on_the_disk_and_the_cache_is_used_again() {
    let folder = Folder::pictures();
    let options = small_pictures(&folder);
    let first = open_with("image-folder", &options).unwrap().splits;
    let Pixels::File(cache) = &first.train.images else { panic!("in memory") };
    assert!(cache.memory() < 200, "{} bytes for 4 images", cache.memory());
    // 20x30 and 40x20 and the squares, with 10 as the shorter side.
    let written = fs::metadata(cache.path()).unwrap();
    assert_eq!(written.len(), 3 * (10 * 15 + 10 * 10 + 20 * 10 + 10 * 15) + 4 * 18 + 52);
    assert_eq!(open_with("image-folder", &options).unwrap().splits, first);
    assert_eq!(fs::metadata(cache.path()).unwrap().modified().unwrap(), written.modified().unwrap());
    let folder = folder.with("train/bee/4.png", &png(20, 20, |_, _| [1, 2, 3]));
    let more = open_with("image-folder", &small_pictures(&folder)).unwrap().splits;
    assert_eq!((more.train.len(), more.test), (5, first.test));
}

/// A resumed run compares it: counts and labels are the same after two files have changed places.
#[test]
fn the_digest_of_the_pixels_follows_the_files() {
    let folder = Folder::pictures();
    let digest =
        |folder: &Folder| open_with("image-folder", &small_pictures(folder)).unwrap().splits.train.images.digest();
    let first = digest(&folder);
    assert_eq!(digest(&folder), first);
    let folder = folder.with("train/bee/4.png", &png(20, 20, |_, _| [1, 2, 3]));
    let folder = folder.with("train/bee/5.png", &png(20, 20, |_, _| [3, 2, 1]));
    let two_more = digest(&folder);
    let folder = folder.with("train/bee/4.png", &png(20, 20, |_, _| [3, 2, 1]));
    let folder = folder.with("train/bee/5.png", &png(20, 20, |_, _| [1, 2, 3]));
    assert!(two_more != first && digest(&folder) != two_more);
}

#[test]
fn another_cache_folder_and_other_sizes_are_obeyed() {
    let (folder, elsewhere) = (Folder::pictures(), Folder::empty());
    let cache = elsewhere.join("deep/er");
    let options = OpenOptions { cache: Some(&cache), size: 6, resize: 6, ..small_pictures(&folder) };
    let splits = open_with("image-folder", &options).unwrap().splits;
    assert_eq!(splits.train.image(2).unwrap().len(), 3 * 36);
    assert!(!folder.join(".bidst-cache").exists());
    let mut names: Vec<_> = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["train-6.cache", "train-6.cache.lock", "val-6-6.cache", "val-6-6.cache.lock"]);
    for (size, resize) in [(0, 6), (7, 6), (8, 4096)] {
        let options = OpenOptions { size, resize, ..options };
        let message = open_with("image-folder", &options).unwrap_err().to_string();
        assert!(message.contains("use 1 <= size <= resize <= 2048"), "{message}");
    }
}

#[test]
fn a_damaged_cache_is_made_anew_or_refused_when_it_is_read() {
    let folder = Folder::pictures();
    let options = small_pictures(&folder);
    let splits = open_with("image-folder", &options).unwrap().splits;
    let Pixels::File(cache) = &splits.train.images else { panic!("in memory") };
    let path = cache.path().to_owned();
    let good = fs::read(&path).unwrap();
    // Anything at the end: index, list, footer.
    for at in good.len() - 52 - 4 * 18..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(open_with("image-folder", &options).unwrap().splits, splits, "byte {at}");
        assert_eq!(fs::read(&path).unwrap(), good, "byte {at}");
    }
    for length in [0, 1, 51, 52, 200, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        assert_eq!(open_with("image-folder", &options).unwrap().splits, splits, "cut at {length}");
    }
    let mut bytes = good.clone();
    bytes[3] ^= 0x10;
    fs::write(&path, &bytes).unwrap();
    let damaged = open_with("image-folder", &options).unwrap().splits;
    let error = damaged.train.image(0).unwrap_err();
    assert!(matches!(error, DataError::CacheDamaged { image: 0, .. }), "{error}");
    assert!(error.to_string().contains("remove it"), "{error}");
    damaged.train.image(1).unwrap();
}

/// A link of that name, shipped with the data, made it write over the file it led to.
#[cfg(unix)]
#[test]
fn what_a_killed_process_or_a_link_left_is_removed_and_never_written_to() {
    let folder = Folder::pictures().with("precious", b"mine").with(".bidst-cache/train-10.cache.partial-1", b"half");
    let link = format!(".bidst-cache/train-10.cache.partial-{}", std::process::id());
    std::os::unix::fs::symlink("../precious", folder.join(&link)).unwrap();
    let dangling = folder.join(".bidst-cache/train-10.cache.lock");
    std::os::unix::fs::symlink("../made", &dangling).unwrap();
    let message = open_with("image-folder", &small_pictures(&folder)).map(drop).unwrap_err().to_string();
    assert!(message.contains("train-10.cache") && !folder.join("made").exists(), "{message}");
    fs::remove_file(&dangling).unwrap();
    open_with("image-folder", &small_pictures(&folder)).unwrap();
    assert_eq!(fs::read(folder.join("precious")).unwrap(), b"mine");
    let left = fs::read_dir(folder.join(".bidst-cache")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Both wrote one file, at different places.
#[test]
fn two_that_open_a_folder_for_the_first_time_both_read_every_image() {
    let folder = Folder::pictures();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let train = open_with("image-folder", &small_pictures(&folder)).unwrap().splits.train;
                let Pixels::File(cache) = &train.images else { panic!("in memory") };
                assert_eq!(cache.len(), 4);
                (0..4).for_each(|index| drop(train.image(index).unwrap()));
            });
        }
    });
}

fn batches(folder: &Folder, options: LoaderOptions, epoch: u64) -> Vec<Batch> {
    let train = open_with("image-folder", &small_pictures(folder)).unwrap().splits.train;
    Loader::new(Arc::new(train), options).unwrap().epoch(epoch, 0).map(Result::unwrap).collect()
}

#[test]
fn resized_crops_have_the_same_bits_for_any_number_of_workers_and_differ_between_epochs() {
    let folder = Folder::pictures();
    let augment = Augment { resized_crop: true, flip: true, ..Augment::NONE };
    let options = LoaderOptions { batch_size: 3, seed: 5, augment, shuffle: true, workers: 0 };
    let first = batches(&folder, options, 0);
    assert_eq!(first.iter().map(|batch| batch.images.len()).sum::<usize>(), 4 * 3 * 64);
    assert_eq!(batches(&folder, LoaderOptions { workers: 1, ..options }, 0), first);
    assert_ne!(batches(&folder, options, 1), first);
}

#[test]
fn a_file_that_fails_during_an_epoch_ends_it_with_the_error() {
    let folder = Folder::pictures();
    let train = open_with("image-folder", &small_pictures(&folder)).unwrap().splits.train;
    let Pixels::File(cache) = &train.images else { panic!("in memory") };
    let path = cache.path().to_owned();
    for workers in [0, 2] {
        let options = LoaderOptions { batch_size: 1, seed: 0, augment: Augment::NONE, shuffle: false, workers };
        let loader = Loader::new(Arc::new(train.clone()), options).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(500).unwrap();
        let results: Vec<_> = loader.epoch(0, 0).collect();
        assert!(results.len() == 2 && results[0].is_ok(), "{} results", results.len());
        assert!(matches!(results[1], Err(DataError::CacheDamaged { image: 1, .. })));
    }
}

#[test]
fn damaged_pictures_are_counted_listed_and_left_out_as_far_as_allowed() {
    for damaged in [1, 10, 12] {
        let folder = (0..12).fold(Folder::empty(), |folder, number| {
            let good = png(12, 12, |_, _| [number, 0, 0]);
            let bytes = if usize::from(number) < damaged { &good[..good.len() / 2] } else { &good };
            folder.with(&format!("train/ant/{number:02}.png"), bytes)
        });
        let folder = folder.with("val/ant/1.png", &png(12, 12, |_, _| [1; 3]));
        let open = |skip_bad| open_with("image-folder", &OpenOptions { skip_bad, ..small_pictures(&folder) });
        assert!(matches!(open(0), Err(DataError::Picture { .. })), "{damaged}");
        if damaged > 1 {
            let message = open(damaged - 1).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{damaged} damaged records or files")), "{message}");
            assert!(message.contains("ant") && message.contains("00.png"), "{message}");
        }
        if damaged == 12 {
            assert!(matches!(open(12), Err(DataError::Inconsistent { .. })));
            continue;
        }
        // Once from the files, once from the cache.
        for _ in 0..2 {
            let opened = open(damaged).unwrap();
            assert_eq!((opened.splits.train.len(), opened.skipped.count()), (12 - damaged, damaged));
            assert!(opened.skipped.listed()[0].contains("00.png"), "{:?}", opened.skipped.listed());
        }
        assert!(open(damaged - 1).is_err(), "the cache forgot what was damaged");
    }
}

#[test]
fn a_layout_that_is_not_that_of_imagenet_is_refused_with_the_folder() {
    let refused = |folder: Folder, fragment: &str| {
        let message = open_with("image-folder", &small_pictures(&folder)).unwrap_err().to_string();
        assert!(message.contains(fragment), "`{fragment}` not in: {message}");
    };
    let one = png(4, 4, |_, _| [0; 3]);
    refused(Folder::empty().with("train/ant/1.png", &one), "cannot find val of data set `image-folder`");
    refused(Folder::pictures().with("val/cat/1.png", &one), "cat is a class that `train` does not have");
    refused(Folder::pictures().with("train/cat/1.txt", &one), "cat is the folder of a class, but holds no .jpg");
    refused(Folder::empty().with("train/a.png", &one).with("val/a.png", &one), "train holds 0 folders");
    refused(Folder::empty().with("train/a/1.png", &one).with("val/a.png", &one), "val holds 0 .jpg, .jpeg and .png");
    refused(Folder::pictures().with("train/ant/a\nb.png", b"GIF89a"), "a\\nb.png: it begins neither as a JPEG");
    refused(Folder::pictures().with("train/ant/0.png", &[]), "0.png is empty");
    let folder = Folder::pictures().with("read-only", b"a file");
    let cache = folder.join("read-only");
    let options = OpenOptions { cache: Some(&cache), ..small_pictures(&folder) };
    let message = open_with("image-folder", &options).unwrap_err().to_string();
    assert!(message.contains("choose another folder with data.cache") || message.contains("cannot read"), "{message}");
    assert!(!Path::new(&cache).is_dir());
}
