//! Sparse neural-network training: networks that are 90–98% zeros from the first step to the last, their pattern learned
//! during training, on CPU kernels that really skip the zeros.
//!
//! ```
//! use bidst::train::{Event, Trainer, config::Builder};
//!
//! let config = Builder::new().set("algorithm.name=bidst").set("sparsity.level=0.95").set("model.width=0.25").finish()?;
//! let data = bidst::data::open(&config.data.name, None)?; // small images that are built in
//! let mut trainer = Trainer::new(config, data)?;
//! trainer.epoch(&mut |event: Event<'_>| {
//!     if let Event::Epoch { record } = event {
//!         println!("{:.1}% of the test images are right", 100.0 * record.test_accuracy);
//!     }
//!     Ok(())
//! })?;
//! assert!((trainer.totals().sparsified() - 0.95).abs() < 0.001);
//! # Ok::<(), bidst::train::TrainError>(())
//! ```
//!
//! # What is where
//!
//! | you want | it is in |
//! | --- | --- |
//! | a whole run with its folder, checkpoints and logs | [`train::Session`] |
//! | the loop, step by step or epoch by epoch | [`train::Trainer`]; what it reports, [`train::Event`] |
//! | every setting of a run | [`train::Config`], made by [`train::config::Builder`] |
//! | a grid of runs in one table | [`train::compare`] |
//! | the trained model as a file | [`train::export::ModelFile`] |
//! | networks: the zoo, and the builder of your own | [`model::zoo`], [`model::GraphBuilder`] |
//! | to run a network without the trainer | [`engine::Network`] |
//! | the algorithms that move the mask, BiDST among them | [`topology::algorithms`] |
//! | an algorithm of your own, and the laws to hold it to | [`topology::Algorithm`], [`topology::testing`] |
//! | masks, densities, schedules, exact top-k | [`topology`] |
//! | data sets and batches | [`data`] |
//!
//! # Examples
//!
//! In the package's `examples/`, each run by its tests:
//!
//! * `custom_algorithm`: a rule in forty lines, held to the laws of the listed ones, then trained;
//! * `custom_network`: a residual network from the builder, trained by BiDST;
//! * `custom_loop`: engine, data and algorithm without the trainer between them.
//!
//! The command-line tool of the same name belongs to the feature `cli`, which is on by default; with
//! `default-features = false` the package is the library alone.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub use bidst_data as data;
pub use bidst_engine as engine;
pub use bidst_model as model;
pub use bidst_topology as topology;
pub use bidst_train as train;
pub use toml;
