//! From a configuration and data to a [`Trainer`] at step 0.

use std::sync::Arc;

use bidst_data::{Augment, Dataset, Loader, LoaderOptions, Splits};
use bidst_engine::{Network, Options, SparseTensor};
use bidst_model::{Graph, Shape, zoo};
use bidst_topology::algorithms::Listed;
use bidst_topology::{
    AlgorithmError, Budget, Context, LayerSpec, LayerView, Maker, Mask, MaskError, Probe, TopologyStats,
};

use crate::checkpoint::DataMark;
use crate::config::{Config, ConfigError};
use crate::error::TrainError;
use crate::flops::{Cost, Flops};
use crate::guard::Guard;
use crate::import::{State, StateFile};
use crate::init::{self, Initializer};
use crate::lr::LearningRate;
use crate::memory::{self, Prediction};
use crate::metrics::{Bytes, StartCost, Tally};
use crate::probes::Probes;
use crate::scoring::NetworkScorer;
use crate::sparsity::Allocation;
use crate::spikes::SpikeWatch;
use crate::trainer::{MaskTime, Trainer};

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

/// A loader that goes once through `data` in order, without changes to the images, and prepares them in so many threads.
///
/// # Errors
/// [`TrainError::Data`]
pub fn test_loader(data: Arc<Dataset>, batch_size: usize, workers: usize) -> Result<Loader, TrainError> {
    let options = LoaderOptions { batch_size, seed: 0, augment: Augment::NONE, shuffle: false, workers };
    Ok(Loader::new(data, options)?)
}

impl Trainer {
    /// A trainer at step 0: first patterns and first weights. The patterns are random, with as many non-zeros as the
    /// algorithm starts with, unless it chooses them itself; the weights are random, or those of `model.init`, whose sparse
    /// layers keep their patterns if these have the right number of non-zeros.
    ///
    /// # Errors
    /// Whatever in `config` does not fit the data or the network; scores that are no numbers.
    pub fn new(config: Config, data: Splits) -> Result<Trainer, TrainError> {
        let (graph, algorithm) = (graph(&config, &data.train)?, listed(&config));
        Trainer::of(config, data, graph, &algorithm)
    }

    /// As [`Trainer::new`], with a network and an algorithm of your own in place of those that `config` names.
    ///
    /// # Errors
    /// As [`Trainer::new`]; a network for other images or classes is refused at its first step.
    pub fn of(config: Config, data: Splits, graph: Graph, algorithm: &dyn Maker) -> Result<Trainer, TrainError> {
        let allocation = Allocation::new(&graph, &config.sparsity)?;
        let layers = first_layers(algorithm, &allocation)?;
        let mut patterns = init::patterns(&allocation, &layers, config.run.seed)?;
        let state = config.model.init.as_deref().map(|path| StateFile::read(path)?.fit(&graph)).transpose()?;
        if let Some(state) = &state {
            state.keep_patterns(&allocation, &layers, &mut patterns);
        }
        let mut trainer = Trainer::assemble(config, data, graph, allocation, patterns, algorithm)?;
        if trainer.algorithm.prunes_at_start() {
            trainer = trainer.pruned_at_start(state.as_ref())?;
        }
        trainer.set_first_weights(state.as_ref());
        trainer.choose_kernels()
    }

    /// Sets the weights of `state` where they exist, or random ones.
    fn set_first_weights(&mut self, state: Option<&State>) {
        if let Some(state) = state {
            return state.put_into(&mut self.network);
        }
        let weights = &self.allocation.weights;
        for (index, tensor) in self.network.weights_mut().iter_mut().enumerate() {
            let initializer = Initializer::new(&self.graph, weights, index, self.config.run.seed);
            let values: Vec<f32> = tensor.index().iter().map(|&position| initializer.value(position)).collect();
            tensor.values_mut().copy_from_slice(&values);
        }
    }

    /// Lets the algorithm choose the first patterns, by scores of the first weights. The network with its weights still to be set
    /// takes the place of the one that was scored, and only after that is gone: a dense start takes its memory once.
    fn pruned_at_start(mut self, state: Option<&State>) -> Result<Trainer, TrainError> {
        let neutral = self.network.vectors().to_vec();
        self.set_first_weights(state);
        let first: Vec<SparseTensor> = self.sparse.iter().map(|&at| self.network.weights()[at].clone()).collect();
        let [taken, with_passes] = memory::scoring_bytes(&self);
        memory::allow(&Prediction { scoring: taken, ..Prediction::default() }, &self.config)?;

        let views: Vec<LayerView<'_>> = first.iter().map(untouched).collect();
        let (data, seed) = (self.train.dataset(), self.config.run.seed);
        let mut scorer = NetworkScorer::new(&mut self.network, &neutral, &self.sparse, data, seed);
        let changes = self.algorithm.at_start(&views, &mut scorer);
        let passes = scorer.passes();
        self.scoring = if passes > 0 { with_passes } else { taken };
        let changes = changes.map_err(|source| TrainError::Start { algorithm: self.algorithm.name(), source })?;
        let target = self.layers.iter().map(|layer| layer.target).sum();
        self.check(&changes, &views, Budget::Scheduled(target))?;

        let mut patterns = vec![None; self.allocation.weights.len()];
        for ((&at, tensor), change) in self.sparse.iter().zip(&first).zip(&changes) {
            patterns[at] = Some(change.applied_to(tensor.index()));
        }
        self.start = StartCost {
            flops: Flops { training: passes * self.cost.inference(&self.network), probes: 0 },
            bytes: Bytes::of(&self.network, self.algorithm.as_ref()),
        };
        self.stats = TopologyStats::new(&masks(&self.allocation, &patterns)?);
        if passes > 0 {
            (0..self.layers.len()).for_each(|layer| self.stats.inspect_all(layer));
        }
        let options = options(&self.config, self.train.dataset());
        drop((self.network, first));
        self.network = Network::new(&self.graph, &patterns, options)?;
        Ok(self)
    }

    /// A trainer whose network has the given patterns and only zeros.
    pub(crate) fn with_patterns(
        config: Config,
        data: Splits,
        graph: Graph,
        allocation: Allocation,
        patterns: Vec<Option<Vec<u32>>>,
    ) -> Result<Trainer, TrainError> {
        let algorithm = listed(&config);
        Trainer::assemble(config, data, graph, allocation, patterns, &algorithm)?.choose_kernels()
    }

    /// This trainer with the kernels that its settings ask for. The network must be the one that is trained.
    fn choose_kernels(mut self) -> Result<Trainer, TrainError> {
        self.config.engine.kernels.apply(&mut self.network)?;
        Ok(self)
    }

    fn assemble(
        config: Config,
        data: Splits,
        graph: Graph,
        allocation: Allocation,
        patterns: Vec<Option<Vec<u32>>>,
        algorithm: &dyn Maker,
    ) -> Result<Trainer, TrainError> {
        let (seed, workers, augment) = (config.run.seed, config.data.workers, config.augment());
        let options = options(&config, &data.train);
        memory::allow_network(&graph, &patterns, &options, [&data.train, &data.test], &config)?;
        let (batch_size, data_mark) = (options.batch_size, DataMark::of([&data.train, &data.test]));
        let loading = LoaderOptions { batch_size, seed, augment, shuffle: true, workers };
        let train = Loader::new(Arc::new(data.train), loading)?;
        let test = test_loader(Arc::new(data.test), batch_size, workers)?;
        let steps_per_epoch = train.batches_per_epoch() as u64;
        let total_steps = config.train.epochs * steps_per_epoch;

        let layers = first_layers(algorithm, &allocation)?;
        let context = Context {
            layers: &layers,
            total_steps,
            steps_per_epoch,
            seed,
            weight_decay: config.optim.weight_decay as f32,
            learning_rate: config.optim.lr as f32,
            momentum: config.optim.momentum as f32,
            batch_size,
        };
        let algorithm = algorithm.build(&context).map_err(algorithm_error)?;
        let stats = TopologyStats::new(&masks(&allocation, &patterns)?);
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
        let cost = Cost::new(&allocation.weights);
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
            cost,
            train,
            test,
            rate,
            mask_time: MaskTime::default(),
            guard: Guard::default(),
            spikes: SpikeWatch::default(),
            spike: None,
            running: None,
            tally: Tally::default(),
            step: 0,
            epoch: 0,
            last: None,
            start: StartCost::default(),
            scoring: 0,
            data: data_mark,
        })
    }
}

/// The sparsified layers as the algorithm sees them, with the non-zeros it starts with.
fn first_layers(algorithm: &dyn Maker, allocation: &Allocation) -> Result<Vec<LayerSpec>, TrainError> {
    let mut layers = allocation.layers();
    algorithm.start(&mut layers).map_err(algorithm_error)?;
    Ok(layers)
}

/// The algorithm that `config` names.
fn listed(config: &Config) -> Listed {
    let algorithm = &config.algorithm;
    Listed { name: algorithm.name.clone(), options: algorithm.parameters.clone() }
}

/// A layer before its first step.
fn untouched(tensor: &SparseTensor) -> LayerView<'_> {
    LayerView {
        active: tensor.index(),
        weights: tensor.values(),
        gradients: tensor.gradients(),
        momentum: tensor.momentum(),
        probe: Probe::None,
    }
}

/// How a network runs that trains on `images`. No batch is larger than they are.
fn options(config: &Config, images: &Dataset) -> Options {
    let batch_size = config.train.batch_size.min(images.len()).max(1);
    let activations = config.engine.activations.into();
    Options { batch_size, threads: threads(config), activations, instruction_set: None }
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
        AlgorithmError::Pattern { .. } | AlgorithmError::Unprepared { .. } => "algorithm.pattern".to_owned(),
    };
    ConfigError::of_key(&key, error.to_string()).into()
}
