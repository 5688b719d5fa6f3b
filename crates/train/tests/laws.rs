//! What an algorithm is promised by the trainer: a decision moves what it says, and nothing else, bit for bit.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bidst_topology::algorithms::{self, Listed};
use bidst_topology::{
    Algorithm, AlgorithmError, Budget, Change, Context, LayerSpec, LayerView, Maker, Needs, Scorer, StartError,
};
use bidst_train::trainer::{Event, Trainer};
use bidst_train::{metrics::DecisionRecord, setup};

/// Positions with the bits of weight and momentum.
type Bits = Vec<(u32, u32, u32)>;

/// Watches an algorithm: after each of its decisions, the network must hold what the change says.
struct Spy {
    inner: Box<dyn Algorithm>,
    expected: Option<Vec<Bits>>,
    checked: Arc<AtomicUsize>,
}

impl Spy {
    fn after(view: &LayerView<'_>, change: &Change) -> Bits {
        let entry = |position: u32| match view.active.binary_search(&position) {
            Ok(_) if change.reset.contains(&position) => (0.0, 0.0),
            Ok(at) => (view.weights[at], view.momentum[at]),
            Err(_) => {
                let at = change.grown.binary_search(&position).unwrap();
                (change.grown_values.get(at).copied().unwrap_or(0.0), 0.0)
            }
        };
        let bits = |position| {
            let (weight, momentum): (f32, f32) = entry(position);
            (position, weight.to_bits(), momentum.to_bits())
        };
        change.applied_to(view.active).into_iter().map(bits).collect()
    }
}

impl Algorithm for Spy {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn prunes_at_start(&self) -> bool {
        self.inner.prunes_at_start()
    }
    fn at_start(&mut self, views: &[LayerView<'_>], scorer: &mut dyn Scorer) -> Result<Vec<Change>, StartError> {
        self.inner.at_start(views, scorer)
    }
    fn begin(&mut self, step: u64, learning_rate: f32) {
        self.inner.begin(step, learning_rate);
    }
    fn needs(&self, step: u64, layer: usize) -> Needs<'_> {
        self.inner.needs(step, layer)
    }
    fn probe_share(&self) -> f32 {
        self.inner.probe_share()
    }
    fn observe(&mut self, step: u64, views: &[LayerView<'_>]) {
        if let Some(expected) = self.expected.take() {
            for (view, expected) in views.iter().zip(expected) {
                let entries = view.active.iter().zip(view.weights).zip(view.momentum);
                let found: Bits = entries.map(|((&p, weight), v)| (p, weight.to_bits(), v.to_bits())).collect();
                assert_eq!(found, expected, "{} before step {step}", self.name());
            }
            self.checked.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.observe(step, views);
    }
    fn replaces_weight_step(&self) -> bool {
        self.inner.replaces_weight_step()
    }
    fn next_decision(&self, step: u64) -> Option<u64> {
        self.inner.next_decision(step)
    }
    fn update(&mut self, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let changes = self.inner.update(step, views);
        self.expected = Some(views.iter().zip(&changes).map(|(view, change)| Spy::after(view, change)).collect());
        changes
    }
    fn budget(&self, step: u64) -> Budget {
        self.inner.budget(step)
    }
}

struct Watched {
    listed: Listed,
    checked: Arc<AtomicUsize>,
}

impl Maker for Watched {
    fn start(&self, layers: &mut [LayerSpec]) -> Result<(), AlgorithmError> {
        self.listed.start(layers)
    }
    fn build(&self, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
        let (inner, checked) = (self.listed.build(context)?, self.checked.clone());
        Ok(Box::new(Spy { inner, expected: None, checked }))
    }
}

/// Options under which an algorithm decides several times within 15 steps.
fn often(name: &str) -> Listed {
    let defaults = (algorithms::find(name).unwrap().defaults)();
    let wanted = [("update_interval", 3), ("average_window", 2), ("rounds", 5)];
    let known = wanted.into_iter().filter(|(key, _)| defaults.contains_key(*key));
    Listed { name: name.into(), options: known.map(|(key, value)| (key.into(), value.into())).collect() }
}

#[test]
fn after_a_decision_kept_weights_and_momenta_are_untouched_and_new_ones_start_as_the_change_says() {
    for entry in algorithms::list().iter().filter(|entry| !entry.dense) {
        let (config, data) = (common::config("static", &[]), common::splits());
        let graph = setup::graph(&config, &data.train).unwrap();
        let checked = Arc::new(AtomicUsize::new(0));
        let watched = Watched { listed: often(entry.name), checked: checked.clone() };
        let mut trainer = Trainer::of(config, data, graph, &watched).unwrap();
        let decides = (0..14).any(|step| watched_decides(&watched, step));
        for _ in 0..3 {
            trainer.epoch(&mut |_: Event<'_>| Ok(())).unwrap();
        }
        assert_eq!(checked.load(Ordering::Relaxed) > 0, decides, "{}", entry.name);
    }
}

/// Whether the algorithm decides at a step of the tiny run that is not its last.
fn watched_decides(watched: &Watched, step: u64) -> bool {
    let mut layers = [LayerSpec::new("fc.weight", vec![8, 8], 16)];
    watched.start(&mut layers).unwrap();
    let context = Context {
        layers: &layers,
        total_steps: 15,
        steps_per_epoch: 5,
        seed: 0,
        weight_decay: 5e-4,
        learning_rate: 0.1,
        momentum: 0.9,
        batch_size: 16,
    };
    watched.build(&context).unwrap().decides_at(step)
}

/// The records of an epoch: of each decision, and those that are to be logged.
fn epoch(trainer: &mut Trainer) -> (Vec<DecisionRecord>, Vec<DecisionRecord>) {
    let (mut single, mut logged) = (Vec::new(), Vec::new());
    let mut note = |event: Event<'_>| {
        if let Event::Decision { records, log } = event {
            single.extend_from_slice(records);
            logged.extend_from_slice(log);
        }
        Ok(())
    };
    trainer.epoch(&mut note).unwrap();
    (single, logged)
}

fn patterns(trainer: &Trainer) -> Vec<(String, Vec<u32>)> {
    let weights = trainer.network().weights().iter();
    weights.map(|weight| (weight.name().to_owned(), weight.index().to_vec())).collect()
}

#[test]
fn decisions_of_every_step_share_a_record_per_epoch_whose_sums_and_iou_are_exact() {
    let mut trainer = Trainer::new(common::config("deep-r", &["optim.lr=1.0"]), common::splits()).unwrap();
    let mut moved = 0;
    for epoch_steps in [4, 5, 5] {
        let before = patterns(&trainer);
        let (single, logged) = epoch(&mut trainer);
        let after = patterns(&trainer);
        let layers: Vec<&String> = logged.iter().map(|record| &record.layer).collect();
        assert_eq!(single.len(), epoch_steps * layers.len());
        for record in &logged {
            let of_layer = || single.iter().filter(|one| one.layer == record.layer);
            assert_eq!(record.decisions, epoch_steps as u64);
            assert_eq!(record.grown, of_layer().map(|one| one.grown).sum::<u64>());
            assert_eq!(record.dropped, of_layer().map(|one| one.dropped).sum::<u64>());
            let last = of_layer().next_back().unwrap();
            assert_eq!((record.step, record.nnz, record.itop), (last.step, last.nnz, last.itop));
            let of = |patterns: &[(String, Vec<u32>)]| patterns.iter().find(|p| p.0 == record.layer).unwrap().1.clone();
            let (before, after) = (of(&before), of(&after));
            let common = after.iter().filter(|position| before.contains(position)).count();
            assert_eq!(record.iou, common as f64 / (before.len() + after.len() - common) as f64);
            moved += record.grown;
        }
    }
    assert!(moved > 0, "no weight changed its sign");
}

#[test]
fn decisions_that_are_far_apart_have_a_record_each() {
    let settings = ["algorithm.update_interval=2", "run.log_interval=2", "algorithm.stop=1.0"];
    let mut trainer = Trainer::new(common::config("set", &settings), common::splits()).unwrap();
    for _ in 0..3 {
        let (single, logged) = epoch(&mut trainer);
        assert!(!single.is_empty());
        assert_eq!(single, logged);
    }
}
