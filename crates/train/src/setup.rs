//! From a configuration and data to a [`Trainer`] at step 0.

use std::sync::Arc;

use bidst_data::{Augment, Dataset, Loader, LoaderOptions, Splits};
use bidst_engine::{Network, Options};
use bidst_model::{Graph, Shape, zoo};
use bidst_topology::{AlgorithmError, Context, Mask, MaskError, TopologyStats, algorithms};

use crate::config::{Config, ConfigError};
use crate::error::TrainError;
use crate::init::{self, Initializer};
use crate::lr::LearningRate;
use crate::probes::Probes;
use crate::sparsity::Allocation;
use crate::trainer::Trainer;

/// Batches that the loaders prepare ahead.
const PREFETCH: usize = 2;

/// The network that `config` names, for images and classes of `data`.
///
/// # Errors
/// [`TrainError::Model`]
pub fn graph(config: &Config, data: &Dataset) -> Result<Graph, TrainError> {
    let input = Shape { channels: data.channels, height: data.height, width: data.width };
    let options = zoo::Options { width: config.model.width, classes: data.classes, input };
    let model = &config.model.name;
    zoo::build(model, &options).map_err(|source| TrainError::Model { model: model.clone(), source })
}

/// A loader that goes once through `data` in order, without changes to the images.
///
/// # Errors
/// [`TrainError::Data`]
pub fn test_loader(data: Arc<Dataset>, batch_size: usize) -> Result<Loader, TrainError> {
    let options = LoaderOptions { batch_size, seed: 0, augment: Augment::NONE, shuffle: false, prefetch: PREFETCH };
    Ok(Loader::new(data, options)?)
}

impl Trainer {
    /// A trainer at step 0: random patterns, first weights, an algorithm that has seen nothing.
    ///
    /// # Errors
    /// Whatever in `config` does not fit the data or the network.
    pub fn new(config: Config, data: Splits) -> Result<Trainer, TrainError> {
        let graph = graph(&config, &data.train)?;
        let allocation = Allocation::new(&graph, &config.sparsity)?;
        let patterns = init::patterns(&allocation, config.run.seed)?;
        let mut trainer = Trainer::with_patterns(config, data, graph, allocation, patterns)?;
        let weights = &trainer.allocation.weights;
        for (index, tensor) in trainer.network.weights_mut().iter_mut().enumerate() {
            let initializer = Initializer::new(&trainer.graph, weights, index, trainer.config.run.seed);
            let values: Vec<f32> = tensor.index().iter().map(|&position| initializer.value(position)).collect();
            tensor.values_mut().copy_from_slice(&values);
        }
        Ok(trainer)
    }

    /// A trainer whose network has the given patterns and only zeros.
    pub(crate) fn with_patterns(
        config: Config,
        data: Splits,
        graph: Graph,
        allocation: Allocation,
        patterns: Vec<Option<Vec<u32>>>,
    ) -> Result<Trainer, TrainError> {
        let (seed, batch_size) = (config.run.seed, config.train.batch_size);
        let augment = config.augment();
        let options = LoaderOptions { batch_size, seed, augment, shuffle: true, prefetch: PREFETCH };
        let train = Loader::new(Arc::new(data.train), options)?;
        let test = test_loader(Arc::new(data.test), batch_size)?;
        let steps_per_epoch = train.batches_per_epoch() as u64;
        let total_steps = config.train.epochs * steps_per_epoch;

        let layers = allocation.layers();
        let context = Context {
            layers: &layers,
            total_steps,
            steps_per_epoch,
            seed,
            weight_decay: config.optim.weight_decay as f32,
            learning_rate: config.optim.lr as f32,
            batch_size,
        };
        let algorithm = algorithms::build(&config.algorithm.name, &config.algorithm.parameters, &context)
            .map_err(algorithm_error)?;
        let stats = TopologyStats::new(&masks(&allocation, &patterns)?);
        let (threads, activations) = (threads(&config), config.engine.activations.into());
        let options = Options { batch_size, threads, activations, instruction_set: None };
        let network = Network::new(&graph, &patterns, options)?;
        let rate = LearningRate {
            base: config.optim.lr,
            schedule: config.optim.schedule,
            milestones: config.optim.milestones.clone(),
            gamma: config.optim.gamma,
            warmup_steps: (config.optim.warmup_epochs * steps_per_epoch as f64).round() as u64,
            total_steps,
        };
        let (sparse, probes) = (allocation.sparse(), Probes::new(layers.len()));
        Ok(Trainer {
            config,
            graph,
            allocation,
            network,
            algorithm,
            layers,
            sparse,
            probes,
            stats,
            train,
            test,
            rate,
            step: 0,
            epoch: 0,
            last: None,
        })
    }
}

/// The number of threads that `config` asks for, with 0 resolved.
pub fn threads(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if config.run.threads == 0 { cores() } else { config.run.threads }
}

/// The patterns of the sparsified layers as masks.
fn masks(allocation: &Allocation, patterns: &[Option<Vec<u32>>]) -> Result<Vec<Mask>, MaskError> {
    let mask = |index: usize| {
        let pattern = patterns[index].clone().unwrap_or_default();
        Mask::new(allocation.weights[index].len(), pattern)
    };
    allocation.sparse().into_iter().map(mask).collect()
}

/// Says which key an option of an algorithm is.
fn algorithm_error(error: AlgorithmError) -> TrainError {
    let key = match &error {
        AlgorithmError::Unknown { .. } => "algorithm.name".to_owned(),
        AlgorithmError::Options { .. } => "algorithm".to_owned(),
        AlgorithmError::Value { option, .. } => format!("algorithm.{option}"),
    };
    ConfigError::of_key(&key, error.to_string()).into()
}
