//! Runs and layers for the worked examples of the algorithms.

use crate::{Context, LayerSpec, LayerView, Probe, Sample, Scorer, StartError};

/// A run of `total_steps` with 100 steps to an epoch.
pub(crate) fn context(layers: &[LayerSpec], total_steps: u64) -> Context<'_> {
    Context {
        layers,
        total_steps,
        steps_per_epoch: 100,
        seed: 1,
        weight_decay: 5e-4,
        learning_rate: 0.1,
        momentum: 0.9,
        batch_size: 128,
    }
}

/// A layer with these weights, and neither gradients nor momentum.
pub(crate) fn view<'a>(active: &'a [u32], weights: &'a [f32]) -> LayerView<'a> {
    const NOTHING: &[f32] = &[0.0; 64];
    let nothing = &NOTHING[..active.len()];
    LayerView { active, weights, gradients: nothing, momentum: nothing, probe: Probe::None }
}

/// Answers every question for gradients of the loss with the same ones.
pub(crate) struct Fixed {
    pub(crate) gradients: Vec<Vec<f32>>,
}

/// A loss ½θᵀHθ over all layers, one after the other.
pub(crate) struct Quadratic {
    hessian: Vec<Vec<f32>>,
}

impl Quadratic {
    /// H with this diagonal, and one value at a position and its mirror.
    pub(crate) fn new(diagonal: &[f32], (row, column, value): (usize, usize, f32)) -> Self {
        let mut hessian = vec![vec![0.0; diagonal.len()]; diagonal.len()];
        diagonal.iter().enumerate().for_each(|(i, &h)| hessian[i][i] = h);
        (hessian[row][column], hessian[column][row]) = (value, value);
        Self { hessian }
    }
}

/// A flow R = Π over layers of Σ|θ|: fully connected layers of one neuron.
pub(crate) struct Flow;

type Gradients = Result<Vec<Vec<f32>>, StartError>;

impl Scorer for Fixed {
    fn loss_gradients(&mut self, _sample: &Sample, _weights: &[Vec<f32>]) -> Gradients {
        Ok(self.gradients.clone())
    }

    fn flow_gradients(&mut self, _weights: &[Vec<f32>]) -> Gradients {
        unreachable!("only the loss is asked for")
    }
}

impl Scorer for Quadratic {
    fn loss_gradients(&mut self, _sample: &Sample, weights: &[Vec<f32>]) -> Gradients {
        let theta = weights.concat();
        let product = |row: &Vec<f32>| row.iter().zip(&theta).map(|(h, theta)| h * theta).sum();
        let mut gradients = self.hessian.iter().map(product);
        Ok(weights.iter().map(|layer| gradients.by_ref().take(layer.len()).collect()).collect())
    }

    fn flow_gradients(&mut self, _weights: &[Vec<f32>]) -> Gradients {
        unreachable!("only the loss is asked for")
    }
}

impl Scorer for Flow {
    fn loss_gradients(&mut self, _sample: &Sample, _weights: &[Vec<f32>]) -> Gradients {
        unreachable!("only the flow is asked for")
    }

    fn flow_gradients(&mut self, weights: &[Vec<f32>]) -> Gradients {
        let sums: Vec<f32> = weights.iter().map(|layer| layer.iter().map(|weight| weight.abs()).sum()).collect();
        let others = |at: usize| sums.iter().enumerate().filter(|&(i, _)| i != at).map(|(_, sum)| sum).product();
        Ok(weights.iter().enumerate().map(|(at, layer)| vec![others(at); layer.len()]).collect())
    }
}
