//! SIMD loops on slices for sparse training, and the scalar reference they are tested against.
//!
//! Slices in, slices out: nothing here knows a network, a mask rule or a file. The fast kernels are written once over
//! [`pulp::Simd`] and compiled for every [`InstructionSet`]; the plain scalar versions in [`mod@reference`] stay as
//! their oracle. But for one call in the tool, `unsafe` is in this crate only.
#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

mod conv;
mod depthwise;
mod dispatch;
mod layout;
mod loss;
mod mix;
mod moments;
mod parallel;
mod pool;
mod rectify;
pub mod reference;
mod storage;

pub use conv::{
    BackwardPlan, BackwardUnit, ConvShape, DenseBackwardPlan, DenseForwardPlan, Finish, ForwardPlan, ForwardUnit,
    InputGradient, Norm, Pattern,
};
pub use depthwise::{DepthwiseBackwardPlan, DepthwiseForwardPlan};
pub use dispatch::{ENVIRONMENT, InstructionSet};
pub use layout::{LANES, Lane, Plane, images_from_tile, lanes, tile_from_images, tiles};
pub use loss::{Loss, softmax_cross_entropy};
pub use mix::{Bounds, Mix, Term, mix};
pub use moments::moments;
pub use parallel::{Chunks, Team, Workers};
pub use pool::{Pool, PoolKind};
pub use rectify::{Rectify, rectify};
pub use storage::Storage;
