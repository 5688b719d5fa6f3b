//! Operations on single values.

use super::Float;

/// `max(x, 0)`.
pub fn relu_forward<T: Float>(x: &[T]) -> Vec<T> {
    x.iter().map(|&x| if x > T::ZERO { x } else { T::ZERO }).collect()
}

/// Gradient of [`relu_forward`]: `dy` where `x > 0`, else 0. The rectified output serves as `x` just as well.
pub fn relu_backward<T: Float>(x: &[T], dy: &[T]) -> Vec<T> {
    assert_eq!(x.len(), dy.len(), "length of the output's gradient");
    x.iter().zip(dy).map(|(&x, &dy)| if x > T::ZERO { dy } else { T::ZERO }).collect()
}

/// `min(max(x, 0), max)`.
pub fn clip_forward<T: Float>(x: &[T], max: T) -> Vec<T> {
    relu_forward(x).into_iter().map(|y| if y < max { y } else { max }).collect()
}

/// Gradient of [`clip_forward`]: `dy` where `0 < x < max`, else 0. The clipped output serves as `x` just as well.
pub fn clip_backward<T: Float>(x: &[T], max: T, dy: &[T]) -> Vec<T> {
    assert_eq!(x.len(), dy.len(), "length of the output's gradient");
    x.iter().zip(dy).map(|(&x, &dy)| if x > T::ZERO && x < max { dy } else { T::ZERO }).collect()
}

/// `left + right`.
pub fn add_forward<T: Float>(left: &[T], right: &[T]) -> Vec<T> {
    assert_eq!(left.len(), right.len(), "length of the right side");
    left.iter().zip(right).map(|(&l, &r)| l + r).collect()
}

/// Gradients of [`add_forward`] of its left and right side: `dy` for both.
pub fn add_backward<T: Float>(dy: &[T]) -> [Vec<T>; 2] {
    [dy.to_vec(), dy.to_vec()]
}
