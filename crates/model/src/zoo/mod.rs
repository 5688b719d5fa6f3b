//! The networks that can be asked for by name. Add one with a file of its own and a line in [`list`].

mod mlp;
mod mobilenet_v2;
mod residual;
mod resnet;
mod resnet_cifar;
mod small_cnn;
mod vgg;

use crate::{Graph, ModelError, Shape};

/// One network of the zoo.
pub struct Entry {
    /// What it is asked for by.
    pub name: &'static str,
    /// One line for lists and help.
    pub summary: &'static str,
    /// Image shape of the data that it is usually trained on.
    pub input: Shape,
    /// Builds it. Prefer [`build`], which also checks the options.
    pub build: fn(&Options) -> Result<Graph, ModelError>,
}

/// What can be chosen about a network of the zoo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Factor on the number of channels of every hidden layer (but the last of `mobilenet-v2`); each is rounded, and at
    /// least 1.
    pub width: f64,
    /// Number of logits, at least 2.
    pub classes: usize,
    /// Shape of one image.
    pub input: Shape,
}

impl Options {
    /// `channels` times the width factor.
    fn scaled(&self, channels: usize) -> usize {
        ((channels as f64 * self.width).round() as usize).max(1)
    }
}

const GREY_28: Shape = Shape::new(1, 28, 28);
const COLOUR_32: Shape = Shape::new(3, 32, 32);
const COLOUR_224: Shape = Shape::new(3, 224, 224);

/// All networks, in the order in which help shows them.
pub fn list() -> &'static [Entry] {
    &[
        Entry {
            name: "small-cnn",
            summary: "four 3x3 convolutions for 28x28 grey images; trains in minutes on one core",
            input: GREY_28,
            build: small_cnn::build,
        },
        Entry {
            name: "mlp",
            summary: "multilayer perceptron with hidden layers of 512 and 256",
            input: GREY_28,
            build: mlp::build,
        },
        Entry {
            name: "resnet20",
            summary: "CIFAR ResNet with 3 blocks per stage",
            input: COLOUR_32,
            build: |options| resnet_cifar::build("resnet20", 3, options),
        },
        Entry {
            name: "resnet32",
            summary: "CIFAR ResNet with 5 blocks per stage; width 2 is the literature's benchmark",
            input: COLOUR_32,
            build: |options| resnet_cifar::build("resnet32", 5, options),
        },
        Entry {
            name: "resnet56",
            summary: "CIFAR ResNet with 9 blocks per stage",
            input: COLOUR_32,
            build: |options| resnet_cifar::build("resnet56", 9, options),
        },
        Entry {
            name: "vgg19",
            summary: "VGG with 16 convolutions, batch normalisation and one fully connected layer",
            input: COLOUR_32,
            build: vgg::build,
        },
        Entry {
            name: "mobilenet-v2",
            summary: "inverted residuals with depthwise convolutions, strides as is usual for 32x32 images",
            input: COLOUR_32,
            build: mobilenet_v2::build,
        },
        Entry {
            name: "resnet34",
            summary: "ImageNet ResNet with basic blocks",
            input: COLOUR_224,
            build: |options| resnet::build("resnet34", residual::basic, options),
        },
        Entry {
            name: "resnet50",
            summary: "ImageNet ResNet with bottleneck blocks, stride in the 3x3 convolution",
            input: COLOUR_224,
            build: |options| resnet::build("resnet50", residual::bottleneck, options),
        },
    ]
}

/// Builds the network `name`.
///
/// # Errors
///
/// An unknown name, a width that is not positive, fewer than 2 classes, or images too small for the network.
pub fn build(name: &str, options: &Options) -> Result<Graph, ModelError> {
    let entry = list().iter().find(|entry| entry.name == name).ok_or_else(|| unknown(name))?;
    let Options { width, classes, .. } = *options;
    let model = entry.name;
    if !(width > 0.0 && width.is_finite()) {
        return Err(ModelError::Width { model, width });
    }
    if classes < 2 {
        return Err(ModelError::Classes { model, classes });
    }
    (entry.build)(options)
}

fn unknown(name: &str) -> ModelError {
    let names = || list().iter().map(|entry| entry.name);
    let nearest = names().min_by_key(|known| strsim::levenshtein(name, known)).unwrap_or_default();
    ModelError::UnknownModel { name: name.into(), nearest, known: names().collect::<Vec<_>>().join(", ") }
}
