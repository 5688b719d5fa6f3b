//! Convolution (cross-correlation) with groups, stride, zero padding and an optional bias.

use super::{Float, Window};

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub count: usize,
    /// Channels of the input, a multiple of `groups`.
    pub in_channels: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Channels of the output, a multiple of `groups`.
    pub out_channels: usize,
    /// Filter size, stride and padding.
    pub window: Window,
    /// Independent groups of channels.
    pub groups: usize,
}

impl ConvShape {
    /// Length of the input, `[count, in_channels, height, width]`.
    pub fn input_len(&self) -> usize {
        self.count * self.in_channels * self.in_pixels()
    }

    /// Length of the output, `[count, out_channels, out height, out width]`.
    pub fn output_len(&self) -> usize {
        self.count * self.out_channels * self.out_pixels()
    }

    /// Length of the weight, `[out_channels, in_channels / groups, kernel height, kernel width]`.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.in_channels / self.groups * self.taps()
    }

    fn in_pixels(&self) -> usize {
        self.input.iter().product()
    }

    fn out_pixels(&self) -> usize {
        self.window.output(self.input).iter().product()
    }

    fn taps(&self) -> usize {
        self.window.kernel.iter().product()
    }

    /// Calls `visit(weight, output, input)` with the offsets of every pair of planes that a filter plane joins.
    fn planes(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let (ins, outs) = (self.in_channels / self.groups, self.out_channels / self.groups);
        for image in 0..self.count {
            for o in 0..self.out_channels {
                for i in 0..ins {
                    let c = o / outs * ins + i;
                    visit(
                        (o * ins + i) * self.taps(),
                        (image * self.out_channels + o) * self.out_pixels(),
                        (image * self.in_channels + c) * self.in_pixels(),
                    );
                }
            }
        }
    }

    /// Calls `visit(weight, outputs, first input)` for every weight and every row of outputs; see [`Window::rows`].
    fn rows(&self, mut visit: impl FnMut(usize, std::ops::Range<usize>, usize)) {
        self.planes(|weight, output, input| {
            self.window.rows(self.input, |tap, outputs, first| {
                visit(weight + tap, output + outputs.start..output + outputs.end, input + first);
            });
        });
    }

    fn check<T>(&self, x: &[T], w: &[T]) {
        assert_eq!(x.len(), self.input_len(), "length of the input");
        assert_eq!(w.len(), self.weight_len(), "length of the weight");
    }
}

/// Gradients of a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvGradients<T> {
    /// Of the input, shaped like it.
    pub input: Vec<T>,
    /// Of the weight, at all positions.
    pub weight: Vec<T>,
    /// Of the bias, `[out_channels]`.
    pub bias: Vec<T>,
}

/// `y[n, o, p] = bias[o] + sum over c and taps t of w[o, c, t] * x[n, c, p * stride + t - padding]`.
///
/// `x` has [`ConvShape::input_len`] values, `w` [`ConvShape::weight_len`], `bias` `out_channels`, the result
/// [`ConvShape::output_len`].
pub fn conv2d_forward<T: Float>(shape: &ConvShape, x: &[T], w: &[T], bias: Option<&[T]>) -> Vec<T> {
    shape.check(x, w);
    let mut y = vec![T::ZERO; shape.output_len()];
    if let Some(bias) = bias {
        assert_eq!(bias.len(), shape.out_channels, "length of the bias");
        for (plane, out) in y.chunks_exact_mut(shape.out_pixels()).enumerate() {
            out.fill(bias[plane % shape.out_channels]);
        }
    }
    let step = shape.window.stride[1];
    shape.rows(|weight, outputs, first| {
        let inputs = x[first..].iter().step_by(step);
        for (y, &x) in y[outputs].iter_mut().zip(inputs) {
            *y += w[weight] * x;
        }
    });
    y
}

/// Gradients of [`conv2d_forward`] for `dy`, the loss's gradient of its result.
pub fn conv2d_backward<T: Float>(shape: &ConvShape, x: &[T], w: &[T], dy: &[T]) -> ConvGradients<T> {
    shape.check(x, w);
    assert_eq!(dy.len(), shape.output_len(), "length of the output's gradient");
    let mut input = vec![T::ZERO; x.len()];
    let mut weight_gradient = vec![T::ZERO; w.len()];
    let step = shape.window.stride[1];
    shape.rows(|weight, outputs, first| {
        let dy = &dy[outputs];
        let inputs = x[first..].iter().step_by(step);
        weight_gradient[weight] += dy.iter().zip(inputs).map(|(&dy, &x)| dy * x).sum();
        for (dx, &dy) in input[first..].iter_mut().step_by(step).zip(dy) {
            *dx += w[weight] * dy;
        }
    });
    let mut bias = vec![T::ZERO; shape.out_channels];
    for (plane, dy) in dy.chunks_exact(shape.out_pixels()).enumerate() {
        bias[plane % shape.out_channels] += dy.iter().copied().sum();
    }
    ConvGradients { input, weight: weight_gradient, bias }
}
