//! What `bidst data check` and `stats` are told.
#![allow(missing_docs)]

mod support;

use bidst_data::{DataError, OpenOptions, open_with, survey};
use std::fs;
use support::{Folder, TRAIN_IMAGES, TRAIN_LABELS, idx, images, record, small_pictures};

#[test]
fn every_layout_is_recognised_by_its_files() {
    let cases = [
        (Folder::fashion(), "IDX", vec!["fashion-mnist", "mnist"], [3, 2]),
        (Folder::cifar10(), "binary", vec!["cifar10"], [10, 1]),
        (Folder::cifar100(), "binary", vec!["cifar100"], [3, 1]),
        (Folder::pictures(), "image folder", vec!["image-folder"], [4, 2]),
    ];
    for (folder, layout, sources, counts) in cases {
        let found = survey(folder.path(), &small_pictures(&folder)).unwrap();
        assert_eq!((found.layout, &found.sources, found.damage.count()), (layout, &sources, 0));
        assert_eq!([found.splits[0].images(), found.splits[1].images()], counts, "{sources:?}");
        assert_eq!(found.splits[0].classes.len(), found.splits[0].per_class.len());
    }
    assert!(!Folder::pictures().join(".bidst-cache").exists(), "a survey writes nothing");
}

#[test]
fn a_folder_of_something_else_is_answered_with_what_is_known() {
    let message = survey(Folder::empty().with("a.csv", b"1").path(), &OpenOptions::default()).unwrap_err().to_string();
    for part in ["holds no data set that is known", "IDX (train-images", "Python batches (train, test)", "(train, val)"]
    {
        assert!(message.contains(part), "`{part}` not in: {message}");
    }
    let absent = survey(&Folder::empty().join("absent"), &OpenOptions::default());
    assert!(matches!(absent, Err(DataError::NotADirectory { .. })));
}

#[test]
fn mean_and_deviation_are_those_of_the_pixels() {
    let folder = Folder::empty()
        .with("train.bin", &[record(&[0, 1], 0), record(&[0, 1], 255)].concat())
        .with("test.bin", &record(&[1, 42], 51));
    let splits = survey(folder.path(), &OpenOptions::default()).unwrap().splits;
    assert_eq!((&splits[0].mean, &splits[0].std), (&vec![0.5; 3], &vec![0.5; 3]));
    assert_eq!((&splits[1].mean, &splits[1].std), (&vec![0.2; 3], &vec![0.0; 3]));
    assert_eq!(splits[0].per_class[1], 2);
    let pictures = Folder::pictures();
    let splits = survey(pictures.path(), &small_pictures(&pictures)).unwrap().splits;
    let red = splits[1].mean[0];
    assert!((red - (200.0 / 255.0 + 11.5 / 255.0) / 2.0).abs() < 0.01, "{red}");
}

#[test]
fn all_damage_is_found_at_once_in_every_layout() {
    for damaged in [1, 10, 12] {
        let labels: Vec<u8> = (0..12).map(|index| if index < damaged { 200 } else { 1 }).collect();
        let records = |extra: u8| labels.iter().flat_map(|&label| record(&[label + extra], 1)).collect::<Vec<u8>>();
        let ten =
            Folder::cifar10().with("data_batch_3.bin", &records(0)).with("test_batch.bin", &records(1)[..3073 * 12]);
        let hundred: Vec<u8> = labels.iter().flat_map(|&label| record(&[0, label], 1)).collect();
        let hundred = Folder::cifar100().with("train.bin", &hundred);
        let fashion = Folder::fashion().with(TRAIN_IMAGES, &images(12)).with(TRAIN_LABELS, &idx(&[12], &labels));
        for (folder, source, expected) in
            [(ten, "cifar10", 2 * damaged), (hundred, "cifar100", damaged), (fashion, "fashion-mnist", damaged)]
        {
            let found = survey(folder.path(), &OpenOptions::default()).unwrap();
            assert_eq!(found.damage.count(), expected, "{source}");
            assert!(found.damage.listed().iter().all(|line| line.contains("is out of range")), "{source}");
            let open = |skip_bad| {
                let dir = Some(folder.path());
                open_with(source, &OpenOptions { dir, skip_bad, ..OpenOptions::default() })
            };
            assert!(open(expected - 1).is_err(), "{source}");
            // Where every record of a split is damaged, nothing is left to open.
            if damaged < 12 {
                assert_eq!(open(expected).unwrap().skipped.count(), expected, "{source}");
            }
        }
    }
}

#[test]
fn files_of_which_nothing_can_be_used_do_not_end_a_survey() {
    let folder = Folder::cifar10().with("data_batch_2.bin", &[]).with("data_batch_4.bin", &record(&[1], 0)[..99]);
    fs::remove_file(folder.join("test_batch.bin")).unwrap();
    fs::create_dir(folder.join("test_batch.bin")).unwrap();
    // With a folder in place of a file it is no longer the binary layout.
    assert!(matches!(survey(folder.path(), &OpenOptions::default()), Err(DataError::NotRecognised { .. })));
    fs::remove_dir(folder.join("test_batch.bin")).unwrap();
    let folder = folder.with("test_batch.bin", b"x");
    let found = survey(folder.path(), &OpenOptions::default()).unwrap();
    assert_eq!((found.damage.count(), found.splits[0].images(), found.splits[1].images()), (3, 6, 0));
    let fashion = Folder::fashion().with(TRAIN_IMAGES, b"no idx file");
    let found = survey(fashion.path(), &OpenOptions::default()).unwrap();
    assert_eq!((found.damage.count(), found.splits[0].images(), found.splits[1].images()), (1, 0, 2));
}

#[test]
fn damaged_and_empty_classes_of_pictures_are_listed_with_their_paths() {
    let folder = Folder::pictures().with("train/bee/0.jpg", b"\xff\xd8\xff\xe0").with("train/cat/1.txt", b"");
    let found = survey(folder.path(), &small_pictures(&folder)).unwrap();
    assert_eq!((found.damage.count(), found.splits[0].images(), found.splits[0].classes.len()), (2, 4, 3));
    let listed = found.damage.listed().join("\n");
    assert!(listed.contains("0.jpg") && listed.contains("cat"), "{listed}");
}
