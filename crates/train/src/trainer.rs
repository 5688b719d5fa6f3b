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
use crate::flops::Cost;
use crate::lr::LearningRate;
use crate::metrics::{Bytes, DecisionRecord, EpochRecord, StartCost, StepRecord, StepTiming, Tally};
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

/// Time that a step spent on the mask, but for its probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaskTime {
    /// The algorithm read the gradients.
    pub observe: Duration,
    /// It decided: scores and selection.
    pub select: Duration,
    /// Its changes were checked and applied: patterns, values, momentum.
    pub apply: Duration,
}

impl MaskTime {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.observe + self.select + self.apply
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
    pub(crate) cost: Cost,
    pub(crate) train: Loader,
    pub(crate) test: Loader,
    pub(crate) rate: LearningRate,
    pub(crate) mask_time: MaskTime,
    /// Steps done.
    pub(crate) step: u64,
    /// Epochs done.
    pub(crate) epoch: u64,
    /// Record of the last of them.
    pub(crate) last: Option<EpochRecord>,
    /// What it took to choose the first mask, before step 0.
    pub(crate) start: StartCost,
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
        self.algorithm.begin(step, learning_rate as f32);
        self.probes.request(step, self.algorithm.as_ref(), &mut self.network, &self.sparse)?;
        let smoothing = self.config.train.smoothing as f32;
        let output = self.network.forward_backward(&batch.images, &batch.labels, smoothing)?;
        if !output.loss.is_finite() {
            return Err(TrainError::Diverged { step, epoch: self.epoch, loss: output.loss, learning_rate });
        }

        let flops = self.cost.step(&self.network, output.count, self.algorithm.probe_share());
        let Bytes { parameter_bytes, held_bytes } = Bytes::of(&self.network, self.algorithm.as_ref());
        let observing = Instant::now();
        self.algorithm.observe(step, &self.probes.views(&self.network, &self.sparse));
        self.mask_time = MaskTime { observe: observing.elapsed(), ..MaskTime::default() };
        let deciding = self.algorithm.decides_at(step);
        if !(deciding && self.algorithm.replaces_weight_step()) {
            self.network.sgd_step(&self.sgd(learning_rate));
        }
        let decisions = if deciding { self.decide()? } else { Vec::new() };

        self.step += 1;
        let spent = self.network.timings();
        let timing = StepTiming {
            total_s: started.elapsed().as_secs_f64(),
            data_s: 0.0,
            forward_s: spent.forward.as_secs_f64(),
            backward_s: spent.backward.as_secs_f64(),
            optimizer_s: spent.optimizer.as_secs_f64(),
            topology_s: self.mask_time.total().as_secs_f64(),
            held_bytes,
        };
        let accuracy = output.correct as f64 / output.count.max(1) as f64;
        let (epoch, loss, images) = (self.epoch, output.loss, output.count);
        let record = StepRecord { step, epoch, loss, accuracy, images, learning_rate, flops, parameter_bytes, timing };
        Ok((record, decisions))
    }

    /// Lets the algorithm decide, checks every change, and only then applies them.
    fn decide(&mut self) -> Result<Vec<DecisionRecord>, TrainError> {
        let (step, selecting) = (self.step, Instant::now());
        let views = self.probes.views(&self.network, &self.sparse);
        let changes = self.algorithm.update(step, &views);
        self.mask_time.select = selecting.elapsed();
        let applying = Instant::now();
        self.check(&changes, &views, self.algorithm.budget(step))?;
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
            let after = self.network.weights()[weight].index();
            records.push(DecisionRecord::new(step, &self.layers[layer], &decision, change, after));
        }
        self.mask_time.apply = applying.elapsed();
        Ok(records)
    }

    /// The promises of an algorithm: valid changes, one per layer, that keep to the number of non-zeros.
    pub(crate) fn check(&self, changes: &[Change], views: &[LayerView<'_>], budget: Budget) -> Result<(), TrainError> {
        let (algorithm, step) = (self.algorithm.name(), self.step);
        let balanced = |place: String, dropped: usize, grown: usize| match dropped == grown {
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
            if !layer.keeps_pattern(view.active, change) {
                return Err(TrainError::Pattern { algorithm, step, layer: layer_name(), pattern: layer.pattern });
            }
            if budget == Budget::PerLayer {
                balanced(format!("layer {}", layer.name), change.dropped.len(), change.grown.len())?;
            }
        }
        let sum = |list: fn(&Change) -> usize| changes.iter().map(list).sum::<usize>();
        let (dropped, grown) = (sum(|change| change.dropped.len()), sum(|change| change.grown.len()));
        let Budget::Scheduled(expected) = budget else { return balanced("the whole network".into(), dropped, grown) };
        let found = views.iter().map(|view| view.active.len()).sum::<usize>() + grown - dropped;
        if found == expected { Ok(()) } else { Err(TrainError::Schedule { algorithm, step, found, expected }) }
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
        let trained = tally.elapsed();
        let testing = Instant::now();
        let test = evaluate(&mut self.network, &self.test)?;
        if !test.loss.is_finite() {
            let step = self.step.saturating_sub(1);
            let (epoch, loss, learning_rate) = (self.epoch, test.loss, self.rate.at(step));
            return Err(TrainError::Diverged { step, epoch, loss, learning_rate });
        }
        let record = tally.record(self, &test, trained, testing.elapsed());
        self.epoch += 1;
        Ok(record)
    }
}
