//! Real algorithms that do one thing differently.

use bidst_topology::{
    Algorithm, Budget, Change, LayerSpec, LayerView, Needs, Probe, Scorer, StartError, State, StateError,
};

/// What a mutant does differently from the algorithm `inner`. Left as it is, it does nothing differently.
pub trait Twist: Send {
    fn next(&self, inner: &dyn Algorithm, step: u64) -> Option<u64> {
        inner.next_decision(step)
    }
    fn needs<'a>(&self, inner: &'a dyn Algorithm, step: u64, layer: usize) -> Needs<'a> {
        inner.needs(step, layer)
    }
    fn at_start(
        &mut self,
        inner: &mut dyn Algorithm,
        views: &[LayerView<'_>],
        scorer: &mut dyn Scorer,
    ) -> Result<Vec<Change>, StartError> {
        inner.at_start(views, scorer)
    }
    fn update(&mut self, inner: &mut dyn Algorithm, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        inner.update(step, views)
    }
    fn save(&self, inner: &dyn Algorithm) -> State {
        inner.save()
    }
    fn load(&mut self, inner: &mut dyn Algorithm, state: &State) -> Result<(), StateError> {
        inner.load(state)
    }
}

pub struct Mutant {
    pub inner: Box<dyn Algorithm>,
    pub twist: Box<dyn Twist>,
}

impl Algorithm for Mutant {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn prunes_at_start(&self) -> bool {
        self.inner.prunes_at_start()
    }
    fn at_start(&mut self, views: &[LayerView<'_>], scorer: &mut dyn Scorer) -> Result<Vec<Change>, StartError> {
        self.twist.at_start(self.inner.as_mut(), views, scorer)
    }
    fn begin(&mut self, step: u64, learning_rate: f32) {
        self.inner.begin(step, learning_rate);
    }
    fn needs(&self, step: u64, layer: usize) -> Needs<'_> {
        self.twist.needs(self.inner.as_ref(), step, layer)
    }
    fn observe(&mut self, step: u64, views: &[LayerView<'_>]) {
        self.inner.observe(step, views);
    }
    fn replaces_weight_step(&self) -> bool {
        self.inner.replaces_weight_step()
    }
    fn next_decision(&self, step: u64) -> Option<u64> {
        self.twist.next(self.inner.as_ref(), step)
    }
    fn update(&mut self, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        self.twist.update(self.inner.as_mut(), step, views)
    }
    fn budget(&self, step: u64) -> Budget {
        self.inner.budget(step)
    }
    fn state_bytes(&self) -> usize {
        self.inner.state_bytes()
    }
    fn save(&self) -> State {
        self.twist.save(self.inner.as_ref())
    }
    fn load(&mut self, state: &State) -> Result<(), StateError> {
        self.twist.load(self.inner.as_mut(), state)
    }
}

/// A layer and its change, to be spoiled.
pub struct Scene<'a> {
    pub layer: usize,
    pub view: &'a LayerView<'a>,
    pub change: &'a mut Change,
    /// Positions that are inactive before and after the change.
    pub free: Vec<u32>,
}

/// Spoils each layer's change after the fact.
pub struct After {
    pub layers: Vec<LayerSpec>,
    pub spoil: fn(&mut Scene<'_>),
}

impl Twist for After {
    fn update(&mut self, inner: &mut dyn Algorithm, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let mut changes = inner.update(step, views);
        for (layer, (view, change)) in views.iter().zip(&mut changes).enumerate() {
            let all = 0..self.layers[layer].len() as u32;
            let free = all.filter(|position| !view.active.contains(position) && !change.grown.contains(position));
            let free = free.collect();
            (self.spoil)(&mut Scene { layer, view, change, free });
        }
        changes
    }
}

impl Scene<'_> {
    /// An active position that stays.
    pub fn kept(&self) -> Option<u32> {
        self.view.active.iter().copied().find(|position| !self.change.dropped.contains(position))
    }
}

pub fn with(list: &mut Vec<u32>, position: u32) {
    list.push(position);
    list.sort_unstable();
}

/// What an algorithm sees of a layer, to be falsified. Of probes, only dense ones.
pub struct Seen {
    pub active: Vec<u32>,
    pub weights: Vec<f32>,
    pub gradients: Vec<f32>,
    pub momentum: Vec<f32>,
    pub dense: Vec<f32>,
}

impl Seen {
    pub fn of(view: &LayerView<'_>) -> Self {
        let dense = if let Probe::Dense { gradients, .. } = view.probe { gradients.to_vec() } else { Vec::new() };
        Self {
            active: view.active.to_vec(),
            weights: view.weights.to_vec(),
            gradients: view.gradients.to_vec(),
            momentum: view.momentum.to_vec(),
            dense,
        }
    }

    pub fn view(&self) -> LayerView<'_> {
        LayerView {
            active: &self.active,
            weights: &self.weights,
            gradients: &self.gradients,
            momentum: &self.momentum,
            probe: if self.dense.is_empty() {
                Probe::None
            } else {
                Probe::Dense { gradients: &self.dense, share: 1.0 }
            },
        }
    }
}
