//! Configuration, the training loop, run folders, metrics, checkpoints, the model file, export and import.
//!
//! The loop itself is [`Trainer::train_on`]; a whole run with its folder is a [`Session`]; a grid of runs side by side is
//! a [`compare::Comparison`]. This is the crate to read if you want to know what happens in which order; how a mask is
//! learned is in `bidst-topology`, how a step is computed in `bidst-engine`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// Test helpers that are shared with the integration tests name the crate.
#[cfg(test)]
extern crate self as bidst_train;

mod appender;
pub mod bench;
pub mod checkpoint;
pub mod compare;
pub mod config;
pub mod container;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod files;
pub mod flops;
pub mod glob;
pub mod guard;
pub mod import;
pub mod init;
pub mod inventory;
pub mod kernels;
mod lock;
pub mod log;
pub mod lr;
pub mod memory;
pub mod metrics;
pub mod nearest;
mod probes;
pub mod report;
pub mod run_dir;
mod scoring;
pub mod session;
mod settings;
pub mod setup;
pub mod sparsity;
pub mod spikes;
pub mod storage;
mod tensors;
mod text;
pub mod time;
pub mod trainer;
pub mod units;

pub use config::Config;
pub use error::TrainError;
pub use session::Session;
pub use trainer::{Event, Observer, Trainer};

/// The compiler that built this library.
pub const COMPILER: &str = env!("BIDST_RUSTC");
/// The platform that it was built for.
pub const TARGET: &str = env!("BIDST_TARGET");
