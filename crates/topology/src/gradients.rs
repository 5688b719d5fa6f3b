//! Dense gradients summed over the last steps before a decision.

use crate::schedule::Times;
use crate::state::{State, StateError, of_length};
use crate::{LayerSpec, LayerView, Needs, Probe};
use std::borrow::Cow;

/// The dense gradients of the last `window` steps up to and including each decision point, one sum per position.
#[derive(Clone, Debug)]
pub(crate) struct DenseGradients {
    window: u64,
    lens: Vec<usize>,
    /// Layers that have both a zero and a non-zero: only there can a gradient matter.
    movable: Vec<bool>,
    /// Empty outside the window and whenever the window is one step.
    sums: Vec<Vec<f32>>,
}

impl DenseGradients {
    pub(crate) fn new(layers: &[LayerSpec], window: u64) -> Self {
        Self {
            window,
            lens: layers.iter().map(|layer| layer.len()).collect(),
            movable: layers.iter().map(|layer| (1..layer.len()).contains(&layer.nnz)).collect(),
            sums: vec![Vec::new(); layers.len()],
        }
    }

    pub(crate) fn needs(&self, times: &Times, step: u64, layer: usize) -> Needs<'static> {
        if self.movable[layer] && times.in_window(step, self.window) { Needs::Dense } else { Needs::Active }
    }

    pub(crate) fn observe(&mut self, times: &Times, step: u64, views: &[LayerView<'_>]) {
        if self.window == 1 || !times.in_window(step, self.window) {
            return;
        }
        for (sum, view) in self.sums.iter_mut().zip(views) {
            if let Probe::Dense { gradients, .. } = view.probe {
                sum.resize(gradients.len(), 0.0);
                sum.iter_mut().zip(gradients).for_each(|(sum, g)| *sum += g);
            }
        }
    }

    /// What was summed up to this decision, which starts anew: per layer one value per position, or none at all if there
    /// was nothing to ask for.
    pub(crate) fn take<'a>(&mut self, views: &[LayerView<'a>]) -> Vec<Cow<'a, [f32]>> {
        let window = self.window;
        let of = |(sum, view): (&mut Vec<f32>, &LayerView<'a>)| match view.probe {
            _ if window > 1 => Cow::Owned(std::mem::take(sum)),
            Probe::Dense { gradients, .. } => Cow::Borrowed(gradients),
            _ => Cow::Borrowed(&[][..]),
        };
        self.sums.iter_mut().zip(views).map(of).collect()
    }

    /// Bytes of the sums at their largest.
    pub(crate) fn bytes(&self) -> usize {
        let summed = self.lens.iter().zip(&self.movable).filter(|&(_, &movable)| movable && self.window > 1);
        summed.map(|(len, _)| len * size_of::<f32>()).sum()
    }

    pub(crate) fn save(&self) -> State {
        let mut state = State::default();
        for (layer, sum) in self.sums.iter().enumerate() {
            state.f32s.insert(format!("gradient_sum.{layer}"), sum.clone());
        }
        state
    }

    pub(crate) fn load(&mut self, state: &State) -> Result<(), StateError> {
        let load = |(layer, &len): (usize, &usize)| {
            let name = format!("gradient_sum.{layer}");
            let sum = state.floats(&name)?;
            if sum.is_empty() { Ok(Vec::new()) } else { Ok(of_length(&name, sum, len)?.to_vec()) }
        };
        self.sums = self.lens.iter().enumerate().map(load).collect::<Result<_, StateError>>()?;
        Ok(())
    }
}
