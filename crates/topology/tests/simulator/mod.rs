//! A training loop without a network: one noisy quadratic loss per layer, Σ ½·a·(z − t)², and SGD with momentum.

use bidst_topology::rng::{self, Purpose, Streams};
use bidst_topology::{
    Algorithm, Budget, Change, Context, LayerDecision, LayerSpec, LayerView, Mask, Needs, Probe, Sample, Scorer,
    StartError, TopologyStats, algorithms,
};

/// What is wrong with the gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    AllZero,
    AllNan,
    SomeNan,
    AllEqual,
}

#[derive(Clone, Debug)]
pub struct Layer {
    pub mask: Mask,
    pub weights: Vec<f32>,
    pub momentum: Vec<f32>,
    target: Vec<f32>,
    steepness: Vec<f32>,
}

#[derive(Clone, Debug)]
pub struct Simulator {
    pub layers: Vec<Layer>,
    pub specs: Vec<LayerSpec>,
    pub fault: Fault,
    pub seed: u64,
    pub total_steps: u64,
    pub stats: TopologyStats,
    /// Gradients delivered as probes, over all steps.
    pub probed: usize,
}

pub const WEIGHT_DECAY: f32 = 1e-3;
pub const LEARNING_RATE: f32 = 0.05;

/// One decision as it was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub step: u64,
    pub changes: Vec<Change>,
    pub layers: Vec<LayerDecision>,
    /// Per layer, the values that the dropped positions had.
    pub left: Vec<Vec<f32>>,
}

impl Simulator {
    /// Layers of these (positions, non-zeros).
    pub fn new(layers: &[(usize, usize)], seed: u64, total_steps: u64) -> Self {
        Self::of(specs(layers), seed, total_steps)
    }

    /// The run of a listed algorithm on layers that may have these (positions, non-zeros), before it is pruned.
    pub fn start(
        layers: &[(usize, usize)],
        seed: u64,
        total_steps: u64,
        (name, options): (&str, &toml::Table),
    ) -> (Self, Box<dyn Algorithm>) {
        Self::start_on(specs(layers), seed, total_steps, (name, options))
    }

    /// The same on layers of any shape.
    pub fn start_on(
        mut specs: Vec<LayerSpec>,
        seed: u64,
        total_steps: u64,
        (name, options): (&str, &toml::Table),
    ) -> (Self, Box<dyn Algorithm>) {
        algorithms::start(name, options, &mut specs).unwrap();
        let simulator = Self::of(specs, seed, total_steps);
        let algorithm = algorithms::build(name, options, &simulator.context()).unwrap();
        (simulator, algorithm)
    }

    fn of(specs: Vec<LayerSpec>, seed: u64, total_steps: u64) -> Self {
        let layers: Vec<Layer> = specs.iter().enumerate().map(|(i, spec)| Layer::new(spec, i as u64, seed)).collect();
        let masks: Vec<Mask> = layers.iter().map(|layer| layer.mask.clone()).collect();
        let stats = TopologyStats::new(&masks);
        Self { layers, specs, fault: Fault::None, seed, total_steps, stats, probed: 0 }
    }

    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            layers: &self.specs,
            total_steps: self.total_steps,
            steps_per_epoch: 10,
            seed: self.seed,
            weight_decay: WEIGHT_DECAY,
            learning_rate: LEARNING_RATE,
            momentum: 0.9,
            batch_size: 16,
        }
    }

    pub fn nnz(&self) -> Vec<usize> {
        self.layers.iter().map(|layer| layer.mask.nnz()).collect()
    }

    /// Non-zeros that all layers together may have.
    pub fn target(&self) -> usize {
        self.specs.iter().map(|spec| spec.target).sum()
    }

    /// Lets the algorithm choose the first masks, if it does, checked.
    pub fn prune_at_start(&mut self, algorithm: &mut dyn Algorithm) -> Result<(), StartError> {
        if !algorithm.prunes_at_start() {
            return Ok(());
        }
        let first = self.layers.clone();
        let none = vec![Vec::new(); first.len()];
        let nothing: Vec<Owned> = first.iter().map(|_| Owned::Nothing).collect();
        let changes = algorithm.at_start(&views(&first, &none, &nothing, &none), self)?;
        assert_eq!(changes.len(), first.len());
        self.layers = first;
        for (layer, change) in self.layers.iter_mut().zip(&changes) {
            assert!(change.grown.is_empty() && change.reset.is_empty());
            layer.apply(change);
        }
        assert_eq!(self.nnz().iter().sum::<usize>(), self.target());
        let masks: Vec<Mask> = self.layers.iter().map(|layer| layer.mask.clone()).collect();
        self.stats = TopologyStats::new(&masks);
        Ok(())
    }

    /// Everything a run leaves behind, bit for bit.
    pub fn bits(&self) -> Vec<(Vec<u32>, Vec<u32>, Vec<u32>)> {
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
        self.layers.iter().map(|l| (l.mask.active().to_vec(), bits(&l.weights), bits(&l.momentum))).collect()
    }

    pub fn loss(&self) -> f64 {
        self.layers.iter().map(Layer::loss).sum()
    }

    /// Steps `from..to`, checking every law of a change on the way.
    pub fn run(&mut self, algorithm: &mut dyn Algorithm, from: u64, to: u64) -> Vec<Decision> {
        (from..to).filter_map(|step| self.step(algorithm, step)).collect()
    }

    fn step(&mut self, algorithm: &mut dyn Algorithm, step: u64) -> Option<Decision> {
        algorithm.begin(step, LEARNING_RATE);
        let gradients: Vec<Vec<f32>> = (0..self.layers.len()).map(|layer| self.gradients(layer, step)).collect();
        let probes: Vec<Owned> = (0..self.layers.len()).map(|i| self.answer(algorithm.needs(step, i), i)).collect();
        let active: Vec<Vec<f32>> =
            self.layers.iter().zip(&gradients).map(|(layer, dense)| pick(dense, layer.mask.active())).collect();
        let probed: Vec<Vec<f32>> = probes.iter().zip(&gradients).map(|(probe, dense)| probe.pick(dense)).collect();
        self.probed += probed.iter().map(Vec::len).sum::<usize>();

        algorithm.observe(step, &views(&self.layers, &active, &probes, &probed));
        let deciding = algorithm.decides_at(step);
        assert_eq!(deciding, algorithm.next_decision(step) == Some(step));
        if !(deciding && algorithm.replaces_weight_step()) {
            self.layers.iter_mut().zip(&active).for_each(|(layer, gradients)| layer.sgd(gradients));
        }
        deciding.then(|| {
            let changes = algorithm.update(step, &views(&self.layers, &active, &probes, &probed));
            let left = self.layers.iter().zip(&changes).map(|(layer, change)| layer.values(&change.dropped)).collect();
            let layers = self.apply(algorithm.budget(step), &changes, &probes);
            Decision { step, changes, layers, left }
        })
    }

    fn apply(&mut self, budget: Budget, changes: &[Change], probes: &[Owned]) -> Vec<LayerDecision> {
        assert_eq!(changes.len(), self.layers.len());
        let before = self.nnz();
        self.stats.count_decision(changes);
        let mut decisions = Vec::new();
        for (i, change) in changes.iter().enumerate() {
            let old = self.layers[i].mask.clone();
            let candidates = match &probes[i] {
                Owned::Candidates(index) => index.as_slice(),
                _ => &[],
            };
            self.layers[i].apply(change);
            let decision = self.stats.record(i, old.active(), change, candidates);
            assert_eq!(decision.iou, old.iou(&self.layers[i].mask));
            assert_eq!(decision.nnz, self.layers[i].mask.nnz());
            assert!(self.specs[i].pattern.holds(&self.specs[i].shape, self.layers[i].mask.active()));
            decisions.push(decision);
        }
        match budget {
            Budget::PerLayer => assert_eq!(before, self.nnz()),
            Budget::Total => assert_eq!(before.iter().sum::<usize>(), self.nnz().iter().sum()),
            Budget::Scheduled(total) => assert_eq!(total, self.nnz().iter().sum()),
        }
        decisions
    }

    /// Keeps an owned copy of what was asked for, checked.
    fn answer(&self, needs: Needs<'_>, layer: usize) -> Owned {
        let mask = &self.layers[layer].mask;
        match needs {
            Needs::Active => Owned::Nothing,
            Needs::Dense => Owned::Dense,
            Needs::Candidates(index) => {
                Mask::new(mask.len(), index.to_vec()).expect("candidates are sorted, unique and in range");
                assert!(index.iter().all(|&position| !mask.contains(position)), "a candidate is active");
                Owned::Candidates(index.to_vec())
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

/// Matrices of at most five rows.
fn specs(layers: &[(usize, usize)]) -> Vec<LayerSpec> {
    let rows = |len: usize| (1..=5).rev().find(|rows| len.is_multiple_of(*rows)).unwrap_or(1);
    let shape = |len: usize| vec![rows(len), len / rows(len)];
    let spec = |(i, &(len, nnz))| LayerSpec::new(format!("layer{i}.weight"), shape(len), nnz);
    layers.iter().enumerate().map(spec).collect()
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
            Owned::Candidates(index) => Probe::Candidates { index, gradients: &probed[i] },
            Owned::Dense => Probe::Dense { gradients: &probed[i] },
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
            mask: Mask::first(spec, &mut streams.stream(Purpose::Mask, index, 0)).unwrap(),
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
            *momentum = 0.9 * *momentum + gradient + WEIGHT_DECAY * *weight;
            *weight -= LEARNING_RATE * *momentum;
        }
    }

    fn apply(&mut self, change: &Change) {
        let old = self.mask.clone();
        change.apply_to(&mut self.mask).expect("a change obeys the laws");
        let value = |position: &u32| match old.active().binary_search(position) {
            Ok(_) if change.reset.contains(position) => (0.0, 0.0),
            Ok(entry) => (self.weights[entry], self.momentum[entry]),
            Err(_) => {
                let entry = change.grown.binary_search(position).unwrap();
                (change.grown_values.get(entry).copied().unwrap_or(0.0), 0.0)
            }
        };
        (self.weights, self.momentum) = self.mask.active().iter().map(value).unzip();
    }
}
