//! A weight tensor that exists at its non-zeros only, and the changes of its pattern.

use crate::EngineError;

/// Which gradients at zeros the next backward passes deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeRequest<'a> {
    /// None: an ordinary step.
    None,
    /// At these positions: sorted, inactive.
    Candidates(&'a [u32]),
    /// At every position of the dense tensor.
    Dense,
}

/// What a tensor has been asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Probe {
    #[default]
    None,
    Candidates(Vec<u32>),
    Dense,
}

/// A weight tensor `[out, in / groups, kernel height, kernel width]` or `[out, in]`, stored at its active positions.
#[derive(Clone, Debug)]
pub struct SparseTensor {
    name: String,
    shape: Vec<usize>,
    index: Vec<u32>,
    values: Vec<f32>,
    gradients: Vec<f32>,
    momentum: Vec<f32>,
    pub(crate) probe: Probe,
    pub(crate) probe_share: f32,
    pub(crate) probed_share: f32,
    pub(crate) probe_gradients: Vec<f32>,
    /// Counts changes of the pattern, so that plans know when they are stale.
    pub(crate) version: u64,
}

impl SparseTensor {
    /// A tensor of zeros with the given active positions; `None` means all.
    pub(crate) fn new(name: String, shape: Vec<usize>, pattern: Option<&[u32]>) -> Result<SparseTensor, EngineError> {
        let len: usize = shape.iter().product();
        let Ok(end) = u32::try_from(len) else { return Err(EngineError::TooLarge { weight: name, len }) };
        let index = match pattern {
            Some(pattern) => {
                check_sorted(&name, len, pattern)?;
                pattern.to_vec()
            }
            None => (0..end).collect(),
        };
        let zeros = vec![0.0; index.len()];
        Ok(SparseTensor {
            name,
            shape,
            values: zeros.clone(),
            gradients: zeros.clone(),
            momentum: zeros,
            index,
            probe: Probe::None,
            probe_share: 1.0,
            probed_share: 1.0,
            probe_gradients: Vec::new(),
            version: 0,
        })
    }

    /// The layer's name and `.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Dense shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Positions of the dense tensor.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Active positions.
    pub fn nnz(&self) -> usize {
        self.index.len()
    }

    /// Share of the positions that are active.
    pub fn density(&self) -> f64 {
        self.nnz() as f64 / self.len().max(1) as f64
    }

    /// Is every position active?
    pub fn is_dense(&self) -> bool {
        self.nnz() == self.len()
    }

    /// Active positions as row-major flat indices, sorted.
    pub fn index(&self) -> &[u32] {
        &self.index
    }

    /// Values at the active positions.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Values at the active positions, to be set.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Gradients of the mean loss at the active positions, of the last backward pass.
    pub fn gradients(&self) -> &[f32] {
        &self.gradients
    }

    pub(crate) fn gradients_mut(&mut self) -> (&mut [f32], &mut [f32]) {
        (&mut self.gradients, &mut self.probe_gradients)
    }

    pub(crate) fn clear_gradients(&mut self) {
        self.gradients.fill(0.0);
        self.probe_gradients.fill(0.0);
    }

    /// Takes the gradients at the active positions out of those at all.
    pub(crate) fn read_gradients(&mut self, everywhere: &[f32]) {
        read(&mut self.gradients, &self.index, everywhere);
    }

    /// Takes the gradients that the probe asks for out of those at all positions.
    pub(crate) fn read_probe(&mut self, everywhere: &[f32]) {
        match &self.probe {
            Probe::None => {}
            Probe::Candidates(positions) => read(&mut self.probe_gradients, positions, everywhere),
            Probe::Dense => self.probe_gradients.copy_from_slice(everywhere),
        }
    }

    /// Momentum at the active positions.
    pub fn momentum(&self) -> &[f32] {
        &self.momentum
    }

    /// Momentum at the active positions, to be set.
    pub fn momentum_mut(&mut self) -> &mut [f32] {
        &mut self.momentum
    }

    /// Gradients that the probe asked for: per candidate, or per position of the dense tensor; empty without a probe.
    pub fn probe_gradients(&self) -> &[f32] {
        &self.probe_gradients
    }

    /// Share of the last batch's images that they are of: what was asked for, rounded up to whole units.
    pub fn probed_share(&self) -> f32 {
        self.probed_share
    }

    /// Everything the optimiser moves: values, gradients, momentum.
    pub(crate) fn optimiser_view(&mut self) -> (&mut [f32], &[f32], &mut [f32]) {
        (&mut self.values, &self.gradients, &mut self.momentum)
    }

    pub(crate) fn set_probe(&mut self, request: ProbeRequest<'_>, share: f32) -> Result<(), EngineError> {
        let len = match request {
            ProbeRequest::None => 0,
            ProbeRequest::Candidates(candidates) => candidates.len(),
            ProbeRequest::Dense => self.len(),
        };
        match (request, &mut self.probe) {
            (ProbeRequest::Candidates(new), Probe::Candidates(old)) if new == &old[..] => {}
            (ProbeRequest::Candidates(new), probe) => {
                check_sorted(&self.name, self.shape.iter().product(), new)?;
                let mut active = self.index.iter().peekable();
                let is_active = |at: &&u32| {
                    while active.next_if(|active| active < at).is_some() {}
                    active.peek() == Some(at)
                };
                if let Some(&position) = new.iter().find(is_active) {
                    return Err(self.change_error("candidate already active:", position));
                }
                *probe = Probe::Candidates(new.to_vec());
            }
            (ProbeRequest::None, probe) => *probe = Probe::None,
            (ProbeRequest::Dense, probe) => *probe = Probe::Dense,
        }
        self.probe_share = share.clamp(0.0, 1.0);
        self.probe_gradients.clear();
        self.probe_gradients.resize(len, 0.0);
        Ok(())
    }

    /// Changes the pattern: drops and grows positions, and sets `reset` ones (active, staying) to 0 with momentum 0.
    ///
    /// Grown weights take `grown_values`, or 0 if that is empty, and start with momentum 0; kept ones stay untouched.
    pub(crate) fn apply(
        &mut self,
        dropped: &[u32],
        grown: &[u32],
        grown_values: &[f32],
        reset: &[u32],
    ) -> Result<(), EngineError> {
        for list in [dropped, grown, reset] {
            check_sorted(&self.name, self.len(), list)?;
        }
        if !grown_values.is_empty() && grown_values.len() != grown.len() {
            let (weight, values) = (self.name.clone(), grown_values.len());
            return Err(EngineError::GrownValues { weight, values, grown: grown.len() });
        }
        self.rebuild(dropped, grown, grown_values, reset)
    }

    /// Merges what stays with what is grown, in index order, unless the lists do not fit the pattern.
    fn rebuild(
        &mut self,
        dropped: &[u32],
        grown: &[u32],
        grown_values: &[f32],
        reset: &[u32],
    ) -> Result<(), EngineError> {
        let count = (self.index.len() + grown.len()).saturating_sub(dropped.len());
        let mut index = Vec::with_capacity(count);
        let (mut values, mut momentum) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut push = |at: u32, value: f32, speed: f32| {
            index.push(at);
            values.push(value);
            momentum.push(speed);
        };
        let grown_value = |i: usize| grown_values.get(i).copied().unwrap_or(0.0);
        let mut new = grown.iter().copied().enumerate().peekable();
        let (mut dropped, mut reset) = (dropped.iter().copied().peekable(), reset.iter().copied().peekable());
        for ((&at, &value), &speed) in self.index.iter().zip(&self.values).zip(&self.momentum) {
            while let Some((g, position)) = new.next_if(|&(_, position)| position < at) {
                push(position, grown_value(g), 0.0);
            }
            if new.peek().is_some_and(|&(_, position)| position == at) {
                return Err(self.change_error("grown, but already active:", at));
            }
            match (dropped.next_if_eq(&at), reset.next_if_eq(&at)) {
                (Some(_), Some(_)) => return Err(self.change_error("both dropped and reset:", at)),
                (Some(_), None) => {}
                (None, Some(_)) => push(at, 0.0, 0.0),
                (None, None) => push(at, value, speed),
            }
        }
        if let Some(position) = dropped.next().or(reset.next()) {
            return Err(self.change_error("dropped or reset, but not active:", position));
        }
        for (g, position) in new {
            push(position, grown_value(g), 0.0);
        }
        self.gradients = vec![0.0; index.len()];
        (self.index, self.values, self.momentum) = (index, values, momentum);
        self.probe = Probe::None;
        self.probe_gradients.clear();
        self.version += 1;
        Ok(())
    }

    fn change_error(&self, what: &'static str, position: u32) -> EngineError {
        EngineError::Change { weight: self.name.clone(), what, position }
    }
}

fn read(gradients: &mut [f32], positions: &[u32], everywhere: &[f32]) {
    gradients.iter_mut().zip(positions).for_each(|(gradient, &at)| *gradient = everywhere[at as usize]);
}

fn check_sorted(weight: &str, len: usize, positions: &[u32]) -> Result<(), EngineError> {
    let wrong = |entry| Err(EngineError::Pattern { weight: weight.to_owned(), len, entry });
    if let Some(entry) = positions.windows(2).position(|pair| pair[0] >= pair[1]) {
        return wrong(entry + 1);
    }
    match positions.last() {
        Some(&last) if last as usize >= len => wrong(positions.len() - 1),
        _ => Ok(()),
    }
}

/// A dense vector of the network: scale and shift of a batch norm, its running statistics, a bias.
#[derive(Clone, Debug)]
pub struct Vector {
    /// `layer1.0.bn1.weight`, `.bias`, `.running_mean`, `.running_var`, `fc.bias`.
    pub name: String,
    /// One value per channel.
    pub values: Vec<f32>,
    /// Gradients of the mean loss; empty if the vector is not trained.
    pub gradients: Vec<f32>,
    /// Momentum; empty if the vector is not trained.
    pub momentum: Vec<f32>,
    /// Does the optimiser move it? Running statistics are not trained.
    pub trainable: bool,
}

impl Vector {
    pub(crate) fn new(name: String, len: usize, value: f32, trainable: bool) -> Vector {
        let slots = if trainable { vec![0.0; len] } else { Vec::new() };
        Vector { name, values: vec![value; len], gradients: slots.clone(), momentum: slots, trainable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor() -> SparseTensor {
        let mut tensor = SparseTensor::new("w".into(), vec![2, 5], Some(&[1, 4, 7])).unwrap();
        tensor.values_mut().copy_from_slice(&[1.0, 2.0, 3.0]);
        tensor.momentum_mut().copy_from_slice(&[0.1, 0.2, 0.3]);
        tensor
    }

    #[test]
    fn grown_weights_start_with_zero_momentum_and_kept_ones_are_untouched() {
        let mut tensor = tensor();
        tensor.apply(&[4], &[0, 9], &[0.0, 5.0], &[7]).unwrap();
        assert_eq!(tensor.index(), [0, 1, 7, 9]);
        assert_eq!(tensor.values(), [0.0, 1.0, 0.0, 5.0]);
        assert_eq!(tensor.momentum(), [0.0, 0.1, 0.0, 0.0]);
    }

    #[test]
    fn a_change_that_is_none_is_refused_and_changes_nothing() {
        for (dropped, grown, values, reset) in [
            (vec![2], vec![], vec![], vec![]),
            (vec![], vec![4], vec![], vec![]),
            (vec![], vec![10], vec![], vec![]),
            (vec![7, 1], vec![], vec![], vec![]),
            (vec![], vec![2, 3], vec![1.0], vec![]),
            (vec![4], vec![], vec![], vec![4]),
            (vec![], vec![], vec![], vec![0]),
        ] {
            let mut tensor = tensor();
            assert!(tensor.apply(&dropped, &grown, &values, &reset).is_err());
            assert_eq!((tensor.index(), tensor.version), (&[1, 4, 7][..], 0));
        }
    }

    #[test]
    fn a_pattern_outside_its_tensor_is_refused() {
        for pattern in [&[0, 10][..], &[3, 3], &[5, 2]] {
            assert!(SparseTensor::new("w".into(), vec![2, 5], Some(pattern)).is_err());
        }
    }
}
