//! Memory beyond activations follows the number of non-zeros.

use bidst_data::{Dataset, Splits};
use bidst_train::Trainer;
use bidst_train::config::Builder;

fn cifar_like() -> Dataset {
    Dataset {
        name: "grey".to_owned(),
        channels: 3,
        height: 32,
        width: 32,
        classes: 10,
        images: vec![128; 16 * 3 * 32 * 32].into(),
        labels: (0..16).map(|index| index % 10).collect(),
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    }
}

/// Non-zeros and bytes beyond activations of the widened ResNet-32 of the literature, after one step.
fn resnet32_w2(sparsity: &str) -> (usize, usize) {
    let settings = ["model.name=resnet32", "model.width=2.0", "train.batch_size=16", "sparsity.distribution=uniform"];
    let builder =
        Builder::new().flag("--algorithm", "algorithm.name", "static").set(&format!("sparsity.level={sparsity}"));
    let config = settings.iter().fold(builder, |builder, setting| builder.set(setting)).finish().unwrap();
    let mut trainer = Trainer::new(config, Splits { train: cifar_like(), test: cifar_like() }).unwrap();
    trainer.epoch(&mut |_: bidst_train::Event<'_>| Ok(())).unwrap();
    (trainer.totals().nonzeros, trainer.network().memory().parameter_bytes())
}

#[test]
fn memory_beyond_activations_of_the_widened_resnet32_follows_the_nonzeros() {
    let (nonzeros_90, bytes_90) = resnet32_w2("0.9");
    let (nonzeros_98, bytes_98) = resnet32_w2("0.98");
    assert!(nonzeros_90.abs_diff(184_320 + 12_384) < 30 && nonzeros_98.abs_diff(36_864 + 12_384) < 30);
    let (per_90, per_98) = (bytes_90 as f64 / nonzeros_90 as f64, bytes_98 as f64 / nonzeros_98 as f64);
    assert!((per_98 / per_90 - 1.0).abs() < 0.1, "{per_90:.1} and {per_98:.1} bytes per non-zero");
    assert!(per_90 < 48.0 && per_98 < 48.0, "{per_90:.1} and {per_98:.1} bytes per non-zero");
}
