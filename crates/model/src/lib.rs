//! Networks as small graphs of ONNX-like nodes, and the zoo.
//!
//! A [`Graph`] is data: nodes in topological order with inferred shapes, no numbers and no I/O. One definition serves
//! every executor. Graphs come from the [`zoo`] or from a [`GraphBuilder`].
//!
//! ```
//! use bidst_model::{ConvOptions, GraphBuilder, Shape};
//!
//! let mut net = GraphBuilder::new("tiny", Shape::new(1, 28, 28));
//! let x = net.input();
//! let x = net.conv("conv1", x, ConvOptions::new(8, 3).stride(2));
//! let x = net.batch_normalization("bn1", x);
//! let x = net.relu("relu1", x);
//! let x = net.global_average_pool("pool", x);
//! net.gemm("fc", x, 10, true);
//! let graph = net.finish()?;
//! assert_eq!(graph.weights()[0].shape, [8, 1, 3, 3]);
//! # Ok::<(), bidst_model::ModelError>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod builder;
mod error;
mod graph;
mod shape;
pub mod zoo;

pub use builder::{ConvOptions, GraphBuilder};
pub use error::ModelError;
pub use graph::{Graph, Node, NodeId, Op, WeightSpec};
pub use shape::Shape;
