//! Shapes of activations and how operations change them.

use std::fmt;

use crate::{ModelError, Op};

/// A stride up to this may be larger than the padded input: ResNet's 1x1 shortcuts have 2 on planes of one pixel too, to
/// which small images shrink.
const USUAL_STRIDE: usize = 4;

/// Shape of the activations of one image, `channels x height x width`, row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Feature maps.
    pub channels: usize,
    /// Rows of a feature map.
    pub height: usize,
    /// Columns of a feature map.
    pub width: usize,
}

impl Shape {
    /// The shape `channels x height x width`.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// A vector: `features x 1 x 1`.
    pub const fn flat(features: usize) -> Self {
        Self::new(features, 1, 1)
    }

    /// Number of values.
    pub const fn len(self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether some side is 0; no shape of a [`Graph`](crate::Graph) is.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether height and width are 1.
    pub const fn is_flat(self) -> bool {
        self.height == 1 && self.width == 1
    }

    fn sides(self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Output shape of `op` on inputs of the shapes `inputs`, as many as [`arity`] says.
pub(crate) fn infer(name: &str, op: &Op, inputs: &[Shape]) -> Result<Shape, ModelError> {
    let shape = match *op {
        Op::Input => return Err(ModelError::SecondInput { node: name.into() }),
        Op::Conv { out_channels, kernel, stride, padding, groups, .. } => {
            positive(name, "out_channels", out_channels)?;
            check_groups(name, groups, inputs[0].channels, out_channels)?;
            let [height, width] = windows(name, inputs[0], kernel, stride, padding)?;
            Shape::new(out_channels, height, width)
        }
        Op::MaxPool { kernel, stride, padding } | Op::AveragePool { kernel, stride, padding } => {
            let [height, width] = windows(name, inputs[0], kernel, stride, padding)?;
            check_pool_padding(name, kernel, padding)?;
            Shape::new(inputs[0].channels, height, width)
        }
        Op::BatchNormalization { epsilon, momentum } => {
            check_batch_normalization(name, epsilon, momentum)?;
            inputs[0]
        }
        Op::Relu => inputs[0],
        Op::Clip { max } => check_clip(name, max).map(|()| inputs[0])?,
        Op::Add => same_shape(name, inputs[0], inputs[1])?,
        Op::GlobalAveragePool => Shape::flat(inputs[0].channels),
        Op::Flatten => Shape::flat(inputs[0].len()),
        Op::Gemm { out_features, .. } => {
            positive(name, "out_features", out_features)?;
            flat_input(name, inputs[0])?;
            Shape::flat(out_features)
        }
    };
    check_size(name, "output", &shape.sides())?;
    if let Some(weight) = op.weight_shape(inputs[0]) {
        check_size(name, "weight", &weight)?;
    }
    Ok(shape)
}

/// Number of inputs of `op`.
pub(crate) fn arity(op: &Op) -> usize {
    match op {
        Op::Input => 0,
        Op::Add => 2,
        _ => 1,
    }
}

/// Checks that a tensor has at most `u32::MAX` values, so that flat indices fit in 32 bits.
pub(crate) fn check_size(node: &str, tensor: &'static str, sides: &[usize]) -> Result<(), ModelError> {
    let len = sides.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
    match len {
        Some(len) if u32::try_from(len).is_ok() => Ok(()),
        _ => Err(ModelError::TooLarge { node: node.into(), tensor, sides: sides.to_vec() }),
    }
}

/// Number of windows down and across.
fn windows(
    node: &str,
    input: Shape,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<[usize; 2], ModelError> {
    let sides = [input.height, input.width];
    let mut count = [0; 2];
    for axis in 0..2 {
        positive(node, "kernel", kernel[axis])?;
        positive(node, "stride", stride[axis])?;
        let padded = padding[axis].saturating_mul(2).saturating_add(sides[axis]);
        let Some(room) = padded.checked_sub(kernel[axis]) else {
            return Err(ModelError::WindowTooLarge { node: node.into(), kernel, padding, input });
        };
        if stride[axis] > padded.max(USUAL_STRIDE) {
            return Err(ModelError::StrideTooLarge { node: node.into(), stride, padding, input });
        }
        count[axis] = (room / stride[axis]).saturating_add(1);
    }
    Ok(count)
}

fn positive(node: &str, field: &'static str, value: usize) -> Result<(), ModelError> {
    match value {
        0 => Err(ModelError::Zero { node: node.into(), field }),
        _ => Ok(()),
    }
}

fn check_groups(node: &str, groups: usize, inputs: usize, outputs: usize) -> Result<(), ModelError> {
    positive(node, "groups", groups)?;
    if inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups) {
        return Ok(());
    }
    Err(ModelError::Groups { node: node.into(), groups, inputs, outputs })
}

/// A pool's padding must be smaller than its kernel, or a window could hold padding only.
fn check_pool_padding(node: &str, kernel: [usize; 2], padding: [usize; 2]) -> Result<(), ModelError> {
    if padding[0] < kernel[0] && padding[1] < kernel[1] {
        return Ok(());
    }
    Err(ModelError::PoolPadding { node: node.into(), kernel, padding })
}

fn check_batch_normalization(node: &str, epsilon: f32, momentum: f32) -> Result<(), ModelError> {
    if epsilon > 0.0 && epsilon.is_finite() && (0.0..=1.0).contains(&momentum) {
        return Ok(());
    }
    Err(ModelError::BatchNormalization { node: node.into(), epsilon, momentum })
}

fn check_clip(node: &str, max: f32) -> Result<(), ModelError> {
    if max > 0.0 && max.is_finite() {
        return Ok(());
    }
    Err(ModelError::Clip { node: node.into(), max })
}

fn same_shape(node: &str, left: Shape, right: Shape) -> Result<Shape, ModelError> {
    if left == right {
        return Ok(left);
    }
    Err(ModelError::AddShapes { node: node.into(), left, right })
}

fn flat_input(node: &str, input: Shape) -> Result<(), ModelError> {
    if input.is_flat() {
        return Ok(());
    }
    Err(ModelError::NotFlat { node: node.into(), input })
}
