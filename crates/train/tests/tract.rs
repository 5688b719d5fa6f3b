//! ONNX files, run by tract, give the logits that we give. (What tract does not look at – metadata, names, sparse
//! initialisers – is read back by `onnx`; onnxruntime and PyTorch are asked by `bench/verify_export.py`.)

mod models;

use bidst_train::export::{Format, Layout, ModelFile};
use models::{ZOO, model, noise, options};
use tract_onnx::prelude::*;

const IMAGES: usize = 256;
const TOLERANCE: f32 = 1e-4;
const LARGEST: f32 = 5.0;

/// `[IMAGES, channels, height, width]`, from -2 to below 2.
fn images(model: &ModelFile) -> (Vec<usize>, Vec<f32>) {
    let shape = [&[IMAGES][..], &model.about.input].concat();
    let values = (0..shape.iter().product()).map(|p| 2.0 * noise(4242, p)).collect();
    (shape, values)
}

/// Our logits, `[IMAGES, classes]`.
fn ours(model: &ModelFile, images: &[f32]) -> Vec<f32> {
    model.network(options(IMAGES)).unwrap().logits(images, IMAGES).unwrap()
}

fn largest(logits: &[f32]) -> f32 {
    logits.iter().fold(0.0, |largest, logit| largest.max(logit.abs()))
}

/// Scales the last layer so that logits are as large as those of trained networks: nobody trained these, and some reach thousands.
fn tame(model: &mut ModelFile, images: &[f32]) {
    let factor = LARGEST / largest(&ours(model, images));
    let weight = model.weights.last_mut().unwrap();
    let bias = model.vectors.get_mut(&weight.name.replace("weight", "bias")).unwrap();
    weight.values.iter_mut().chain(bias).for_each(|value| *value *= factor);
}

/// Logits of tract, `[IMAGES, classes]`.
fn theirs(file: &[u8], shape: &[usize], images: &[f32]) -> TractResult<Vec<f32>> {
    let network = tract_onnx::onnx().model_for_read(&mut &file[..])?;
    let network = network.with_input_fact(0, f32::fact(shape).into())?.into_optimized()?.into_runnable()?;
    let output = network.run(tvec!(Tensor::from_shape(shape, images)?.into()))?;
    Ok(output[0].to_plain_array_view::<f32>()?.iter().copied().collect())
}

#[test]
fn tract_gives_our_logits_for_every_network_of_the_zoo() {
    for (name, width, input) in ZOO {
        let mut model = model(name, width, input);
        let (shape, images) = images(&model);
        tame(&mut model, &images);
        let ours = ours(&model, &images);
        let file = model.export(Format::Onnx, Layout::Dense).unwrap();
        let theirs = theirs(&file, &shape, &images).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!((largest(&ours) / LARGEST - 1.0).abs() < 0.01 && theirs.len() == ours.len(), "{name}");
        let apart = ours.iter().zip(&theirs).fold(0.0, |apart: f32, (a, b)| apart.max((a - b).abs()));
        println!("{name}: {apart:.1e}");
        assert!(apart < TOLERANCE, "{name}: {apart} apart");
    }
}

#[test]
fn tract_refuses_a_sparse_layout_and_gives_no_wrong_answer() {
    let model = model("small-cnn", 0.25, [1, 12, 12]);
    let (shape, images) = images(&model);
    let file = model.export(Format::Onnx, Layout::Sparse).unwrap();
    assert!(theirs(&file, &shape, &images).is_err(), "tract reads sparse initialisers now: say so in docs/export.md");
}
