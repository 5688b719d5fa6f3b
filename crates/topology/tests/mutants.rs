//! Algorithms that are wrong in one way each, to prove that the conformance suite notices, and that none of its laws is
//! empty. Each is a real algorithm with one thing done differently.

mod cases;
mod twist;

use bidst_topology::algorithms::Listed;
use bidst_topology::rng::{Purpose, Streams};
use bidst_topology::testing::{Law, Violation};
use bidst_topology::{
    Algorithm, AlgorithmError, Change, Context, LayerSpec, LayerView, Maker, Mask, Needs, Scorer, StartError, State,
    StateError,
};
use cases::{Case, worlds};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use twist::{After, Mutant, Seen, Twist, with};

/// How a mutant is made.
#[derive(Clone, Copy)]
struct Mutation {
    /// What it does, as a sentence without its subject.
    what: &'static str,
    /// The algorithm that does it right, and its options.
    base: (&'static str, &'static str),
    /// The law that it breaks.
    law: Law,
    /// What happens to the layers before the start.
    prepare: fn(&mut [LayerSpec]),
    twist: fn(&Context<'_>) -> Box<dyn Twist>,
}

impl Mutation {
    fn judge(self) -> Result<(), Violation> {
        let case = Case::new(self.base.0, self.base.1);
        case.subject_with(|listed| Wrapped { listed, mutation: self }).check(worlds())
    }
}

struct Wrapped {
    listed: Listed,
    mutation: Mutation,
}

impl Maker for Wrapped {
    fn start(&self, layers: &mut [LayerSpec]) -> Result<(), AlgorithmError> {
        self.listed.start(layers)?;
        (self.mutation.prepare)(layers);
        Ok(())
    }
    fn build(&self, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
        Ok(Box::new(Mutant { inner: self.listed.build(context)?, twist: (self.mutation.twist)(context) }))
    }
}

/// What the real algorithm would decide if it saw other weights and gradients.
struct Seeing {
    weights: fn(f32) -> f32,
    gradients: fn(f32) -> f32,
}

impl Twist for Seeing {
    fn update(&mut self, inner: &mut dyn Algorithm, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let mut seen: Vec<Seen> = views.iter().map(Seen::of).collect();
        for layer in &mut seen {
            layer.weights.iter_mut().for_each(|weight| *weight = (self.weights)(*weight));
            layer.dense.iter_mut().for_each(|gradient| *gradient = (self.gradients)(*gradient));
        }
        inner.update(step, &seen.iter().map(Seen::view).collect::<Vec<_>>())
    }
}

/// The real algorithm in a mirror: it prefers the higher index.
struct Mirror {
    lens: Vec<u32>,
}

impl Twist for Mirror {
    fn update(&mut self, inner: &mut dyn Algorithm, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let flip = |positions: &[u32], len: u32| positions.iter().rev().map(|p| len - 1 - p).collect::<Vec<u32>>();
        let mut seen: Vec<Seen> = views.iter().map(Seen::of).collect();
        for (layer, &len) in seen.iter_mut().zip(&self.lens) {
            layer.active = flip(&layer.active, len);
            for values in [&mut layer.weights, &mut layer.gradients, &mut layer.momentum, &mut layer.dense] {
                values.reverse();
            }
        }
        let changes = inner.update(step, &seen.iter().map(Seen::view).collect::<Vec<_>>());
        let upright = |(change, &len): (Change, &u32)| Change {
            dropped: flip(&change.dropped, len),
            grown: flip(&change.grown, len),
            reset: flip(&change.reset, len),
            ..Change::default()
        };
        changes.into_iter().zip(&self.lens).map(upright).collect()
    }
}

/// One step late in everything.
struct Late;

impl Twist for Late {
    fn next(&self, inner: &dyn Algorithm, step: u64) -> Option<u64> {
        inner.next_decision(step.saturating_sub(1)).map(|next| next + 1)
    }
    fn needs<'a>(&self, inner: &'a dyn Algorithm, step: u64, layer: usize) -> Needs<'a> {
        inner.needs(step.saturating_sub(1), layer)
    }
    fn update(&mut self, inner: &mut dyn Algorithm, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        inner.update(step - 1, views)
    }
}

/// Once more after the last decision.
struct Encore;

impl Twist for Encore {
    fn next(&self, inner: &dyn Algorithm, step: u64) -> Option<u64> {
        let last = (0..cases::STEPS).rev().find(|&step| inner.decides_at(step)).unwrap_or(0) + 6;
        inner.next_decision(step).or((step <= last).then_some(last))
    }
}

/// The share of the first decision, for ever.
struct Undamped;

impl Twist for Undamped {
    fn update(&mut self, inner: &mut dyn Algorithm, _step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        inner.update(6, views)
    }
}

/// Asks to the end.
struct Curious;

impl Twist for Curious {
    fn needs<'a>(&self, _inner: &'a dyn Algorithm, _step: u64, _layer: usize) -> Needs<'a> {
        Needs::Dense
    }
}

/// Takes one layer for the next.
struct Crossed {
    layers: usize,
}

impl Twist for Crossed {
    fn needs<'a>(&self, inner: &'a dyn Algorithm, step: u64, layer: usize) -> Needs<'a> {
        inner.needs(step, (layer + 1) % self.layers)
    }
}

/// A pattern of its own, which a checkpoint knows nothing of.
struct Stale {
    masks: Vec<Vec<u32>>,
}

impl Stale {
    fn new(context: &Context<'_>) -> Self {
        let first = |(i, layer): (usize, &LayerSpec)| {
            let mut rng = Streams::new(context.seed).stream(Purpose::Mask, i as u64, 0);
            Mask::first(layer, &mut rng).unwrap().active().to_vec()
        };
        Self { masks: context.layers.iter().enumerate().map(first).collect() }
    }
}

impl Twist for Stale {
    fn update(&mut self, inner: &mut dyn Algorithm, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let mut changes = inner.update(step, views);
        for ((mask, change), view) in self.masks.iter_mut().zip(&mut changes).zip(views) {
            change.dropped.retain(|position| mask.contains(position));
            change.grown.truncate(change.dropped.len());
            *mask = change.applied_to(view.active);
        }
        changes
    }
}

/// Nothing in the checkpoint, and nothing asked of it.
struct Forgetful;

impl Twist for Forgetful {
    fn save(&self, _inner: &dyn Algorithm) -> State {
        State::default()
    }
    fn load(&mut self, _inner: &mut dyn Algorithm, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

/// Saves and does not load.
struct Deaf;

impl Twist for Deaf {
    fn load(&mut self, _inner: &mut dyn Algorithm, _state: &State) -> Result<(), StateError> {
        Ok(())
    }
}

/// Clears its memory before it looks whether there is another.
struct Hasty;

impl Twist for Hasty {
    fn load(&mut self, inner: &mut dyn Algorithm, state: &State) -> Result<(), StateError> {
        let mut blank = inner.save();
        blank.f32s.values_mut().for_each(|values| values.fill(0.0));
        inner.load(&blank)?;
        inner.load(state)
    }
}

/// Takes from itself what a state lacks.
struct Lenient;

impl Twist for Lenient {
    fn load(&mut self, inner: &mut dyn Algorithm, state: &State) -> Result<(), StateError> {
        let mut whole = inner.save();
        whole.f32s.extend(state.f32s.clone());
        whole.u32s.extend(state.u32s.clone());
        whole.u64s.extend(state.u64s.clone());
        inner.load(&whole)
    }
}

/// Keeps a number for every position and does not say so.
struct Hoard {
    len: usize,
}

impl Twist for Hoard {
    fn save(&self, inner: &dyn Algorithm) -> State {
        let mut state = inner.save();
        state.f32s.insert("hoard".into(), vec![0.5; 4 * self.len]);
        state
    }
}

/// Another rule in another thread than the one that made it.
struct Threaded {
    home: ThreadId,
}

impl Twist for Threaded {
    fn update(&mut self, inner: &mut dyn Algorithm, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let changes = inner.update(step, views);
        if thread::current().id() == self.home { changes } else { vec![Change::default(); views.len()] }
    }
}

/// Luck that goes on from run to run.
struct Lucky;

static LUCK: AtomicU64 = AtomicU64::new(0);

impl Twist for Lucky {
    fn update(&mut self, inner: &mut dyn Algorithm, _step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        inner.update(LUCK.fetch_add(1, Ordering::Relaxed), views)
    }
}

/// Moves a whole layer elsewhere.
struct Evacuate {
    lens: Vec<usize>,
}

impl Twist for Evacuate {
    fn update(&mut self, inner: &mut dyn Algorithm, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let mut changes = inner.update(step, views);
        let [from, to, ..] = views else { return changes };
        let all = 0..self.lens[1] as u32;
        let room: Vec<u32> = all.filter(|position| !to.active.contains(position)).take(from.active.len()).collect();
        if room.len() == from.active.len() {
            changes.fill(Change::default());
            changes[0].dropped = from.active.to_vec();
            changes[1].grown = room;
        }
        changes
    }
}

/// One position too many at the start.
struct Hesitant;

impl Twist for Hesitant {
    fn at_start(
        &mut self,
        inner: &mut dyn Algorithm,
        views: &[LayerView<'_>],
        scorer: &mut dyn Scorer,
    ) -> Result<Vec<Change>, StartError> {
        let mut changes = inner.at_start(views, scorer)?;
        changes[0].dropped.pop();
        Ok(changes)
    }
}

/// What it does after the fact, in the same table as the others.
macro_rules! after {
    ($spoil:expr) => {
        |context| Box::new(After { layers: context.layers.to_vec(), spoil: $spoil })
    };
}

const SET: (&str, &str) = ("set", "");
const RIGL: (&str, &str) = ("rigl", "");

fn mutations() -> Vec<Mutation> {
    let mutation = |what, base, law, twist| Mutation { what, base, law, prepare: |_| {}, twist };
    let few = |layers: &mut [LayerSpec]| layers.iter_mut().for_each(|layer| layer.nnz = layer.target / 2);
    let list: Vec<Mutation> = vec![
        Mutation { prepare: few, ..mutation("starts with half of its weights", SET, Law::Start, after!(|_| {})) },
        mutation(
            "names a position twice",
            SET,
            Law::Legal,
            after!(|scene| {
                if let Some(&first) = scene.change.grown.first() {
                    with(&mut scene.change.grown, first);
                }
            }),
        ),
        mutation("does not sort", SET, Law::Legal, after!(|scene| scene.change.grown.reverse())),
        mutation(
            "grows where a weight is",
            SET,
            Law::Legal,
            after!(|scene| {
                if let (Some(kept), Some(_)) = (scene.kept(), scene.change.grown.pop()) {
                    with(&mut scene.change.grown, kept);
                }
            }),
        ),
        mutation(
            "drops what it grows",
            SET,
            Law::Legal,
            after!(|scene| {
                if let (Some(&grown), Some(_)) = (scene.change.grown.first(), scene.change.dropped.pop()) {
                    with(&mut scene.change.dropped, grown);
                }
            }),
        ),
        mutation(
            "grows one fewer than it drops",
            SET,
            Law::Count,
            after!(|scene| {
                scene.change.grown.pop();
            }),
        ),
        mutation("keeps one too many at the start", ("snip", ""), Law::Count, |_| Box::new(Hesitant)),
        mutation(
            "leaves its cells of two in four",
            ("rigl", "pattern = '2:4'"),
            Law::Pattern,
            after!(|scene| {
                if let (Some(_), Some(&other)) = (scene.change.grown.pop(), scene.free.last()) {
                    with(&mut scene.change.grown, other);
                }
            }),
        ),
        mutation(
            "takes from one neuron for another",
            ("set", "pattern = 'fan-in'"),
            Law::Pattern,
            after!(|scene| {
                let other = scene.free.iter().rfind(|position| **position < 16);
                if let (true, Some(&other), Some(_)) = (scene.layer == 2, other, scene.change.grown.pop()) {
                    with(&mut scene.change.grown, other);
                }
            }),
        ),
        mutation(
            "touches a dense layer",
            SET,
            Law::Full,
            after!(|scene| {
                if scene.free.is_empty() {
                    scene.change.reset = scene.kept().into_iter().collect();
                }
            }),
        ),
        mutation("gives a whole layer away", ("dsr", ""), Law::Alive, |context| {
            Box::new(Evacuate { lens: context.layers.iter().map(LayerSpec::len).collect() })
        }),
        mutation(
            "scores the candidates of another layer",
            ("bidst", "candidates = 'rotating'"),
            Law::Probes,
            |context| Box::new(Crossed { layers: context.layers.len() }),
        ),
        mutation("decides one step late", RIGL, Law::Times, |_| Box::new(Late)),
        mutation("decides once more after the stop", SET, Law::Stop, |_| Box::new(Encore)),
        mutation("asks for gradients to the end", RIGL, Law::Idle, |_| Box::new(Curious)),
        mutation(
            "replaces one too many",
            SET,
            Law::Replaced,
            after!(|scene| {
                if let (Some(kept), Some(&free)) = (scene.kept(), scene.free.first()) {
                    with(&mut scene.change.dropped, kept);
                    with(&mut scene.change.grown, free);
                }
            }),
        ),
        mutation(
            "replaces one too few",
            SET,
            Law::Replaced,
            after!(|scene| {
                scene.change.dropped.pop();
                scene.change.grown.pop();
            }),
        ),
        mutation(
            "forgets to reset what returns",
            ("mest", ""),
            Law::Replaced,
            after!(|scene| {
                scene.change.reset.clear();
            }),
        ),
        mutation("never replaces less than at first", SET, Law::Replaced, |_| Box::new(Undamped)),
        mutation(
            "resets what it keeps",
            ("granet", ""),
            Law::Still,
            after!(|scene| {
                scene.change.reset = scene.kept().into_iter().collect();
            }),
        ),
        mutation("depends on the thread", RIGL, Law::Same, |_| Box::new(Threaded { home: thread::current().id() })),
        mutation("draws from a generator of the process", ("set", "drop_schedule = 'constant'"), Law::Same, |_| {
            Box::new(Lucky)
        }),
        mutation("keeps a pattern that is not loaded", SET, Law::Resume, |context| Box::new(Stale::new(context))),
        mutation("does not save", ("snfs", ""), Law::Resume, |_| Box::new(Forgetful)),
        mutation("does not load", ("bidst", ""), Law::Resume, |_| Box::new(Deaf)),
        mutation("clears its memory before it reads", ("snfs", ""), Law::Damage, |_| Box::new(Hasty)),
        mutation("fills in what is missing", ("top-kast", ""), Law::Damage, |_| Box::new(Lenient)),
        mutation("keeps what it does not declare", SET, Law::Declared, |context| {
            Box::new(Hoard { len: context.layers.iter().map(LayerSpec::len).sum() })
        }),
        mutation("prefers the higher of equals", RIGL, Law::Ties, |context| {
            Box::new(Mirror { lens: context.layers.iter().map(|layer| layer.len() as u32).collect() })
        }),
        mutation("grows where the gradient is smallest", RIGL, Law::Pays, |_| {
            Box::new(Seeing { weights: |weight| weight, gradients: |gradient| 1.0 / gradient })
        }),
        mutation("drops the largest weights", SET, Law::Pays, |_| {
            Box::new(Seeing { weights: |weight| 1.0 / weight, gradients: |gradient| gradient })
        }),
    ];
    list
}

#[test]
fn the_suite_catches_every_mutant_by_the_law_that_it_breaks() {
    let missed = mutations().into_iter().filter_map(|mutation| {
        let found = mutation.judge().err().map(|violation| violation.broken);
        let right = found.as_ref().is_some_and(|broken| broken.law == mutation.law);
        (!right).then(|| format!("{} that {}: {found:?}", mutation.base.0, mutation.what))
    });
    let missed: Vec<String> = missed.collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_law_catches_a_mutant() {
    let caught: Vec<Law> = mutations().iter().map(|mutation| mutation.law).collect();
    let empty: Vec<Law> = Law::ALL.into_iter().filter(|law| !caught.contains(law)).collect();
    assert!(empty.is_empty(), "no mutant breaks {empty:?}");
}

#[test]
fn a_wrapper_that_changes_nothing_is_no_mutant() {
    let plain = |base| Mutation {
        what: "",
        base,
        law: Law::Legal,
        prepare: |_| {},
        twist: |context| Box::new(After { layers: context.layers.to_vec(), spoil: |_| {} }),
    };
    for base in mutations().into_iter().map(|mutation| mutation.base) {
        plain(base).judge().unwrap_or_else(|violation| panic!("{violation}"));
    }
}
