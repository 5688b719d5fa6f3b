//! The oracle: every operation as plain scalar loops, forward and backward side by side.
//!
//! Nothing here is fast. It is what the fast kernels are tested against, and it is itself tested against central
//! differences. Activations are NCHW, weights are dense arrays (a sparse weight is one with zeros in it), and all
//! slices are row-major. Generic over [`Float`]: `f64` for differences, `f32` to compare roundings.
//!
//! # Panics
//!
//! Every function panics if a slice has not the length that its documentation gives.

mod conv;
mod gemm;
mod loss;
mod normalization;
mod pointwise;
mod pool;
mod window;

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

pub use conv::{ConvGradients, ConvShape, conv2d_backward, conv2d_forward};
pub use gemm::{GemmGradients, GemmShape, gemm_backward, gemm_forward};
pub use loss::{softmax_cross_entropy_backward, softmax_cross_entropy_forward};
pub use normalization::{
    BatchNormGradients, BatchNormShape, BatchStatistics, batch_norm_backward, batch_norm_forward, batch_norm_statistics,
};
pub use pointwise::{add_backward, add_forward, clip_backward, clip_forward, relu_backward, relu_forward};
pub use pool::{
    PoolShape, average_pool_backward, average_pool_forward, global_average_pool_backward, global_average_pool_forward,
    max_pool_backward, max_pool_forward,
};
pub use window::Window;

/// A floating-point number: `f32` or `f64`.
pub trait Float:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Sum
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
    /// The same number with 53 bits.
    fn to_f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// e to the power of this.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;

    /// A count as a number.
    fn from_usize(value: usize) -> Self {
        Self::from_f64(value as f64)
    }
}

macro_rules! float {
    ($($type:ty),*) => {$(
        impl Float for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn from_f64(value: f64) -> Self {
                value as $type
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            fn exp(self) -> Self {
                self.exp()
            }
            fn ln(self) -> Self {
                self.ln()
            }
        }
    )*};
}
float!(f32, f64);
