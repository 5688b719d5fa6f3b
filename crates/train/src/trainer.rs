//! The training loop.
//!
//! A step: ask the algorithm which gradients it needs → forward and backward on the non-zeros, with probes where asked →
//! stop if the loss is not a number → let the algorithm observe → move the weights (unless a decision takes the place of that) →
//! at a decision, let the algorithm propose a change of every layer's pattern, check all of them, apply them.

use std::time::{Duration, Instant};

use bidst_data::{Batch, Loader};
use bidst_engine::{Network, Sgd};
use bidst_model::Graph;
use bidst_topology::{Algorithm, Budget, Change, LayerSpec, LayerView, TopologyStats};

use crate::config::Config;
use crate::error::TrainError;
use crate::evaluate::evaluate;
use crate::export::{About, ModelFile};
use crate::lr::LearningRate;
use crate::metrics::{DecisionRecord, EpochRecord, EpochTiming, StepRecord, StepTiming, peak_rss_bytes};
use crate::probes::Probes;
use crate::sparsity::{Allocation, Totals};

/// What happens during training, in order.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step was done.
    Step {
        /// Its record.
        record: &'a StepRecord,
        /// Step of the next decision, if one is still to come.
        next_decision: Option<u64>,
    },
    /// A decision was taken; comes before its step's event.
    Decision {
        /// One record per sparsified layer.
        records: &'a [DecisionRecord],
    },
    /// An epoch was done and evaluated.
    Epoch {
        /// Its record.
        record: &'a EpochRecord,
    },
}

/// Watches training. Closures are observers.
pub trait Observer {
    /// Called for every event; an error ends the training with that error.
    ///
    /// # Errors
    /// Whatever shall end the training, such as [`TrainError::Stopped`].
    fn on(&mut self, event: Event<'_>) -> Result<(), TrainError>;
}

impl<F: FnMut(Event<'_>) -> Result<(), TrainError>> Observer for F {
    fn on(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        self(event)
    }
}

/// A network in training, with everything that its next step depends on.
pub struct Trainer {
    pub(crate) config: Config,
    pub(crate) graph: Graph,
    pub(crate) allocation: Allocation,
    pub(crate) network: Network,
    pub(crate) algorithm: Box<dyn Algorithm>,
    /// The sparsified tensors as the algorithm sees them.
    pub(crate) layers: Vec<LayerSpec>,
    /// Their indices among the network's weights.
    pub(crate) sparse: Vec<usize>,
    pub(crate) probes: Probes,
    pub(crate) stats: TopologyStats,
    pub(crate) train: Loader,
    pub(crate) test: Loader,
    pub(crate) rate: LearningRate,
    /// Steps done.
    pub(crate) step: u64,
    /// Epochs done.
    pub(crate) epoch: u64,
    /// Record of the last of them.
    pub(crate) last: Option<EpochRecord>,
}

impl Trainer {
    /// Trains one epoch and evaluates the network.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], with the weights as they were before the offending step, or if the loss on the test images
    /// is no number after the last step; errors of the engine, of an
    /// algorithm that breaks its promises, and of the observer.
    pub fn epoch(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let mut tally = Tally::new();
        let mut waiting = Instant::now();
        for batch in self.train.epoch(self.epoch, 0) {
            let waited = waiting.elapsed();
            let (mut record, decisions) = self.train_on(&batch)?;
            record.timing.data_s = waited.as_secs_f64();
            record.timing.total_s += record.timing.data_s;
            self.train.recycle(batch);
            tally.add(&record, &decisions);
            if !decisions.is_empty() {
                observer.on(Event::Decision { records: &decisions })?;
            }
            let next_decision = self.algorithm.next_decision(self.step);
            observer.on(Event::Step { record: &record, next_decision })?;
            waiting = Instant::now();
        }
        let record = self.finish_epoch(tally)?;
        observer.on(Event::Epoch { record: &record })?;
        self.last = Some(record);
        Ok(())
    }

    /// One step on one batch; also returns what was decided, one record per layer, or none.
    ///
    /// # Errors
    /// As [`Trainer::epoch`].
    pub fn train_on(&mut self, batch: &Batch) -> Result<(StepRecord, Vec<DecisionRecord>), TrainError> {
        let started = Instant::now();
        let (step, learning_rate) = (self.step, self.rate.at(self.step));
        self.probes.request(step, self.algorithm.as_ref(), &mut self.network, &self.sparse)?;
        let smoothing = self.config.train.smoothing as f32;
        let output = self.network.forward_backward(&batch.images, &batch.labels, smoothing)?;
        if !output.loss.is_finite() {
            return Err(TrainError::Diverged { step, epoch: self.epoch, loss: output.loss, learning_rate });
        }

        let mut overhead = Stopwatch::default();
        let views = self.probes.views(&self.network, &self.sparse);
        overhead.time(|| self.algorithm.observe(step, &views));
        let deciding = self.algorithm.decides_at(step);
        if !(deciding && self.algorithm.replaces_weight_step()) {
            self.network.sgd_step(&self.sgd(learning_rate));
        }
        let decisions = if deciding { overhead.time(|| self.decide())? } else { Vec::new() };

        self.step += 1;
        let spent = self.network.timings();
        let timing = StepTiming {
            total_s: started.elapsed().as_secs_f64(),
            data_s: 0.0,
            forward_s: spent.forward.as_secs_f64(),
            backward_s: spent.backward.as_secs_f64(),
            optimizer_s: spent.optimizer.as_secs_f64(),
            topology_s: overhead.total.as_secs_f64(),
        };
        let accuracy = output.correct as f64 / output.count.max(1) as f64;
        let (epoch, loss, images) = (self.epoch, output.loss, output.count);
        Ok((StepRecord { step, epoch, loss, accuracy, images, learning_rate, timing }, decisions))
    }

    /// Lets the algorithm decide, checks every change, and only then applies them.
    fn decide(&mut self) -> Result<Vec<DecisionRecord>, TrainError> {
        let step = self.step;
        let views = self.probes.views(&self.network, &self.sparse);
        let changes = self.algorithm.update(step, &views);
        self.check(&changes, &views)?;
        self.stats.count_decision(&changes);

        let mut records = Vec::with_capacity(changes.len());
        for (layer, change) in changes.iter().enumerate() {
            let weight = self.sparse[layer];
            let before = self.network.weights()[weight].index();
            if self.probes.are_dense(layer) {
                self.stats.inspect_all(layer);
            }
            let decision = self.stats.record(layer, before, change, self.probes.candidates(layer));
            let Change { dropped, grown, grown_values, reset } = change;
            self.network.apply(weight, dropped, grown, grown_values, reset)?;
            records.push(DecisionRecord {
                step,
                layer: self.layers[layer].name.clone(),
                nnz: decision.nnz,
                dropped: dropped.len(),
                grown: grown.len(),
                reset: reset.len(),
                iou: decision.iou,
                itop: decision.itop,
                inspected: decision.inspected,
            });
        }
        Ok(records)
    }

    /// The promises of an algorithm: valid changes, one per layer, that keep the number of non-zeros.
    fn check(&self, changes: &[Change], views: &[LayerView<'_>]) -> Result<(), TrainError> {
        let (algorithm, step) = (self.algorithm.name(), self.step);
        let budget = |place: String, dropped: usize, grown: usize| match dropped == grown {
            true => Ok(()),
            false => Err(TrainError::Budget { algorithm, step, place, dropped, grown }),
        };
        if changes.len() != self.layers.len() {
            return Err(TrainError::Changes { algorithm, step, found: changes.len(), expected: self.layers.len() });
        }
        for ((change, layer), view) in changes.iter().zip(&self.layers).zip(views) {
            let layer_name = || layer.name.clone();
            change.check(layer.len(), view.active).map_err(|source| TrainError::Change {
                algorithm,
                step,
                layer: layer_name(),
                source,
            })?;
            if self.algorithm.budget() == Budget::PerLayer {
                budget(format!("layer {}", layer.name), change.dropped.len(), change.grown.len())?;
            }
        }
        let sum = |list: fn(&Change) -> usize| changes.iter().map(list).sum();
        budget("the whole network".to_owned(), sum(|change| change.dropped.len()), sum(|change| change.grown.len()))
    }

    /// Name of the instruction set that the kernels use.
    pub fn instruction_set(&self) -> &'static str {
        self.network.instruction_set().name()
    }

    /// The model as it is now. `about.sparse` is filled in.
    pub fn model(&self, about: About) -> ModelFile {
        ModelFile::from_network(about, &self.graph, &self.network)
    }

    /// How many weights there are, and how many exist.
    pub fn totals(&self) -> Totals {
        self.allocation.totals()
    }

    /// Trainable parameters of the network, if it were dense.
    pub fn parameters(&self) -> usize {
        self.graph.parameter_count()
    }

    /// The network, to look at.
    pub fn network(&self) -> &Network {
        &self.network
    }

    fn sgd(&self, learning_rate: f64) -> Sgd {
        let optim = &self.config.optim;
        Sgd {
            learning_rate: learning_rate as f32,
            momentum: optim.momentum as f32,
            nesterov: optim.nesterov,
            weight_decay: optim.weight_decay as f32,
        }
    }

    fn finish_epoch(&mut self, tally: Tally) -> Result<EpochRecord, TrainError> {
        let trained = tally.started.elapsed();
        let testing = Instant::now();
        let test = evaluate(&mut self.network, &self.test)?;
        if !test.loss.is_finite() {
            let step = self.step.saturating_sub(1);
            let (epoch, loss, learning_rate) = (self.epoch, test.loss, self.rate.at(step));
            return Err(TrainError::Diverged { step, epoch, loss, learning_rate });
        }
        let images = tally.images.max(1) as f64;
        let record = EpochRecord {
            epoch: self.epoch,
            steps: self.step,
            train_loss: tally.loss / images,
            train_accuracy: tally.correct / images,
            test_loss: test.loss,
            test_accuracy: test.accuracy,
            decisions: tally.decisions,
            swaps: tally.swaps,
            itop: self.stats.itop(),
            timing: EpochTiming {
                train_s: trained.as_secs_f64(),
                test_s: testing.elapsed().as_secs_f64(),
                data_s: tally.data_s,
                topology_s: tally.topology_s,
                images_per_s: images / trained.as_secs_f64(),
                peak_rss_bytes: peak_rss_bytes().unwrap_or(0),
            },
        };
        self.epoch += 1;
        Ok(record)
    }
}

/// Sums over the steps of an epoch.
struct Tally {
    started: Instant,
    loss: f64,
    correct: f64,
    images: usize,
    decisions: u64,
    swaps: u64,
    data_s: f64,
    topology_s: f64,
}

impl Tally {
    fn new() -> Tally {
        let started = Instant::now();
        Tally { started, loss: 0.0, correct: 0.0, images: 0, decisions: 0, swaps: 0, data_s: 0.0, topology_s: 0.0 }
    }

    fn add(&mut self, record: &StepRecord, decisions: &[DecisionRecord]) {
        self.loss += record.loss * record.images as f64;
        self.correct += (record.accuracy * record.images as f64).round();
        self.images += record.images;
        let swaps: usize = decisions.iter().map(|decision| decision.grown).sum();
        self.swaps += swaps as u64;
        self.decisions += u64::from(swaps > 0);
        self.data_s += record.timing.data_s;
        self.topology_s += record.timing.topology_s;
    }
}

/// Adds up the time of several calls.
#[derive(Default)]
struct Stopwatch {
    total: Duration,
}

impl Stopwatch {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.total += started.elapsed();
        result
    }
}
