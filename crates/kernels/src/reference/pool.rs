//! Pools. Every plane (one channel of one image) is pooled by itself.

use super::{Float, Window};

/// Sizes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Images times channels.
    pub planes: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Window size, stride and padding; the padding is smaller than the kernel.
    pub window: Window,
}

impl PoolShape {
    /// Length of the input, `[planes, height, width]`.
    pub fn input_len(&self) -> usize {
        self.planes * self.input.iter().product::<usize>()
    }

    /// Length of the output, `[planes, out height, out width]`.
    pub fn output_len(&self) -> usize {
        self.planes * self.window.output(self.input).iter().product::<usize>()
    }

    /// Calls `visit(output, input)` for every window and every pixel in it, the pixels of a window in row-major order.
    fn pairs(&self, mut visit: impl FnMut(usize, usize)) {
        let in_pixels: usize = self.input.iter().product();
        let out_pixels: usize = self.window.output(self.input).iter().product();
        for plane in 0..self.planes {
            self.window.rows(self.input, |_, outputs, first| {
                for (across, output) in outputs.enumerate() {
                    let input = first + across * self.window.stride[1];
                    visit(plane * out_pixels + output, plane * in_pixels + input);
                }
            });
        }
    }
}

/// The largest value of each window and its flat index in `x`; the first in row-major order wins a tie, padding never
/// wins.
pub fn max_pool_forward<T: Float>(shape: &PoolShape, x: &[T]) -> (Vec<T>, Vec<usize>) {
    assert_eq!(x.len(), shape.input_len(), "length of the input");
    let mut winners: Vec<Option<usize>> = vec![None; shape.output_len()];
    shape.pairs(|output, input| {
        let beaten = winners[output].is_none_or(|winner| x[input] > x[winner]);
        if beaten {
            winners[output] = Some(input);
        }
    });
    winners
        .into_iter()
        .map(|winner| winner.expect("padding is smaller than the kernel"))
        .map(|winner| (x[winner], winner))
        .unzip()
}

/// Gradient of [`max_pool_forward`], which gave `winners`: each window hands its gradient to its winner.
pub fn max_pool_backward<T: Float>(shape: &PoolShape, winners: &[usize], dy: &[T]) -> Vec<T> {
    assert_eq!(winners.len(), shape.output_len(), "number of winners");
    assert_eq!(dy.len(), shape.output_len(), "length of the output's gradient");
    let mut dx = vec![T::ZERO; shape.input_len()];
    for (&winner, &dy) in winners.iter().zip(dy) {
        dx[winner] += dy;
    }
    dx
}

/// Mean of each window, the padding's zeros counted.
pub fn average_pool_forward<T: Float>(shape: &PoolShape, x: &[T]) -> Vec<T> {
    assert_eq!(x.len(), shape.input_len(), "length of the input");
    let share: T = share(&shape.window);
    let mut y = vec![T::ZERO; shape.output_len()];
    shape.pairs(|output, input| y[output] += share * x[input]);
    y
}

/// Gradient of [`average_pool_forward`].
pub fn average_pool_backward<T: Float>(shape: &PoolShape, dy: &[T]) -> Vec<T> {
    assert_eq!(dy.len(), shape.output_len(), "length of the output's gradient");
    let share: T = share(&shape.window);
    let mut dx = vec![T::ZERO; shape.input_len()];
    shape.pairs(|output, input| dx[input] += share * dy[output]);
    dx
}

/// Mean of each plane of `pixels` values: `[planes, pixels]` to `[planes]`.
pub fn global_average_pool_forward<T: Float>(pixels: usize, x: &[T]) -> Vec<T> {
    assert_eq!(x.len() % pixels, 0, "the input is whole planes");
    x.chunks_exact(pixels).map(|plane| plane.iter().copied().sum::<T>() / T::from_usize(pixels)).collect()
}

/// Gradient of [`global_average_pool_forward`]: `[planes]` to `[planes, pixels]`.
pub fn global_average_pool_backward<T: Float>(pixels: usize, dy: &[T]) -> Vec<T> {
    let spread = |&dy: &T| std::iter::repeat_n(dy / T::from_usize(pixels), pixels);
    dy.iter().flat_map(spread).collect()
}

/// Weight of one pixel in a window's mean.
fn share<T: Float>(window: &Window) -> T {
    T::ONE / T::from_usize(window.kernel.iter().product())
}
