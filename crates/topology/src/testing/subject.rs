//! An algorithm before the law.

use super::{Broken, Decision, Law, Simulator, Violation, World, matrices};
use crate::{Algorithm, Budget, Change, LayerSpec, Maker, Needs, Pattern, State};

/// Steps of every run.
pub(super) const STEPS: u64 = 120;

/// An algorithm and what it says of itself. The more it says, the more is checked.
pub struct Subject<'a> {
    label: String,
    maker: Box<dyn Maker + 'a>,
    still: Option<Box<dyn Maker + 'a>>,
    stopped: Option<Box<dyn Maker + 'a>>,
    decisions: Option<Vec<u64>>,
    replaces: Option<(Replaces, Share<'a>)>,
    layers: Option<Vec<LayerSpec>>,
    may_empty_layers: bool,
    leaves: f64,
}

type Share<'a> = Box<dyn Fn(u64) -> f64 + 'a>;

/// How strictly the drop fraction is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// ⌊α·nnz⌋ positions of each layer are dropped or reset, or as many as it has inactive ones if that is less.
    Exactly,
    /// At most that many are.
    AtMost,
}

impl<'a> Subject<'a> {
    /// Steps of every run that a subject is put through.
    pub const STEPS: u64 = STEPS;

    /// An algorithm with options under which it decides several times within [`STEPS`](Self::STEPS) steps, and what to
    /// call it.
    pub fn new(label: impl Into<String>, maker: impl Maker + 'a) -> Self {
        Self {
            label: label.into(),
            maker: Box::new(maker),
            still: None,
            stopped: None,
            decisions: None,
            replaces: None,
            layers: None,
            may_empty_layers: false,
            leaves: 1.0,
        }
    }

    /// The same algorithm with a drop fraction of 0.
    #[must_use]
    pub fn still(mut self, maker: impl Maker + 'a) -> Self {
        self.still = Some(Box::new(maker));
        self
    }

    /// The same algorithm, told to stop exploring after half of the steps.
    #[must_use]
    pub fn stopped(mut self, maker: impl Maker + 'a) -> Self {
        self.stopped = Some(Box::new(maker));
        self
    }

    /// The steps at which decisions fall, all of them.
    #[must_use]
    pub fn decides_at(mut self, steps: impl IntoIterator<Item = u64>) -> Self {
        self.decisions = Some(steps.into_iter().collect());
        self
    }

    /// The drop fraction α at a step.
    #[must_use]
    pub fn replaces(mut self, how: Replaces, share: impl Fn(u64) -> f64 + 'a) -> Self {
        self.replaces = Some((how, Box::new(share)));
        self
    }

    /// The layers to try it on, if it does not fit any, as because of its pattern.
    #[must_use]
    pub fn on(mut self, layers: Vec<LayerSpec>) -> Self {
        self.layers = Some(layers);
        self
    }

    /// It prunes over all layers at once, so that one may lose everything.
    #[must_use]
    pub fn may_empty_layers(mut self) -> Self {
        self.may_empty_layers = true;
        self
    }

    /// A run ends with less than this share of the loss that a fixed random mask ends with. Default 1; infinity for one
    /// that moves nothing, or to another end.
    #[must_use]
    pub fn leaves(mut self, share: f64) -> Self {
        self.leaves = share;
        self
    }

    /// Holds it to every law, in this many worlds.
    ///
    /// # Errors
    /// The first law that it breaks.
    pub fn check(&self, worlds: u64) -> Result<(), Violation> {
        let in_world = |world: &World, law: Result<(), Broken>| {
            let violation = |broken| Violation { subject: self.label.clone(), broken, world: world.clone() };
            law.map_err(violation)
        };
        let plain = World::of(self.layers(&[(50, 10), (20, 4)]), 3);
        for law in [Self::stops, Self::keeps_time, Self::idles, Self::declares] {
            in_world(&plain, law(self, &plain))?;
        }
        for world in (0..worlds).map(World::numbered) {
            let world = World { layers: self.layers.clone().unwrap_or_else(|| world.layers.clone()), ..world };
            for law in [Self::keeps_count, Self::is_the_same_again, Self::resumes, Self::keeps_still] {
                in_world(&world, law(self, &world))?;
            }
        }
        in_world(&plain, self.refuses_what_is_damaged(&plain))?;
        let even = World::of(self.layers(&[(60, 30)]), 3);
        in_world(&even, self.breaks_ties(&even))?;
        let large = World::of(self.layers(&[(400, 40), (300, 30)]), 5);
        in_world(&large, self.pays(&large))
    }

    fn layers(&self, layers: &[(usize, usize)]) -> Vec<LayerSpec> {
        self.layers.clone().unwrap_or_else(|| matrices(layers))
    }

    /// A run that is about to take its first step.
    fn start(&self, world: &World) -> Result<(Simulator, Box<dyn Algorithm>), Broken> {
        started(self.maker.as_ref(), world)
    }

    fn stops(&self, world: &World) -> Result<(), Broken> {
        let Some(maker) = &self.stopped else { return Ok(()) };
        let next = started(maker.as_ref(), world)?.1.next_decision(STEPS / 2);
        Law::Stop.holds(next.is_none(), || format!("stopped at step {}, it decides at {next:?}", STEPS / 2))
    }

    fn keeps_time(&self, world: &World) -> Result<(), Broken> {
        let (_, algorithm) = self.start(world)?;
        let mut announced = None;
        for step in (0..STEPS).rev() {
            announced = if algorithm.decides_at(step) { Some(step) } else { announced };
            let next = algorithm.next_decision(step).filter(|&next| next < STEPS);
            Law::Times.holds(next == announced, || {
                format!("at step {step} it announces {next:?} instead of {announced:?}")
            })?;
        }
        let Some(expected) = &self.decisions else { return Ok(()) };
        let found: Vec<u64> = (0..STEPS).filter(|&step| algorithm.decides_at(step)).collect();
        Law::Times.holds(&found == expected, || format!("decisions at {found:?} instead of {expected:?}"))
    }

    fn idles(&self, world: &World) -> Result<(), Broken> {
        let (mut simulator, mut algorithm) = self.start(world)?;
        for step in 0..STEPS {
            let asks = (0..world.layers.len()).any(|layer| algorithm.needs(step, layer) != Needs::Active);
            let waits = algorithm.next_decision(step).is_some();
            Law::Idle.holds(!asks || waits, || format!("at step {step} it still asks for gradients at zeros"))?;
            simulator.run(algorithm.as_mut(), step, step + 1)?;
        }
        Ok(())
    }

    /// What is saved is declared, but for a few numbers per channel.
    fn declares(&self, world: &World) -> Result<(), Broken> {
        let (mut simulator, mut algorithm) = self.start(world)?;
        for step in 0..STEPS {
            simulator.run(algorithm.as_mut(), step, step + 1)?;
            let State { f32s, u32s, .. } = algorithm.save();
            let kept = f32s.values().map(Vec::len).chain(u32s.values().map(Vec::len)).sum::<usize>();
            let channels: usize = simulator.specs.iter().flat_map(|spec| &spec.shape[..2]).sum();
            let declared = algorithm.state_bytes();
            Law::Declared.holds(4 * kept <= declared + 4 * channels, || {
                format!("after step {step} it keeps {} bytes, of which it declares {declared}", 4 * kept)
            })?;
        }
        Ok(())
    }

    /// Where all positions of one row look alike, the first change drops the last of the active ones and grows the first
    /// of the others. What differs between seeds is drawn, and exempt; so are patterns, whose cells choose for themselves.
    fn breaks_ties(&self, world: &World) -> Result<(), Broken> {
        let mut found = Vec::new();
        for seed in 0..3 {
            let Some(change) = self.first_change(&World { seed, ..world.clone() })? else { return Ok(()) };
            found.push(change);
        }
        let (before, change, asked) = &found[0];
        let same = |part: fn(&Change) -> Vec<u32>| found.iter().all(|(_, other, _)| part(other) == part(change));
        let gone = |change: &Change| {
            let mut gone = [&change.dropped[..], &change.reset].concat();
            gone.sort_unstable();
            gone
        };
        let dropped = gone(change);
        let last = &before[before.len() - dropped.len()..];
        Law::Ties.holds(!same(gone) || dropped == last, || format!("of {before:?} it drops {dropped:?}"))?;
        let (grown, first) = (&change.grown, asked.get(..change.grown.len()).unwrap_or_default());
        let drawn = asked.is_empty() || !same(|change| change.grown.clone());
        Law::Ties.holds(drawn || grown == first, || format!("of {asked:?} it grows {grown:?}"))
    }

    /// The active positions of a single row before its first change, that change, and the inactive positions whose
    /// gradients were asked for.
    #[allow(clippy::type_complexity)]
    fn first_change(&self, world: &World) -> Result<Option<(Vec<u32>, Change, Vec<u32>)>, Broken> {
        let row = |layer: &LayerSpec| LayerSpec { shape: vec![1, layer.len()], ..layer.clone() };
        let layers = world.layers.iter().take(1).map(row).collect();
        let Ok((mut simulator, mut algorithm)) = Simulator::start(self.maker.as_ref(), layers, world.seed, STEPS)
        else {
            return Ok(None);
        };
        if simulator.specs[0].pattern != Pattern::Unstructured {
            return Ok(None);
        }
        simulator.level();
        simulator.prune_at_start(algorithm.as_mut()).map_err(|error| Law::Start.broken(error.to_string()))??;
        for step in 0..STEPS {
            let mask = simulator.layers[0].mask.clone();
            let inactive = || (0..mask.len() as u32).filter(|&position| !mask.contains(position)).collect();
            let asked = match algorithm.needs(step, 0) {
                Needs::Active => Vec::new(),
                Needs::Candidates(index) => index.to_vec(),
                Needs::Dense => inactive(),
            };
            let decisions = simulator.run(algorithm.as_mut(), step, step + 1)?;
            let change = decisions.into_iter().map(|mut decision| decision.changes.remove(0)).next();
            if let Some(change) = change.filter(|change| !change.is_empty()) {
                return Ok(Some((mask.active().to_vec(), change, asked)));
            }
        }
        Ok(None)
    }

    fn pays(&self, world: &World) -> Result<(), Broken> {
        let (mut simulator, mut algorithm) = self.start(world)?;
        simulator.run(algorithm.as_mut(), 0, STEPS)?;
        let layers = simulator.specs.iter().map(|spec| LayerSpec { nnz: spec.target, ..spec.clone() }).collect();
        let mut fixed = Simulator::of(layers, world.seed, STEPS);
        fixed.run(&mut Fixed, 0, STEPS)?;
        let (loss, without) = (simulator.loss(), fixed.loss());
        let pays = loss < self.leaves * without;
        let share = self.leaves;
        Law::Pays
            .holds(pays, || format!("it ends with {loss:.4}, more than {share} of the {without:.4} of a fixed mask"))
    }

    fn keeps_count(&self, world: &World) -> Result<(), Broken> {
        let (mut simulator, mut algorithm) = self.start(world)?;
        let mut before = simulator.nnz();
        for decision in simulator.run(algorithm.as_mut(), 0, STEPS)? {
            self.replaces_as_many(&before, &decision, algorithm.budget(decision.step))?;
            let now: Vec<usize> = decision.layers.iter().map(|layer| layer.nnz).collect();
            let emptied = (0..now.len()).find(|&i| before[i] > 0 && now[i] == 0 && simulator.specs[i].target > 0);
            Law::Alive.holds(self.may_empty_layers || emptied.is_none(), || {
                format!("step {}: layer {} had {before:?}", decision.step, emptied.unwrap_or_default())
            })?;
            before = now;
        }
        let (found, target) = (simulator.nnz().iter().sum::<usize>(), simulator.target());
        Law::Count.holds(found == target, || format!("it ends with {found} non-zeros instead of {target}"))
    }

    fn replaces_as_many(&self, before: &[usize], decision: &Decision, budget: Budget) -> Result<(), Broken> {
        let (Some((how, share)), Budget::PerLayer) = (&self.replaces, budget) else { return Ok(()) };
        for ((&nnz, change), layer) in before.iter().zip(&decision.changes).zip(&decision.layers) {
            let (found, count) = (change.dropped.len() + change.reset.len(), share(decision.step) * nnz as f64);
            // Two ways to write a product may differ in the last bit.
            let counts = [count - 1e-9, count + 1e-9].map(|count| (count.max(0.0) as usize).min(layer.len - nnz));
            let right = match how {
                Replaces::Exactly => counts.contains(&found),
                Replaces::AtMost => found <= counts[1],
            };
            let step = decision.step;
            Law::Replaced
                .holds(right, || format!("step {step}: {found} of {nnz} weights are replaced, α·nnz is {count}"))?;
        }
        Ok(())
    }

    fn is_the_same_again(&self, world: &World) -> Result<(), Broken> {
        let run = |(mut simulator, mut algorithm): (Simulator, Box<dyn Algorithm>)| {
            let decisions = simulator.run(algorithm.as_mut(), 0, STEPS)?;
            // As text, because NaN differs from itself.
            Ok((decisions.iter().map(|decision| format!("{decision:?}")).collect::<Vec<_>>(), simulator.bits()))
        };
        let (here, others) = (self.start(world)?, [self.start(world)?, self.start(world)?]);
        let here = run(here)?;
        let there = std::thread::scope(|scope| {
            let threads = others.map(|start| scope.spawn(move || run(start)));
            threads.map(|thread| thread.join().unwrap_or_else(|_| Err(Law::Same.broken("it panics in a thread"))))
        });
        for other in there {
            Law::Same.holds(other.as_ref() == Ok(&here), || "a second run differs from the first".into())?;
        }
        Ok(())
    }

    fn resumes(&self, world: &World) -> Result<(), Broken> {
        let (mut whole, mut algorithm) = self.start(world)?;
        whole.run(algorithm.as_mut(), 0, world.cut)?;
        let (mut resumed, state) = (whole.clone(), algorithm.save());
        let rest = whole.run(algorithm.as_mut(), world.cut, STEPS)?;

        let cut = world.cut;
        let mut fresh = self.maker.build(&resumed.context()).map_err(|error| Law::Start.broken(error.to_string()))?;
        let loaded = fresh.load(&state);
        loaded.map_err(|error| Law::Resume.broken(format!("cut at step {cut}, its own state is refused: {error}")))?;
        Law::Resume.holds(alike(&fresh.save(), &state), || {
            format!("cut at step {cut}, it saves another state than it was given")
        })?;
        let again = resumed.run(fresh.as_mut(), cut, STEPS);
        let again = again.map_err(|broken| Law::Resume.broken(format!("cut at step {cut}, then {}", broken.what)))?;
        let same = format!("{again:?}") == format!("{rest:?}") && resumed.bits() == whole.bits();
        Law::Resume.holds(same, || format!("cut at step {cut}, it goes on differently"))
    }

    fn keeps_still(&self, world: &World) -> Result<(), Broken> {
        let Some(maker) = &self.still else { return Ok(()) };
        let (mut simulator, mut algorithm) = started(maker.as_ref(), world)?;
        for decision in simulator.run(algorithm.as_mut(), 0, STEPS)? {
            // A schedule may take non-zeros away, which is no replacement.
            let prunes = matches!(algorithm.budget(decision.step), Budget::Scheduled(_));
            let moves = |change: &Change| {
                !change.grown.is_empty() || !change.reset.is_empty() || (!prunes && !change.dropped.is_empty())
            };
            let moved = decision.changes.iter().find(|change| moves(change));
            Law::Still.holds(moved.is_none(), || format!("step {}: {moved:?}", decision.step))?;
        }
        Ok(())
    }

    fn refuses_what_is_damaged(&self, world: &World) -> Result<(), Broken> {
        let (mut simulator, mut algorithm) = self.start(world)?;
        simulator.run(algorithm.as_mut(), 0, 33)?;
        let state = algorithm.save();
        for (what, damaged) in damages(&state) {
            let refused = algorithm.load(&damaged).is_err();
            Law::Damage.holds(refused, || format!("it takes a state {what}"))?;
            let untouched = alike(&algorithm.save(), &state);
            Law::Damage.holds(untouched, || format!("a state {what} is refused, and yet changes it"))?;
        }
        Ok(())
    }
}

fn started(maker: &dyn Maker, world: &World) -> Result<(Simulator, Box<dyn Algorithm>), Broken> {
    let (mut simulator, mut algorithm) = Simulator::start(maker, world.layers.clone(), world.seed, STEPS)?;
    let pruned = simulator.prune_at_start(algorithm.as_mut());
    pruned.map_err(|error| Law::Start.broken(format!("its first masks: {error}")))??;
    simulator.fault = world.fault;
    Ok((simulator, algorithm))
}

/// Equal bit for bit, NaN included.
fn alike(a: &State, b: &State) -> bool {
    let bits = |state: &State| -> Vec<Vec<u32>> {
        state.f32s.values().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect()
    };
    let rest = |state: &State| State { f32s: Default::default(), ..state.clone() };
    rest(a) == rest(b) && a.f32s.keys().eq(b.f32s.keys()) && bits(a) == bits(b)
}

/// The state without each of its vectors, and with positions that no layer has.
fn damages(state: &State) -> Vec<(String, State)> {
    let mut damaged = Vec::new();
    let mut without = |name: &String, remove: fn(&mut State, &String)| {
        let mut copy = state.clone();
        remove(&mut copy, name);
        damaged.push((format!("without `{name}`"), copy));
    };
    state.f32s.keys().for_each(|name| without(name, |state, name| drop(state.f32s.remove(name))));
    state.u32s.keys().for_each(|name| without(name, |state, name| drop(state.u32s.remove(name))));
    state.u64s.keys().for_each(|name| without(name, |state, name| drop(state.u64s.remove(name))));
    for (name, _) in state.u32s.iter().filter(|(_, positions)| !positions.is_empty()) {
        let mut copy = state.clone();
        copy.u32s.insert(name.clone(), vec![u32::MAX]);
        damaged.push((format!("in which `{name}` names a position that does not exist"), copy));
    }
    damaged
}

/// A mask that nothing moves.
struct Fixed;

impl Algorithm for Fixed {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn next_decision(&self, _step: u64) -> Option<u64> {
        None
    }

    fn update(&mut self, _step: u64, layers: &[crate::LayerView<'_>]) -> Vec<Change> {
        vec![Change::default(); layers.len()]
    }
}
