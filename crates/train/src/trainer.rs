//! The training loop.
//!
//! A step: ask the algorithm which gradients it needs → forward and backward on the non-zeros, with probes where asked →
//! stop if a number is infinite or none, with everything as before → let the algorithm observe → move the weights (unless a decision takes the place of that) →
//! at a decision, let the algorithm propose a change of every layer's pattern, check all of them, apply them.

use std::time::{Duration, Instant};

use bidst_data::{Batch, Batches, Loader};
use bidst_engine::{Network, Sgd, StepOutput};
use bidst_model::Graph;
use bidst_topology::{Algorithm, Budget, Change, LayerSpec, LayerView, TopologyStats};

use crate::checkpoint::DataMark;
use crate::config::Config;
use crate::error::TrainError;
use crate::evaluate::evaluate;
use crate::export::{About, ModelFile};
use crate::flops::Cost;
use crate::guard::{Guard, Offence};
use crate::lr::LearningRate;
use crate::metrics::{
    Bytes, Decided, DecisionRecord, EpochRecord, SpikeRecord, StartCost, StepRecord, StepTiming, Tally,
};
use crate::probes::Probes;
use crate::sparsity::{Allocation, Totals};
use crate::spikes::{OnSpike, SpikeWatch};

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
        /// What is to be logged of this and earlier decisions; see [`Decided::log`].
        log: &'a [DecisionRecord],
    },
    /// The loss of a step stood out; comes before its step's event.
    Spike {
        /// Its record.
        record: &'a SpikeRecord,
    },
    /// An epoch was done and evaluated.
    Epoch {
        /// Its record.
        record: &'a EpochRecord,
    },
    /// Something happened around the training that a person may want to know.
    Note {
        /// What.
        text: &'a str,
    },
}

/// What whoever watches a training wants to happen between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// The next step.
    #[default]
    GoOn,
    /// A checkpoint, then the next step.
    Save,
    /// A checkpoint, and no further step.
    Stop,
}

/// Where a call of [`Trainer::epoch`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// After the evaluation.
    Epoch,
    /// Between two steps, or between the last step and the evaluation, because of a wish. The next call goes on there.
    Step,
}

/// Watches training. Closures are observers.
pub trait Observer {
    /// Called for every event; an error ends the training with that error.
    ///
    /// # Errors
    /// Whatever shall end the training, such as [`TrainError::Stopped`].
    fn on(&mut self, event: Event<'_>) -> Result<(), TrainError>;

    /// Asked after every step.
    fn wish(&mut self) -> Wish {
        Wish::GoOn
    }
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
    pub(crate) guard: Guard,
    pub(crate) spikes: SpikeWatch,
    /// The loss of the last step, if it stood out.
    pub(crate) spike: Option<SpikeRecord>,
    /// The batches to come of the epoch under way, if it was begun in this process.
    pub(crate) running: Option<Batches>,
    /// Sums over its steps.
    pub(crate) tally: Tally,
    /// Steps done.
    pub(crate) step: u64,
    /// Epochs done.
    pub(crate) epoch: u64,
    /// Record of the last of them.
    pub(crate) last: Option<EpochRecord>,
    /// What it took to choose the first mask, before step 0.
    pub(crate) start: StartCost,
    /// Bytes that choosing it took in this process; 0 if that was not done here.
    pub(crate) scoring: u64,
    /// What the data set is.
    pub(crate) data: DataMark,
}

impl Trainer {
    /// Trains to the end of the epoch under way and evaluates the network, unless the observer wishes something in between.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] and [`TrainError::Spiked`], with everything as it was before the offending step; the former
    /// also if the loss on the test images is no number after the last step. Errors of the engine, of an algorithm that breaks
    /// its promises, and of the observer.
    pub fn epoch(&mut self, observer: &mut dyn Observer) -> Result<Pause, TrainError> {
        let begun = self.running.take();
        let mut batches = begun.unwrap_or_else(|| self.train.epoch(self.epoch, self.batch()));
        let mut waiting = Instant::now();
        while let Some(batch) = batches.next() {
            let (batch, waited) = (batch?, waiting.elapsed());
            let (mut record, decided) = self.train_on(&batch)?;
            record.timing.data_s = waited.as_secs_f64();
            record.timing.total_s += record.timing.data_s;
            self.train.recycle(batch);
            self.tally.add(&record, &decided.layers);
            if !decided.layers.is_empty() {
                observer.on(Event::Decision { records: &decided.layers, log: &decided.log })?;
            }
            if let Some(record) = &self.spike {
                observer.on(Event::Spike { record })?;
            }
            let next_decision = self.algorithm.next_decision(self.step);
            observer.on(Event::Step { record: &record, next_decision })?;
            if observer.wish() != Wish::GoOn {
                self.running = Some(batches);
                return Ok(Pause::Step);
            }
            waiting = Instant::now();
        }
        let record = self.finish_epoch()?;
        observer.on(Event::Epoch { record: self.last.insert(record) })?;
        Ok(Pause::Epoch)
    }

    /// Batches of the epoch under way that are done.
    pub fn batch(&self) -> usize {
        (self.step - self.epoch * self.train.batches_per_epoch() as u64) as usize
    }

    /// One step on one batch; also returns what was decided.
    ///
    /// # Errors
    /// As [`Trainer::epoch`].
    pub fn train_on(&mut self, batch: &Batch) -> Result<(StepRecord, Decided), TrainError> {
        let started = Instant::now();
        let (step, learning_rate) = (self.step, self.rate.at(self.step));
        let sgd = self.sgd(learning_rate);
        self.algorithm.begin(step, learning_rate as f32);
        self.probes.request(step, self.algorithm.as_ref(), &mut self.network, &self.sparse)?;
        let smoothing = self.config.train.smoothing as f32;
        self.guard.remember(&self.network);
        let output = self.network.forward_backward(&batch.images, &batch.labels, smoothing)?;
        let moves = self.judge(&output, &sgd)?;

        let flops = self.cost.step(&self.network, output.count);
        let Bytes { parameter_bytes, held_bytes } = Bytes::of(&self.network, self.algorithm.as_ref());
        let observing = Instant::now();
        self.algorithm.observe(step, &self.probes.views(&self.network, &self.sparse));
        self.mask_time = MaskTime { observe: observing.elapsed(), ..MaskTime::default() };
        let deciding = self.algorithm.decides_at(step);
        if moves && !(deciding && self.algorithm.replaces_weight_step()) {
            self.network.sgd_step(&sgd);
        }
        let decided = if deciding { self.decide()? } else { Decided::default() };

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
        Ok((record, decided))
    }

    /// Whether the weights may move after a backward pass. If not, the running statistics are put back.
    pub(crate) fn judge(&mut self, output: &StepOutput, sgd: &Sgd) -> Result<bool, TrainError> {
        let offence = match output.loss.is_finite() {
            true => self.guard.find(&self.network, sgd),
            false => Some(("the loss".to_owned(), output.loss)),
        };
        if let Some((place, value)) = offence {
            self.guard.restore(&mut self.network);
            return Err(self.diverged(place, value));
        }
        // A smaller batch has other noise.
        let is_whole = output.count == self.network.batch_size();
        self.spike = if is_whole { self.spikes.judge(self.step, output.loss) } else { None };
        let on_spike = self.config.train.on_spike;
        if self.spike.is_some() && on_spike != OnSpike::Warn {
            self.guard.restore(&mut self.network);
        }
        match self.spike {
            Some(spike) if on_spike == OnSpike::Stop => return Err(TrainError::Spiked { spike, kept: None }),
            _ if is_whole => self.spikes.remember(output.loss),
            _ => {}
        }
        Ok(self.spike.is_none() || on_spike == OnSpike::Warn)
    }

    fn diverged(&self, place: String, value: f64) -> TrainError {
        let (step, epoch, batch) = (self.step, self.epoch, self.batch());
        let offence = Offence { place, value, step, epoch, batch };
        TrainError::Diverged { offence, learning_rate: self.rate.at(step), kept: None }
    }

    /// Lets the algorithm decide, checks every change, and only then applies them.
    fn decide(&mut self) -> Result<Decided, TrainError> {
        let (step, selecting) = (self.step, Instant::now());
        let views = self.probes.views(&self.network, &self.sparse);
        let changes = self.algorithm.update(step, &views);
        self.mask_time.select = selecting.elapsed();
        let applying = Instant::now();
        self.check(&changes, &views, self.algorithm.budget(step))?;
        self.stats.count_decision(&changes);

        let (due, mut decided) = (self.log_is_due(), Decided::default());
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
            let record = DecisionRecord::new(step, &self.layers[layer], &decision, change, after);
            if due {
                decided.log.push(record.over(self.stats.take(layer, after)));
            }
            decided.layers.push(record);
        }
        self.mask_time.apply = applying.elapsed();
        Ok(decided)
    }

    /// Whether the decision of this step is the last of the epoch, or of those that follow each other closely.
    fn log_is_due(&self) -> bool {
        let per_epoch = self.train.batches_per_epoch() as u64;
        self.algorithm.next_decision(self.step + 1).is_none_or(|next| {
            next - self.step >= self.config.run.log_interval || next / per_epoch > self.step / per_epoch
        })
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
            if let Some(&value) = change.grown_values.iter().find(|value| !value.is_finite()) {
                return Err(TrainError::GrownValue { algorithm, step, layer: layer_name(), value });
            }
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

    pub(crate) fn sgd(&self, learning_rate: f64) -> Sgd {
        let optim = &self.config.optim;
        Sgd {
            learning_rate: learning_rate as f32,
            momentum: optim.momentum as f32,
            nesterov: optim.nesterov,
            weight_decay: optim.weight_decay as f32,
        }
    }

    fn finish_epoch(&mut self) -> Result<EpochRecord, TrainError> {
        let testing = Instant::now();
        let test = evaluate(&mut self.network, &self.test)?;
        if !test.loss.is_finite() {
            return Err(self.diverged("the loss on the test images after the last step".to_owned(), test.loss));
        }
        let tally = std::mem::take(&mut self.tally);
        let record = tally.record(self, &test, testing.elapsed());
        self.epoch += 1;
        Ok(record)
    }
}
