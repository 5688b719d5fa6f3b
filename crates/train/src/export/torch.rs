//! A dense state for PyTorch: names of its `state_dict`, and the modules that fit them.
//!
//! The file is a safetensors container with every tensor dense, and `torch` as the one entry of its metadata: a JSON object
//! with the fields of [`About`] and `layers`, a list of `[name, module, arguments, inputs]`. `module` is a class of
//! `torch.nn` and `arguments` are those of its constructor; or it is `add`. The last layer gives the logits.

use bidst_model::Op;
use serde::Serialize;
use serde_json::{Value, json};

use super::format::fits;
use super::layers::{Action, Layer, layers};
use super::read::MAX_BYTES;
use super::{About, ModelFile, Weight};
use crate::error::ModelFileError;
use crate::tensors::TensorWriter;

/// Entry of the metadata.
pub(crate) const METADATA_KEY: &str = "torch";

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(flatten)]
    about: &'a About,
    layers: Vec<(String, &'static str, Value, Vec<String>)>,
}

/// PyTorch's name of a tensor or layer: torchvision's, where it has the network. Only projections of shortcuts have
/// another one than ours.
pub(crate) fn name(ours: &str) -> String {
    ours.replace(".downsample.conv", ".downsample.0").replace(".downsample.bn", ".downsample.1")
}

/// The file.
///
/// # Errors
/// [`ModelFileError::TooLarge`]; if the container refuses the tensors.
pub(super) fn bytes(model: &ModelFile) -> Result<Vec<u8>, ModelFileError> {
    fits(model.dense_bytes(), MAX_BYTES)?;
    let dense: Vec<_> = model.weights.iter().map(Weight::dense).collect();
    let mut writer = TensorWriter::default();
    for (weight, values) in model.weights.iter().zip(&dense) {
        writer.add(name(&weight.name), &weight.shape, values);
    }
    for (vector, values) in &model.vectors {
        writer.add(name(vector), &[values.len()], values);
    }
    let about = &About { sparse: Default::default(), ..model.about.clone() };
    let layers = layers(&model.graph).iter().map(module).collect();
    writer.finish_under(METADATA_KEY, &serde_json::to_string(&Metadata { about, layers })?)
}

/// Name, module, arguments and inputs of a layer.
fn module(layer: &Layer<'_>) -> (String, &'static str, Value, Vec<String>) {
    let channels = layer.from.channels;
    let pool = |kernel: &[usize; 2], stride: &[usize; 2], padding: &[usize; 2]| json!({ "kernel_size": kernel, "stride": stride, "padding": padding });
    let (module, arguments) = match layer.action {
        Action::Flatten => ("Flatten", json!({})),
        Action::Unflatten => ("Unflatten", json!({ "dim": 1, "unflattened_size": [channels, 1, 1] })),
        Action::Node(op) => match op {
            Op::Conv { out_channels, kernel, stride, padding, groups, bias } => (
                "Conv2d",
                json!({
                    "in_channels": channels, "out_channels": out_channels, "kernel_size": kernel,
                    "stride": stride, "padding": padding, "groups": groups, "bias": bias,
                }),
            ),
            Op::BatchNormalization { epsilon, momentum } => {
                let arguments =
                    json!({ "num_features": channels, "eps": decimal(*epsilon), "momentum": decimal(*momentum) });
                (if layer.image { "BatchNorm2d" } else { "BatchNorm1d" }, arguments)
            }
            Op::Relu => ("ReLU", json!({})),
            Op::Clip { max } => ("Hardtanh", json!({ "min_val": 0.0, "max_val": decimal(*max) })),
            Op::MaxPool { kernel, stride, padding } => ("MaxPool2d", pool(kernel, stride, padding)),
            Op::AveragePool { kernel, stride, padding } => ("AvgPool2d", pool(kernel, stride, padding)),
            Op::GlobalAveragePool => ("AdaptiveAvgPool2d", json!({ "output_size": 1 })),
            Op::Gemm { out_features, bias } => {
                ("Linear", json!({ "in_features": channels, "out_features": out_features, "bias": bias }))
            }
            Op::Input | Op::Add | Op::Flatten => ("add", json!({})),
        },
    };
    (name(&layer.name), module, arguments, layer.inputs.iter().map(|input| name(input)).collect())
}

/// The shortest decimal number that is this float: 1e-5, not 9.99999974737875e-6.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortcuts_are_called_as_in_torchvision() {
        assert_eq!(name("layer2.0.downsample.conv.weight"), "layer2.0.downsample.0.weight");
        assert_eq!(name("layer2.0.downsample.bn.running_var"), "layer2.0.downsample.1.running_var");
        assert_eq!(name("layer2.0.conv1.weight"), "layer2.0.conv1.weight");
    }

    #[test]
    fn decimals_are_written_as_people_wrote_them() {
        assert_eq!((decimal(1e-5), decimal(0.1), decimal(6.0)), (1e-5, 0.1, 6.0));
    }
}
