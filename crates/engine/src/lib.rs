//! Plans a graph into fused sparse steps and runs forward, backward and the optimiser on non-zeros only.
//!
//! [`Network::new`] rewrites a [`bidst_model::Graph`] into a short list of steps (`plan.rs` says how), lays out every
//! buffer once, and then a training step is a walk over that list, forwards and back. Weights, gradients and momentum
//! exist at the non-zeros; a *probe* ([`Network::set_probe`]) also delivers gradients at zeros somebody asked about.
//! The engine knows no algorithm: [`Network::apply`] takes any exact change of a pattern.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod choice;
mod clock;
mod error;
mod network;
mod optim;
pub mod oracle;
mod plan;
mod sparse_tensor;
mod state;
mod steps;

pub use bidst_kernels::{InstructionSet, Storage};
pub use choice::{Choice, Kernel, Kernels, Measured};
pub use clock::{PartKind, PartTiming};
pub use error::EngineError;
pub use network::{Memory, Network, Options, StepOutput, Timings};
pub use optim::Sgd;
pub use sparse_tensor::{ProbeRequest, SparseTensor, Vector};
