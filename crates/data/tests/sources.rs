//! Good files, wherever their archives put them.
#![allow(missing_docs)]

mod support;

use bidst_data::{Dataset, Pixels, list, open, open_with};
use support::{
    Folder, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, gzip, idx, images, record, small_pictures,
};

fn per_class(dataset: &Dataset) -> Vec<usize> {
    (0..dataset.classes)
        .map(|class| dataset.labels.iter().filter(|&&label| usize::from(label) == class).count())
        .collect()
}

#[test]
fn fashion_mini_is_embedded_and_balanced() {
    let splits = open("fashion-mini", None).unwrap();
    assert_eq!(per_class(&splits.train), [1000; 10]);
    assert_eq!(per_class(&splits.test), [200; 10]);
    assert_eq!(splits.train.labels[..10], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]);
    assert_eq!(splits, open("fashion-mini", Some("/nowhere".as_ref())).unwrap());
}

#[test]
fn fashion_mini_has_the_mean_and_deviation_of_the_whole() {
    let train = open("fashion-mini", None).unwrap().train;
    let Pixels::Memory(images) = &train.images else { panic!("not in memory") };
    let pixels = || images.iter().map(|&pixel| f64::from(pixel) / 255.0);
    let mean = pixels().sum::<f64>() / images.len() as f64;
    let variance = pixels().map(|pixel| (pixel - mean).powi(2)).sum::<f64>() / images.len() as f64;
    assert!((mean - f64::from(train.mean[0])).abs() < 0.003, "{mean}");
    assert!((variance.sqrt() - f64::from(train.std[0])).abs() < 0.003, "{}", variance.sqrt());
}

#[test]
fn fashion_mnist_is_read_plain_gzipped_and_from_sub_folders() {
    let plain = open("fashion-mnist", Some(Folder::fashion().path())).unwrap();
    assert_eq!(plain.train.labels, [9, 0, 4]);
    assert_eq!(*plain.test.image(1).unwrap(), images(2)[16 + 784..]);
    for sub_folder in ["", "fashion-mnist/", "FashionMNIST/raw/"] {
        let folder = Folder::empty()
            .with(&format!("{sub_folder}{TRAIN_IMAGES}.gz"), &gzip(&images(3)))
            .with(&format!("{sub_folder}{TRAIN_LABELS}"), &idx(&[3], &[9, 0, 4]))
            .with(&format!("{sub_folder}{TEST_IMAGES}.gz"), &gzip(&images(2)))
            .with(&format!("{sub_folder}{TEST_LABELS}.gz"), &gzip(&idx(&[2], &[1, 2])));
        assert_eq!(open("fashion-mnist", Some(folder.path())).unwrap(), plain);
    }
}

#[test]
fn cifar10_is_its_five_batches_in_order() {
    let folder = Folder::cifar10();
    let splits = open("cifar10", Some(folder.path())).unwrap();
    assert_eq!(splits.train.labels, [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
    assert_eq!(*splits.train.image(6).unwrap(), [4; 3072]);
    assert_eq!(
        (splits.test.labels.as_slice(), &*splits.test.image(0).unwrap()),
        ([7].as_slice(), [200; 3072].as_slice())
    );
    assert_eq!((splits.train.classes, splits.train.mean[0], splits.train.std[2]), (10, 0.4914, 0.2010));
}

#[test]
fn cifar100_uses_the_fine_labels_and_may_be_in_its_sub_folder() {
    let folder = Folder::empty()
        .with("cifar-100-binary/train.bin", &[record(&[0, 99], 1), record(&[19, 0], 2)].concat())
        .with("cifar-100-binary/test.bin", &record(&[1, 42], 4));
    let splits = open("cifar100", Some(folder.path())).unwrap();
    assert_eq!((splits.train.labels.as_slice(), splits.test.labels.as_slice()), ([99, 0].as_slice(), [42].as_slice()));
    assert_eq!((splits.train.classes, &*splits.train.image(1).unwrap()), (100, [2; 3072].as_slice()));
}

#[test]
fn what_the_list_says_of_a_source_is_true() {
    let folders = [
        Folder::empty(),
        Folder::fashion(),
        Folder::fashion(),
        Folder::cifar10(),
        Folder::cifar100(),
        Folder::pictures(),
    ];
    assert_eq!(list().len(), folders.len());
    for (source, folder) in list().iter().zip(&folders) {
        let opened = open_with(source.name, &small_pictures(folder)).unwrap();
        assert_eq!(opened.layout.is_some(), source.needs_dir());
        for dataset in [&opened.splits.train, &opened.splits.test] {
            let shape = [dataset.channels, dataset.height, dataset.width];
            assert_eq!(source.image.unwrap_or(shape), shape);
            assert_eq!(source.classes.unwrap_or(dataset.classes), dataset.classes);
            assert!(dataset.name.starts_with(source.name));
        }
    }
}
