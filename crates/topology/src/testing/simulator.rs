//! A training loop without a network: one noisy quadratic loss per layer, Σ ½·a·(z − t)², and SGD with momentum.

use super::{Broken, Fault, Law, matrices};
use crate::rng::{self, Purpose, Streams};
use crate::{
    Algorithm, Budget, Change, Context, LayerDecision, LayerSpec, LayerView, Maker, Mask, Needs, Probe, Sample, Scorer,
    StartError, TopologyStats,
};

const WEIGHT_DECAY: f32 = 1e-3;
const LEARNING_RATE: f32 = 0.05;
const MOMENTUM: f32 = 0.9;

/// One layer in training. Weights and momentum are aligned with the mask's active positions.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its mask.
    pub mask: Mask,
    /// Its weights.
    pub weights: Vec<f32>,
    /// Their momentum.
    pub momentum: Vec<f32>,
    target: Vec<f32>,
    steepness: Vec<f32>,
}

/// One decision as it was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// At the end of which step.
    pub step: u64,
    /// One per layer.
    pub changes: Vec<Change>,
    /// What was measured, one per layer.
    pub layers: Vec<LayerDecision>,
    /// The masks afterwards.
    pub masks: Vec<Mask>,
    /// Per layer, the values that the dropped positions had.
    pub left: Vec<Vec<f32>>,
}

/// A run that checks what the algorithm does in every step.
#[derive(Clone, Debug)]
pub struct Simulator {
    /// The layers as they are.
    pub layers: Vec<Layer>,
    /// The layers as the algorithm was told of them.
    pub specs: Vec<LayerSpec>,
    /// What is wrong with the gradients from now on.
    pub fault: Fault,
    /// Gradients delivered as probes, over all steps.
    pub probed: usize,
    /// What the masks did.
    pub stats: TopologyStats,
    seed: u64,
    steps: u64,
}

impl Simulator {
    /// A run of `steps` on matrices of these (positions, non-zeros).
    pub fn new(layers: &[(usize, usize)], seed: u64, steps: u64) -> Self {
        Self::of(matrices(layers), seed, steps)
    }

    /// A run on these layers, with random first masks and weights.
    pub fn of(specs: Vec<LayerSpec>, seed: u64, steps: u64) -> Self {
        let layers: Vec<Layer> = specs.iter().enumerate().map(|(i, spec)| Layer::new(spec, i as u64, seed)).collect();
        let stats = TopologyStats::new(&masks(&layers));
        Self { layers, specs, fault: Fault::None, seed, steps, stats, probed: 0 }
    }

    /// A run of the algorithm that `maker` makes, which has yet to choose its first masks if it does.
    ///
    /// # Errors
    /// [`Law::Start`]
    pub fn start(
        maker: &dyn Maker,
        mut specs: Vec<LayerSpec>,
        seed: u64,
        steps: u64,
    ) -> Result<(Self, Box<dyn Algorithm>), Broken> {
        maker.start(&mut specs).map_err(|error| Law::Start.broken(format!("it is refused: {error}")))?;
        let odd = specs.iter().find(|spec| spec.nnz < spec.target || spec.nnz > spec.len());
        if let Some(LayerSpec { name, nnz, target, .. }) = odd {
            return Err(Law::Start.broken(format!("{name} starts with {nnz} non-zeros, its target is {target}")));
        }
        let simulator = Self::of(specs, seed, steps);
        let built = maker.build(&simulator.context());
        Ok((simulator, built.map_err(|error| Law::Start.broken(format!("it is refused: {error}")))?))
    }

    /// What the algorithm is told of the run.
    pub fn context(&self) -> Context<'_> {
        Context {
            layers: &self.specs,
            total_steps: self.steps,
            steps_per_epoch: 10,
            seed: self.seed,
            weight_decay: WEIGHT_DECAY,
            learning_rate: LEARNING_RATE,
            momentum: MOMENTUM,
            batch_size: 16,
        }
    }

    /// Makes every position like any other: equal weights and gradients, and where there is a choice the first odd
    /// positions active.
    pub fn level(&mut self) {
        self.fault = Fault::AllEqual;
        for layer in &mut self.layers {
            let (len, nnz) = (layer.mask.len(), layer.mask.nnz());
            let mut active: Vec<u32> = (0..len as u32).filter(|position| position % 2 == 1).take(nnz).collect();
            if active.len() < nnz {
                active = (0..nnz as u32).collect();
            }
            layer.mask = Mask::new(len, active).expect("ascending and in range");
            layer.weights.fill(0.25);
        }
        self.stats = TopologyStats::new(&masks(&self.layers));
    }

    /// Non-zeros of each layer.
    pub fn nnz(&self) -> Vec<usize> {
        self.layers.iter().map(|layer| layer.mask.nnz()).collect()
    }

    /// Non-zeros that all layers together may have at the end.
    pub fn target(&self) -> usize {
        self.specs.iter().map(|spec| spec.target).sum()
    }

    /// Lets the algorithm choose the first masks, if it does.
    ///
    /// # Errors
    /// The algorithm's own; what it breaks comes as the inner error.
    pub fn prune_at_start(&mut self, algorithm: &mut dyn Algorithm) -> Result<Result<(), Broken>, StartError> {
        if !algorithm.prunes_at_start() {
            return Ok(Ok(()));
        }
        let first = self.layers.clone();
        let none = vec![Vec::new(); first.len()];
        let nothing: Vec<Owned> = first.iter().map(|_| Owned::Nothing).collect();
        let changes = algorithm.at_start(&views(&first, &none, &nothing, &none), self)?;
        self.layers = first;
        Ok(self.pruned(&changes))
    }

    fn pruned(&mut self, changes: &[Change]) -> Result<(), Broken> {
        let only_drops = changes.iter().all(|change| change.grown.is_empty() && change.reset.is_empty());
        Law::Legal.holds(only_drops, || "the first masks may only drop positions".into())?;
        self.apply(0, Budget::Scheduled(self.target()), changes, &[])?;
        self.stats = TopologyStats::new(&masks(&self.layers));
        Ok(())
    }

    /// Everything a run leaves behind, bit for bit.
    pub fn bits(&self) -> Vec<(Vec<u32>, Vec<u32>, Vec<u32>)> {
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
        self.layers.iter().map(|l| (l.mask.active().to_vec(), bits(&l.weights), bits(&l.momentum))).collect()
    }

    /// The loss of all layers, without noise.
    pub fn loss(&self) -> f64 {
        self.layers.iter().map(Layer::loss).sum()
    }

    /// Steps `from..to`.
    ///
    /// # Errors
    /// The first law that is broken on the way.
    pub fn run(&mut self, algorithm: &mut dyn Algorithm, from: u64, to: u64) -> Result<Vec<Decision>, Broken> {
        (from..to).filter_map(|step| self.step(algorithm, step).transpose()).collect()
    }

    fn step(&mut self, algorithm: &mut dyn Algorithm, step: u64) -> Result<Option<Decision>, Broken> {
        algorithm.begin(step, LEARNING_RATE);
        let gradients: Vec<Vec<f32>> = (0..self.layers.len()).map(|layer| self.gradients(layer, step)).collect();
        let answer = |layer| self.answer(step, algorithm.needs(step, layer), layer);
        let probes: Vec<Owned> = (0..self.layers.len()).map(answer).collect::<Result<_, _>>()?;
        let active: Vec<Vec<f32>> =
            self.layers.iter().zip(&gradients).map(|(layer, dense)| pick(dense, layer.mask.active())).collect();
        let probed: Vec<Vec<f32>> = probes.iter().zip(&gradients).map(|(probe, dense)| probe.pick(dense)).collect();
        self.probed += probed.iter().map(Vec::len).sum::<usize>();

        let announced = algorithm.next_decision(step);
        Law::Times.holds(announced.is_none_or(|next| next >= step), || {
            format!("at step {step} the next decision is said to be at {announced:?}")
        })?;
        algorithm.observe(step, &views(&self.layers, &active, &probes, &probed));
        let deciding = algorithm.decides_at(step);
        Law::Times.holds(deciding == (announced == Some(step)), || {
            format!("step {step}: decides_at says {deciding}, and next_decision {announced:?}")
        })?;
        if !(deciding && algorithm.replaces_weight_step()) {
            self.layers.iter_mut().zip(&active).for_each(|(layer, gradients)| layer.sgd(gradients));
        }
        if !deciding {
            return Ok(None);
        }
        let changes = algorithm.update(step, &views(&self.layers, &active, &probes, &probed));
        let left = self.layers.iter().zip(&changes).map(|(layer, change)| layer.values(&change.dropped)).collect();
        let layers = self.apply(step, algorithm.budget(step), &changes, &probes)?;
        Ok(Some(Decision { step, changes, layers, masks: masks(&self.layers), left }))
    }

    fn apply(
        &mut self,
        step: u64,
        budget: Budget,
        changes: &[Change],
        probes: &[Owned],
    ) -> Result<Vec<LayerDecision>, Broken> {
        let (before, layers) = (self.nnz(), self.layers.len());
        Law::Legal
            .holds(changes.len() == layers, || format!("step {step}: {} changes for {layers} layers", changes.len()))?;
        self.stats.count_decision(changes);
        let mut decisions = Vec::new();
        for (i, change) in changes.iter().enumerate() {
            let name = &self.specs[i].name;
            let old = self.layers[i].mask.clone();
            let stuck = budget == Budget::PerLayer && [0, old.len()].contains(&old.nnz());
            Law::Full.holds(!stuck || change.is_empty(), || format!("step {step}, {name}: {change:?}"))?;
            let candidates = match probes.get(i) {
                Some(Owned::Candidates(index)) => index.as_slice(),
                _ => &[],
            };
            let legal = change.check(old.len(), old.active());
            legal.map_err(|error| Law::Legal.broken(format!("step {step}, {name}: {error}")))?;
            self.layers[i].apply(change);
            decisions.push(self.stats.record(i, old.active(), change, candidates));
            let (spec, active) = (&self.specs[i], self.layers[i].mask.active());
            Law::Pattern
                .holds(spec.pattern.holds(&spec.shape, active), || format!("step {step}, {name}: {}", spec.pattern))?;
        }
        self.balance(step, budget, &before)?;
        Ok(decisions)
    }

    fn balance(&self, step: u64, budget: Budget, before: &[usize]) -> Result<(), Broken> {
        let now = self.nnz();
        let (then, total) = (before.iter().sum::<usize>(), now.iter().sum::<usize>());
        let exact = match budget {
            Budget::PerLayer => before == now,
            Budget::Total => then == total,
            Budget::Scheduled(expected) => expected == total,
        };
        Law::Count.holds(exact, || format!("step {step}: from {before:?} to {now:?} non-zeros under {budget:?}"))
    }

    /// Keeps an owned copy of what was asked for, checked.
    fn answer(&self, step: u64, needs: Needs<'_>, layer: usize) -> Result<Owned, Broken> {
        let mask = &self.layers[layer].mask;
        match needs {
            Needs::Active => Ok(Owned::Nothing),
            Needs::Dense => Ok(Owned::Dense),
            Needs::Candidates(index) => {
                let right = Mask::new(mask.len(), index.to_vec()).is_ok() && !index.iter().any(|&p| mask.contains(p));
                Law::Probes.holds(right, || format!("step {step}, layer {layer}: {index:?}"))?;
                Ok(Owned::Candidates(index.to_vec()))
            }
        }
    }

    fn gradients(&self, layer: usize, step: u64) -> Vec<f32> {
        let Layer { mask, weights, target, steepness, .. } = &self.layers[layer];
        let mut z = vec![0.0; mask.len()];
        mask.active().iter().zip(weights).for_each(|(&position, &weight)| z[position as usize] = weight);
        let key = Streams::new(self.seed).key(Purpose::Other, layer as u64, step);
        let noise = |i: usize| 0.1 * (rng::at(key, i as u64) as f64 * 2f64.powi(-63) - 1.0) as f32;
        (0..mask.len())
            .map(|i| match self.fault {
                Fault::AllZero => 0.0,
                Fault::AllEqual => 0.25,
                Fault::AllNan => f32::NAN,
                Fault::SomeNan if i % 2 == 0 && !mask.contains(i as u32) => f32::NAN,
                _ => steepness[i] * (z[i] - target[i]) + noise(i),
            })
            .collect()
    }
}

/// Scores of a quadratic loss, and of a flow R = Π over layers of Σ|θ|.
impl Scorer for Simulator {
    fn loss_gradients(&mut self, _sample: &Sample, weights: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, StartError> {
        let at = |(layer, weights): (&mut Layer, &Vec<f32>)| {
            layer.weights.clone_from(weights);
            layer.mask.clone()
        };
        let masks: Vec<Mask> = self.layers.iter_mut().zip(weights).map(at).collect();
        Ok(masks.iter().enumerate().map(|(i, mask)| pick(&self.gradients(i, 0), mask.active())).collect())
    }

    fn flow_gradients(&mut self, weights: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, StartError> {
        let sum = |weights: &Vec<f32>| weights.iter().map(|weight| weight.abs()).sum::<f32>();
        let others = |layer: usize| (0..weights.len()).filter(|&i| i != layer).map(|i| sum(&weights[i])).product();
        Ok((0..weights.len()).map(|layer| vec![others(layer); weights[layer].len()]).collect())
    }
}

enum Owned {
    Nothing,
    Candidates(Vec<u32>),
    Dense,
}

impl Owned {
    fn pick(&self, dense: &[f32]) -> Vec<f32> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Candidates(index) => pick(dense, index),
            Self::Dense => dense.to_vec(),
        }
    }
}

fn masks(layers: &[Layer]) -> Vec<Mask> {
    layers.iter().map(|layer| layer.mask.clone()).collect()
}

fn pick(dense: &[f32], index: &[u32]) -> Vec<f32> {
    index.iter().map(|&position| dense[position as usize]).collect()
}

fn views<'a>(
    layers: &'a [Layer],
    active: &'a [Vec<f32>],
    probes: &'a [Owned],
    probed: &'a [Vec<f32>],
) -> Vec<LayerView<'a>> {
    let view = |i: usize| LayerView {
        active: layers[i].mask.active(),
        weights: &layers[i].weights,
        gradients: &active[i],
        momentum: &layers[i].momentum,
        probe: match &probes[i] {
            Owned::Nothing => Probe::None,
            Owned::Candidates(index) => Probe::Candidates { index, gradients: &probed[i], share: 1.0 },
            Owned::Dense => Probe::Dense { gradients: &probed[i], share: 1.0 },
        },
    };
    (0..layers.len()).map(view).collect()
}

impl Layer {
    fn new(spec: &LayerSpec, index: u64, seed: u64) -> Self {
        let streams = Streams::new(seed);
        let mut draw = streams.stream(Purpose::Init, index, 0);
        let mut normal = |scale: f64| (scale * rng::normal(&mut draw)) as f32;
        let len = spec.len();
        Self {
            mask: Mask::first(spec, &mut streams.stream(Purpose::Mask, index, 0)).expect("the count was checked"),
            weights: (0..spec.nnz).map(|_| normal(0.3)).collect(),
            momentum: vec![0.0; spec.nnz],
            // Few positions matter, so that finding them pays.
            target: (0..len).map(|i| if i % 7 == 0 { normal(2.0) } else { normal(0.05) }).collect(),
            steepness: (0..len).map(|_| normal(0.3).abs() + 0.5).collect(),
        }
    }

    /// Weights at these positions, those that are active.
    fn values(&self, positions: &[u32]) -> Vec<f32> {
        let entries = positions.iter().filter_map(|position| self.mask.active().binary_search(position).ok());
        entries.map(|entry| self.weights[entry]).collect()
    }

    fn loss(&self) -> f64 {
        let at = |i: usize| self.mask.active().binary_search(&(i as u32)).map_or(0.0, |entry| self.weights[entry]);
        (0..self.mask.len()).map(|i| 0.5 * f64::from(self.steepness[i] * (at(i) - self.target[i]).powi(2))).sum()
    }

    fn sgd(&mut self, gradients: &[f32]) {
        for ((weight, momentum), gradient) in self.weights.iter_mut().zip(&mut self.momentum).zip(gradients) {
            *momentum = MOMENTUM * *momentum + gradient + WEIGHT_DECAY * *weight;
            *weight -= LEARNING_RATE * *momentum;
        }
    }

    /// Applies a checked change.
    fn apply(&mut self, change: &Change) {
        let old = self.mask.clone();
        self.mask = Mask::new(old.len(), change.applied_to(old.active())).expect("the change was checked");
        let value = |position: &u32| match old.active().binary_search(position) {
            Ok(_) if change.reset.binary_search(position).is_ok() => (0.0, 0.0),
            Ok(entry) => (self.weights[entry], self.momentum[entry]),
            Err(_) => {
                let entry = change.grown.binary_search(position).unwrap_or_default();
                (change.grown_values.get(entry).copied().unwrap_or(0.0), 0.0)
            }
        };
        (self.weights, self.momentum) = self.mask.active().iter().map(value).unzip();
    }
}
