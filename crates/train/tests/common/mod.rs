//! A tiny data set and a tiny configuration.

use bidst_data::{Dataset, Splits};
use bidst_train::Config;
use bidst_train::config::Builder;

/// Pixels and labels from a linear congruential generator; the class brightens its own column.
fn images(name: &str, count: usize, mut seed: u32) -> Dataset {
    let (height, width, classes) = (8, 8, 4);
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let mut images = Vec::with_capacity(count * height * width);
    let labels: Vec<u16> = (0..count).map(|index| (index % classes) as u16).collect();
    for &label in &labels {
        for position in 0..height * width {
            let bright = position % width / 2 == usize::from(label);
            images.push(next() / 4 + if bright { 120 } else { 0 });
        }
    }
    Dataset {
        name: name.to_owned(),
        channels: 1,
        height,
        width,
        classes,
        images: images.into(),
        labels,
        mean: vec![0.25],
        std: vec![0.25],
    }
}

/// 75 training images (so that the last batch of 16 is a partial one) and 20 test images of 8x8 pixels.
pub fn splits() -> Splits {
    Splits { train: images("tiny train", 75, 1), test: images("tiny test", 20, 2) }
}

/// A small convolutional network, three epochs of five steps.
pub fn config(algorithm: &str, settings: &[&str]) -> Config {
    let base = ["model.width=0.25", "train.epochs=3", "train.batch_size=16", "run.threads=1", "data.augment=[]"];
    let builder = Builder::new().flag("--algorithm", "algorithm.name", algorithm);
    let builder = base.iter().chain(settings).fold(builder, |builder, setting| builder.set(setting));
    builder.finish().unwrap_or_else(|error| panic!("{error}"))
}
