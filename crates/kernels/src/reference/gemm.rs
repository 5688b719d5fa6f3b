//! The fully connected layer.

use super::Float;

/// Sizes of a fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmShape {
    /// Images.
    pub count: usize,
    /// Inputs of one image.
    pub in_features: usize,
    /// Outputs of one image.
    pub out_features: usize,
}

impl GemmShape {
    fn check<T>(&self, x: &[T], w: &[T]) {
        assert_eq!(x.len(), self.count * self.in_features, "length of the input");
        assert_eq!(w.len(), self.out_features * self.in_features, "length of the weight");
    }
}

/// Gradients of a fully connected layer.
#[derive(Clone, Debug, PartialEq)]
pub struct GemmGradients<T> {
    /// Of the input, `[count, in_features]`.
    pub input: Vec<T>,
    /// Of the weight, `[out_features, in_features]`, at all positions.
    pub weight: Vec<T>,
    /// Of the bias, `[out_features]`.
    pub bias: Vec<T>,
}

/// `y[n, o] = bias[o] + sum over i of w[o, i] * x[n, i]`.
///
/// `x` is `[count, in_features]`, `w` `[out_features, in_features]`, `bias` `[out_features]`, the result
/// `[count, out_features]`.
pub fn gemm_forward<T: Float>(shape: &GemmShape, x: &[T], w: &[T], bias: Option<&[T]>) -> Vec<T> {
    shape.check(x, w);
    let mut y = Vec::with_capacity(shape.count * shape.out_features);
    for x in x.chunks_exact(shape.in_features) {
        for (o, w) in w.chunks_exact(shape.in_features).enumerate() {
            let sum: T = x.iter().zip(w).map(|(&x, &w)| x * w).sum();
            y.push(sum + bias.map_or(T::ZERO, |bias| bias[o]));
        }
    }
    y
}

/// Gradients of [`gemm_forward`] for `dy`, `[count, out_features]`.
pub fn gemm_backward<T: Float>(shape: &GemmShape, x: &[T], w: &[T], dy: &[T]) -> GemmGradients<T> {
    shape.check(x, w);
    assert_eq!(dy.len(), shape.count * shape.out_features, "length of the output's gradient");
    let mut gradients = GemmGradients {
        input: vec![T::ZERO; x.len()],
        weight: vec![T::ZERO; w.len()],
        bias: vec![T::ZERO; shape.out_features],
    };
    for (n, dy) in dy.chunks_exact(shape.out_features).enumerate() {
        for (o, &dy) in dy.iter().enumerate() {
            gradients.bias[o] += dy;
            for i in 0..shape.in_features {
                let (at, weight) = (n * shape.in_features + i, o * shape.in_features + i);
                gradients.input[at] += dy * w[weight];
                gradients.weight[weight] += dy * x[at];
            }
        }
    }
    gradients
}
