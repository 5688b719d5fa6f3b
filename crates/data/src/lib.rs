//! Image data sets, from bytes nobody vouches for to normalised batches.
//!
//! [`open`] reads a whole data set by name ([`list`] has the names; `fashion-mini` is embedded and needs no
//! download), [`Dataset`] holds it as bytes, and [`Loader`] turns it into [`Batch`]es of `f32`: shuffled,
//! augmented, normalised and prepared ahead by a worker thread. Everything a batch contains is a function of
//! (seed, epoch, index), so training can stop and go on at any batch.
//!
//! The readers ([`idx`], [`cifar`]) trust nothing: sizes are checked before memory is asked for, arithmetic is
//! checked, decompression stops where the header says the data ends, and each way a file can lie has its own
//! [`DataError`].
//!
//! ```
//! use bidst_data::{Augment, Loader, LoaderOptions, open};
//! use std::sync::Arc;
//!
//! let splits = open("fashion-mini", None)?;
//! let loader = Loader::new(
//!     Arc::new(splits.train),
//!     LoaderOptions {
//!         batch_size: 128,
//!         seed: 1,
//!         augment: Augment { crop_padding: 0, flip: true },
//!         shuffle: true,
//!         prefetch: 2,
//!     },
//! )?;
//! assert_eq!(loader.batches_per_epoch(), 79);
//! let batch = loader.epoch(0, 0).next().expect("an epoch has a first batch");
//! assert_eq!(batch.images.len(), 128 * 28 * 28);
//! # Ok::<(), bidst_data::DataError>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod augment;
pub mod cifar;
mod dataset;
mod error;
mod fashion;
mod file;
pub mod idx;
mod loader;
mod random;
mod source;

pub use augment::Augment;
pub use dataset::{Dataset, Splits};
pub use error::DataError;
pub use loader::{Batch, Batches, Loader, LoaderOptions};
pub use source::{Source, list, open};
