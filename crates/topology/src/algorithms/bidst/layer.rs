//! What is remembered of one layer, and its place in a checkpoint.

use super::preference::Grid;
use super::window::{Sums, Window};
use super::{CandidateRule, Scores, candidates};
use crate::rng::{self, Purpose, Streams};
use crate::select;
use crate::state::{State, StateError, of_length};
use crate::{Change, LayerSpec, LayerView, Probe};

/// What is remembered of one layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    pub(super) len: usize,
    pub(super) grid: Grid,
    /// Its first non-zeros.
    pub(super) nnz: usize,
    /// Inactive positions that are being scored, sorted.
    pub(super) candidates: Vec<u32>,
    /// Positions that the last decision put on trial, sorted.
    pub(super) on_trial: Vec<u32>,
    /// Place in the rotating partition.
    cursor: u64,
    /// Gradients of the scoring window.
    pub(super) window: Window,
    /// ψ: at the active positions, if scores survive a decision; at all positions for `literal`; else empty.
    pub(super) psi: Vec<f32>,
    /// Values of all positions to come back with; empty if none are stored.
    pub(super) stored: Vec<f32>,
}

impl Layer {
    pub(super) fn new(spec: &LayerSpec) -> Self {
        Self {
            len: spec.len(),
            grid: Grid::of(spec),
            nnz: spec.nnz,
            candidates: Vec::new(),
            on_trial: Vec::new(),
            cursor: 0,
            window: Window::default(),
            psi: Vec::new(),
            stored: Vec::new(),
        }
    }

    /// Starts the next window: `wanted` candidates per [`candidates::draw`] for layer number `at.0` after step `at.1`.
    pub(super) fn draw(
        &mut self,
        rule: CandidateRule,
        streams: &Streams,
        at: (usize, u64),
        active: &[u32],
        wanted: usize,
    ) {
        self.window = Window::default();
        self.candidates = candidates::draw(rule, streams, at, self.len, active, wanted, &mut self.cursor);
    }

    /// Forgets everything, at the end of exploration.
    pub(super) fn free(&mut self) {
        (self.window, self.candidates, self.on_trial) = Default::default();
        (self.psi, self.stored) = Default::default();
    }

    /// Gives every position a random value of the size of the first weights.
    pub(super) fn store_random(&mut self, layer: usize, view: &LayerView<'_>, streams: &Streams) {
        let mut rng = streams.stream(Purpose::Stored, layer as u64, 0);
        let scale = root_mean_square(view.weights);
        self.stored = (0..self.len).map(|_| (scale * rng::normal(&mut rng)) as f32).collect();
    }

    /// The stored value of an inactive position.
    pub(super) fn stored_at(&self, position: u32) -> f64 {
        self.stored.get(position as usize).copied().unwrap_or(0.0).into()
    }

    /// Adds a step's gradients to the scoring window.
    pub(super) fn watch(&mut self, view: &LayerView<'_>, squares: bool) {
        match view.probe {
            Probe::None => self.window.add(view.gradients, &[], squares),
            Probe::Candidates { gradients, .. } => self.window.add(view.gradients, gradients, squares),
            Probe::Dense { gradients, .. } => {
                self.window.add(view.gradients, &select::pick(gradients, &self.candidates), squares);
            }
        }
    }

    /// Stores the weights as they are and gives the grown positions what was stored for them.
    pub(super) fn exchange_values(&mut self, view: &LayerView<'_>, change: &mut Change) {
        if !self.stored.is_empty() {
            for (&position, &weight) in view.active.iter().zip(view.weights) {
                self.stored[position as usize] = weight;
            }
            change.grown_values = select::pick(&self.stored, &change.grown);
        }
    }

    /// Remembers the scores of the positions that are active after a change; one that nothing was known of has 0.
    pub(super) fn remember(&mut self, view: &LayerView<'_>, change: &Change, scores: &Scores) {
        let score = |position: &u32| match view.active.binary_search(position) {
            Ok(entry) => scores.keep.get(entry),
            Err(_) => self.candidates.binary_search(position).ok().and_then(|entry| scores.grow.get(entry)),
        };
        let after = change.applied_to(view.active);
        self.psi = after.iter().map(|position| score(position).copied().unwrap_or(0.0)).collect();
    }

    /// Writes layer number `index`.
    pub(super) fn save(&self, index: usize, state: &mut State) {
        let window = &self.window;
        let floats = [
            ("active_sum", &window.active.first),
            ("active_squares", &window.active.second),
            ("candidate_sum", &window.candidates.first),
            ("candidate_squares", &window.candidates.second),
            ("psi", &self.psi),
            ("stored", &self.stored),
        ];
        for (name, values) in floats {
            state.f32s.insert(format!("{name}.{index}"), values.clone());
        }
        state.u32s.insert(format!("candidates.{index}"), self.candidates.clone());
        state.u32s.insert(format!("on_trial.{index}"), self.on_trial.clone());
        state.u64s.insert(format!("counters.{index}"), vec![self.cursor, window.samples, window.power.to_bits()]);
    }

    /// This layer with the memory that was saved for layer number `index`.
    pub(super) fn loaded(&self, index: usize, state: &State) -> Result<Layer, StateError> {
        let floats = |name: &str, lengths: &[usize]| {
            let name = format!("{name}.{index}");
            let values = state.floats(&name)?;
            if lengths.contains(&values.len()) {
                Ok(values.to_vec())
            } else {
                Err(StateError::Length { name, expected: lengths[0], found: values.len() })
            }
        };
        let positions = |name: &str| Ok(state.positions(&format!("{name}.{index}"), self.len)?.to_vec());
        let (candidates, on_trial): (Vec<u32>, Vec<u32>) = (positions("candidates")?, positions("on_trial")?);
        let name = format!("counters.{index}");
        let counters = of_length(&name, state.words(&name)?, 3)?;
        let seen = state.floats(&format!("active_sum.{index}"))?.len();
        if seen > self.len {
            return Err(StateError::Length { name: format!("active_sum.{index}"), expected: self.len, found: seen });
        }
        let window = Window {
            samples: counters[1],
            power: f64::from_bits(counters[2]),
            active: Sums { first: floats("active_sum", &[seen])?, second: floats("active_squares", &[seen, 0])? },
            candidates: Sums {
                first: floats("candidate_sum", &[candidates.len(), 0])?,
                second: floats("candidate_squares", &[candidates.len(), 0])?,
            },
        };
        let psi = state.floats(&format!("psi.{index}"))?.to_vec();
        if psi.len() > self.len {
            return Err(StateError::Length { name: format!("psi.{index}"), expected: self.len, found: psi.len() });
        }
        let stored = floats("stored", &[self.len, 0])?;
        Ok(Layer { candidates, on_trial, cursor: counters[0], window, psi, stored, ..self.clone() })
    }
}

fn root_mean_square(values: &[f32]) -> f64 {
    (values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_follow_their_positions_through_a_change() {
        let spec = LayerSpec::new("fc.weight", vec![8], 4);
        let mut layer = Layer { candidates: vec![0, 4, 6], ..Layer::new(&spec) };
        let active = [1, 3, 5, 7];
        let zeros = [0.0; 4];
        let view =
            LayerView { active: &active, weights: &zeros, gradients: &zeros, momentum: &zeros, probe: Probe::None };
        // Position 2 is no candidate: it is put on trial, and nothing is known of it.
        let change = Change { dropped: vec![3, 5], grown: vec![2, 4], ..Change::default() };
        let scores = Scores { keep: vec![0.1, 0.3, 0.5, 0.7], grow: vec![1.0, 1.4, 1.6] };
        layer.remember(&view, &change, &scores);
        assert_eq!(change.applied_to(&active), [1, 2, 4, 7]);
        assert_eq!(layer.psi, [0.1, 0.0, 1.4, 0.7]);
    }
}
