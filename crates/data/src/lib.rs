//! Image data sets, from bytes nobody vouches for to normalised batches.
//!
//! [`open`] reads a whole data set by name ([`list`] has the names; `fashion-mini` is embedded and needs no
//! download), [`Dataset`] holds it as bytes, and [`Loader`] turns it into [`Batch`]es of `f32`: shuffled,
//! augmented, normalised and prepared ahead by worker threads. Everything a batch contains is a function of
//! (seed, epoch, index), so training can stop and go on at any batch.
//!
//! The readers ([`idx`], [`cifar`], [`python`], [`picture`], the cache of [`list`]'s `image-folder`) trust nothing: sizes are
//! checked before memory is asked for, arithmetic is checked, decompression stops where the header says the data ends, and
//! each way a file can lie has its own [`DataError`]. Damaged records and image files are counted and listed, and
//! left out as far as [`OpenOptions::skip_bad`] says; [`survey`] lists all of them.
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
//!         augment: Augment { flip: true, ..Augment::NONE },
//!         shuffle: true,
//!         workers: 1,
//!     },
//! )?;
//! assert_eq!(loader.batches_per_epoch(), 79);
//! let batch = loader.epoch(0, 0).next().expect("an epoch has a first batch")?;
//! assert_eq!(batch.images.len(), 128 * 28 * 28);
//! # Ok::<(), bidst_data::DataError>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod augment;
mod cache;
pub mod cifar;
mod damage;
mod dataset;
mod error;
mod file;
pub mod folder;
pub mod idx;
mod loader;
mod mnist;
pub mod picture;
pub mod python;
mod random;
mod resize;
mod source;
mod survey;
mod text;

pub use augment::Augment;
pub use cache::Cache;
pub use damage::Damage;
pub use dataset::{Dataset, Opened, Pixels, Splits};
pub use error::DataError;
pub use loader::{AHEAD, Batch, Batches, Loader, LoaderOptions};
pub use source::{Layout, OpenOptions, Source, list, open, open_with};
pub use survey::{SplitSurvey, Survey, survey};
