//! The laws of the loader: the same bits however they are prepared, from any batch on, and no thread left behind.
#![allow(missing_docs)]

use bidst_data::{Augment, Batch, DataError, Dataset, Loader, LoaderOptions};
use std::sync::Arc;

const CROP_AND_FLIP: Augment = Augment { crop_padding: 2, flip: true, resized_crop: false };

/// 53 images of 2x5x6 with the label `index % 7`; the first pixel is the index.
fn dataset() -> Arc<Dataset> {
    let image =
        |index: u32| (0..60u32).map(move |pixel| if pixel == 0 { index as u8 } else { (index * 31 + pixel * 7) as u8 });
    Arc::new(Dataset {
        name: "numbers".into(),
        channels: 2,
        height: 5,
        width: 6,
        classes: 7,
        images: (0..53).flat_map(image).collect::<Vec<u8>>().into(),
        labels: (0..53).map(|index| index % 7).collect(),
        mean: vec![0.4, 0.6],
        std: vec![0.2, 0.3],
    })
}

fn options() -> LoaderOptions {
    LoaderOptions { batch_size: 8, seed: 11, augment: CROP_AND_FLIP, shuffle: true, workers: 0 }
}

fn loader(options: LoaderOptions) -> Loader {
    Loader::new(dataset(), options).unwrap()
}

fn epoch(options: LoaderOptions, epoch: u64, first_batch: usize) -> Vec<Batch> {
    loader(options).epoch(epoch, first_batch).map(Result::unwrap).collect()
}

fn bits(batches: &[Batch]) -> Vec<u32> {
    batches.iter().flat_map(|batch| &batch.images).map(|value| value.to_bits()).collect()
}

#[test]
fn any_number_of_workers_gives_the_same_bits() {
    let expected = epoch(options(), 3, 0);
    for workers in [1, 2, 4, 100] {
        let batches = epoch(LoaderOptions { workers, ..options() }, 3, 0);
        assert_eq!(batches, expected, "{workers} workers");
        assert_eq!(bits(&batches), bits(&expected));
    }
}

#[test]
fn an_epoch_may_go_on_at_any_batch() {
    for workers in [0, 2] {
        let options = LoaderOptions { workers, ..options() };
        let whole = epoch(options, 1, 0);
        for first in 0..=8 {
            assert_eq!(epoch(options, 1, first), whole[first.min(7)..], "from {first}, {workers} workers");
        }
        assert!(epoch(options, 1, usize::MAX).is_empty());
    }
}

#[test]
fn the_last_batch_holds_what_is_left() {
    let loader = loader(options());
    let counts: Vec<usize> = loader.epoch(0, 0).map(|batch| batch.unwrap().count).collect();
    assert_eq!((counts, loader.batches_per_epoch()), (vec![8, 8, 8, 8, 8, 8, 5], 7));
    for batch in loader.epoch(0, 0).map(Result::unwrap) {
        assert_eq!((batch.images.len(), batch.labels.len()), (batch.count * 60, batch.count));
    }
    let whole = epoch(LoaderOptions { batch_size: usize::MAX, ..options() }, 0, 0);
    assert_eq!(whole.iter().map(|batch| batch.count).collect::<Vec<_>>(), [53]);
    assert_eq!(bits(&whole), bits(&epoch(options(), 0, 0)));
}

#[test]
fn an_epoch_shows_every_image_once_in_an_order_of_its_own() {
    let options = LoaderOptions { augment: Augment::NONE, ..options() };
    let indices = |number, seed| -> Vec<u8> {
        let batches = epoch(LoaderOptions { seed, ..options }, number, 0);
        let firsts = batches.iter().flat_map(|batch| batch.images.iter().step_by(60));
        firsts.map(|value| ((value * 0.2 + 0.4) * 255.0).round() as u8).collect()
    };
    let order = indices(0, 11);
    assert_ne!(order, indices(1, 11));
    assert_ne!(order, indices(0, 12));
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..53));
    let labels: Vec<u32> = epoch(options, 0, 0).into_iter().flat_map(|batch| batch.labels).collect();
    assert!(labels.into_iter().eq(order.into_iter().map(|index| u32::from(index % 7))));
}

#[test]
fn without_shuffling_the_order_is_that_of_the_data_set() {
    let options = LoaderOptions { shuffle: false, augment: Augment::NONE, ..options() };
    assert_eq!(epoch(options, 0, 0), epoch(options, 5, 0));
    let dataset = dataset();
    let expected: Vec<u32> = dataset.labels.iter().map(|&label| u32::from(label)).collect();
    let batches = epoch(options, 0, 0);
    assert_eq!(batches.iter().flat_map(|batch| batch.labels.clone()).collect::<Vec<_>>(), expected);
    let value = (f32::from(dataset.image(9).unwrap()[31]) / 255.0 - 0.6) / 0.3;
    assert_eq!(batches[1].images[60 + 31].to_bits(), value.to_bits());
}

#[test]
fn augmentation_follows_the_image_and_not_its_place_in_the_order() {
    let of_image = |shuffle| {
        let batches = epoch(
            LoaderOptions { shuffle, batch_size: 1, augment: Augment { flip: true, ..Augment::NONE }, ..options() },
            2,
            0,
        );
        let mut images: Vec<Vec<u32>> = batches.iter().map(|batch| bits(std::slice::from_ref(batch))).collect();
        images.sort();
        images
    };
    assert_eq!(of_image(true), of_image(false));
}

#[test]
fn dropping_an_epoch_early_ends_its_worker() {
    let data = dataset();
    for taken in 0..4 {
        for workers in [1, 4] {
            let loader = Loader::new(data.clone(), LoaderOptions { workers, ..options() }).unwrap();
            let mut batches = loader.epoch(0, 0);
            assert_eq!(batches.by_ref().take(taken).count(), taken);
            assert_eq!(batches.len(), 7 - taken);
            drop(batches);
            drop(loader);
            assert_eq!(Arc::strong_count(&data), 1, "a worker still holds the data set");
        }
    }
}

#[test]
fn recycled_batches_change_nothing() {
    for workers in [0, 3] {
        let loader = loader(LoaderOptions { workers, ..options() });
        for number in 0..3 {
            let mut batches = Vec::new();
            for batch in loader.epoch(number, 0).map(Result::unwrap) {
                batches.push(batch.clone());
                loader.recycle(batch);
            }
            assert_eq!(batches, epoch(options(), number, 0));
        }
    }
}

#[test]
fn impossible_options_are_refused() {
    let refused = |options| Loader::new(dataset(), options).err().map(|error| error.to_string()).unwrap();
    assert_eq!(refused(LoaderOptions { batch_size: 0, ..options() }), "the batch size is 0: use 1 or more");
    for crop_padding in [5, usize::MAX] {
        let message = refused(LoaderOptions { augment: Augment { crop_padding, ..Augment::NONE }, ..options() });
        assert!(message.contains("too large for images of 5x6"), "{message}");
    }
    let broken = Dataset { classes: 6, ..(*dataset()).clone() };
    assert!(matches!(Loader::new(Arc::new(broken), options()), Err(DataError::Inconsistent { .. })));
}
