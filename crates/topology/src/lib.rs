//! Masks, schedules and the dynamic-sparse-training algorithms.
//!
//! A *mask* says which positions of a weight tensor exist. An [`Algorithm`] moves them during training: it sees plain
//! slices and flat indices, says which gradients it [`Needs`], and returns a [`Change`] per layer. It never touches a
//! tensor, so one place can check and apply every change, and no algorithm can break an exact count, write outside the
//! mask or forget to reset momentum.
//!
//! To read an algorithm, open its file in `src/algorithms/`; to add one, see [`algorithms`]; to hold one to the laws of
//! those that are listed, see [`testing`].
//!
//! Everything here is single-threaded, takes slices and returns vectors; random numbers are a function of
//! (seed, purpose, layer, step) and ties are broken by index. Results therefore cannot depend on a thread count.
//!
//! ```
//! use bidst_topology::{LayerSpec, Mask, algorithms, Context, rng::{Purpose, Streams}};
//!
//! let layers = [LayerSpec::new("fc.weight", vec![10, 100], 100)];
//! let context = Context {
//!     layers: &layers, total_steps: 1_000, steps_per_epoch: 100, seed: 1,
//!     weight_decay: 5e-4, learning_rate: 0.1, momentum: 0.9, batch_size: 128,
//! };
//! let mask = Mask::random(1_000, 100, &mut Streams::new(1).stream(Purpose::Mask, 0, 0))?;
//! let algorithm = algorithms::build("rigl", &"drop_fraction = 0.2".parse()?, &context)?;
//! assert_eq!(algorithm.next_decision(0), Some(100));
//! assert_eq!(mask.nnz(), 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod algorithm;
pub mod algorithms;
mod bits;
pub mod change;
pub mod distribution;
mod gradients;
pub mod mask;
pub mod pattern;
pub mod rng;
pub mod schedule;
pub mod select;
pub mod start;
pub mod state;
pub mod stats;
pub mod testing;

pub use algorithm::{Algorithm, Budget, Context, LayerSpec, LayerView, Maker, Needs, Probe};
pub use algorithms::AlgorithmError;
pub use change::{Change, ChangeError};
pub use distribution::{Distribution, DistributionError};
pub use mask::{Mask, MaskError};
pub use pattern::{Pattern, PatternError};
pub use start::{Sample, Scorer, StartError};
pub use state::{State, StateError};
pub use stats::{DeadChannels, LayerDecision, Since, TopologyStats};
