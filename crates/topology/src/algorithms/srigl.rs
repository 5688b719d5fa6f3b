//! SRigL: RigL with a constant fan-in, and neurons that are given up.
//!
//! Lasby et al., "Dynamic sparse training with structured sparsity", ICLR 2024.
//!
//! Every output neuron of a layer has the same number of inputs, which makes a sparse layer a dense, condensed matrix
//! with one column index per weight. At a decision, per layer with n = ⌊α·nnz⌋:
//!
//! ```text
//!     keep the nnz − n largest weights of the layer;  call them and the n largest gradients elsewhere salient
//!     give up each neuron with fewer than γ·(fan-in) salient positions; the others share its weights: a new fan-in
//!     in each neuron left, grow by gradient until it has that fan-in
//! ```
//!
//! Given-up neurons have no inputs at all and leave the network smaller; at a later decision one comes back if enough of
//! its gradients are salient. A position may be dropped and regrown in one decision; it then keeps its value and momentum.
//! The weight step is skipped at a decision, as in RigL.
//!
//! Where we differ: where the neurons do not divide the non-zeros, the first ones have one input more, so that the count
//! stays exact; a neuron with more large weights than its new fan-in gives the smallest of them up. As the paper exempts
//! the output layer, we never give up neurons of the last sparsified layer if it is a linear one. Gradients of a single
//! step decide; the released code sums eight on ImageNet (`average_window`). First weights are of the size that a dense layer's
//! would have, as for every algorithm here; the released code scales them to the fan-in that is left.

use super::rigl::{self, Rigl};
use super::{AlgorithmError, Card, Require, output_layer};
use crate::mask::difference;
use crate::schedule::DropSchedule;
use crate::state::{State, StateError};
use crate::{Algorithm, Change, Context, LayerSpec, LayerView, Needs, Pattern, select, start};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "srigl",
    summary: "RigL with the same number of inputs for every neuron; neurons that matter little go",
    paper: "Lasby et al., Dynamic sparse training with structured sparsity, ICLR 2024",
    dense: false,
    start: |_, layers| start::patterned(layers, Pattern::FanIn),
};

/// Options of SRigL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Steps from one decision to the next (ΔT). Default 100.
    pub update_interval: u64,
    /// Share of a layer's non-zeros replaced by the first decision (α). Default 0.3.
    pub drop_fraction: f64,
    /// How that share falls: `constant`, `cosine` or `step`. Default `cosine`.
    pub drop_schedule: DropSchedule,
    /// Share of the run after which the mask is frozen. Default 0.75.
    pub stop: f64,
    /// Last steps before a decision whose dense gradients are averaged, at most `update_interval`. Default 1.
    pub average_window: u64,
    /// Share of its fan-in that must be salient for a neuron to stay (γ); 0 keeps every neuron. Default 0.3.
    pub min_salient: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            update_interval: 100,
            drop_fraction: 0.3,
            drop_schedule: DropSchedule::Cosine,
            stop: 0.75,
            average_window: 1,
            min_salient: 0.3,
        }
    }
}

/// Builds it.
///
/// # Errors
/// If an option is out of range.
pub fn build(params: Params, context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    let Params { update_interval, drop_fraction, drop_schedule, stop, average_window, min_salient } = params;
    let share = (0.0..=1.0).contains(&min_salient);
    Require(CARD.name).that(share, "min_salient", min_salient, "is a share of the fan-in, from 0 to 1")?;
    let rigl =
        rigl::Params { update_interval, drop_fraction, drop_schedule, stop, average_window, ..rigl::Params::default() };
    let output = output_layer(context.layers);
    let of = |(index, layer): (usize, &LayerSpec)| Layer {
        rows: layer.shape.first().copied().unwrap_or(1),
        min_salient: if output == Some(index) { 0.0 } else { min_salient },
    };
    let layers = context.layers.iter().enumerate().map(of).collect();
    Ok(Box::new(Srigl { rigl: Rigl::new(CARD.name, rigl, context)?, layers }))
}

struct Srigl {
    /// Schedule and gradients.
    rigl: Rigl,
    layers: Vec<Layer>,
}

struct Layer {
    /// Output neurons.
    rows: usize,
    /// γ.
    min_salient: f64,
}

impl Layer {
    /// The rule, for `count` positions.
    fn decide(&self, view: &LayerView<'_>, gradients: &[f32], count: usize) -> Change {
        let dropped = select::smallest_weights(view.active, view.weights, count);
        let kept = difference(view.active, &dropped);
        let grown = select::largest_outside(&kept, gradients, count);
        let width = gradients.len() / self.rows;
        let neurons = self.neurons(view.active, &[kept.as_slice(), &grown], width);
        let (fan_in, odd) = (view.active.len() / neurons.len(), view.active.len() % neurons.len());
        let mut active = Vec::with_capacity(view.active.len());
        for (rank, &neuron) in neurons.iter().enumerate() {
            let start = neuron * width as u32;
            let quota = fan_in + usize::from(rank < odd);
            let inputs = fill(view, row(&kept, start, width), &gradients[start as usize..][..width], start, quota);
            active.extend(inputs);
        }
        Change {
            dropped: difference(view.active, &active),
            grown: difference(&active, view.active),
            ..Change::default()
        }
    }

    /// The neurons that stay: those with enough salient positions, and at least as many as can hold all weights.
    fn neurons(&self, active: &[u32], salient: &[&[u32]; 2], width: usize) -> Vec<u32> {
        let inputs = |of: &[u32]| (0..self.rows).map(|i| row(of, (i * width) as u32, width).len()).collect::<Vec<_>>();
        let in_use = inputs(active).into_iter().filter(|&count| count > 0).count();
        let enough = self.min_salient * active.len() as f64 / in_use as f64;
        let [kept, grown] = salient.map(inputs);
        let salience: Vec<f32> = kept.iter().zip(grown).map(|(kept, grown)| (kept + grown) as f32).collect();
        let stay = salience.iter().filter(|&&count| f64::from(count) >= enough).count();
        select::largest(&salience, stay.max(active.len().div_ceil(width)))
    }
}

/// The positions of sorted `positions` in the row that begins at `start`.
fn row(positions: &[u32], start: u32, width: usize) -> &[u32] {
    let end = start + width as u32;
    &positions[positions.partition_point(|&p| p < start)..positions.partition_point(|&p| p < end)]
}

/// `quota` positions of a row, sorted: those kept, the largest weights first, and then those with the largest gradients.
fn fill(view: &LayerView<'_>, kept: &[u32], gradients: &[f32], start: u32, quota: usize) -> Vec<u32> {
    let weight = |position| view.weights[view.active.partition_point(|&p| p < position)];
    let weights: Vec<f32> = kept.iter().map(|&position| weight(position).abs()).collect();
    let kept = select::pick(kept, &select::largest(&weights, quota));
    let inside: Vec<u32> = kept.iter().map(|position| position - start).collect();
    let grown = select::largest_outside(&inside, gradients, quota - inside.len());
    crate::mask::union(&inside, &grown).into_iter().map(|position| position + start).collect()
}

impl Algorithm for Srigl {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn needs(&self, step: u64, layer: usize) -> Needs<'_> {
        self.rigl.needs(step, layer)
    }

    fn observe(&mut self, step: u64, views: &[LayerView<'_>]) {
        self.rigl.observe(step, views);
    }

    fn replaces_weight_step(&self) -> bool {
        self.rigl.replaces_weight_step()
    }

    fn next_decision(&self, step: u64) -> Option<u64> {
        self.rigl.next_decision(step)
    }

    fn update(&mut self, step: u64, views: &[LayerView<'_>]) -> Vec<Change> {
        let gradients = self.rigl.gradients.take(views);
        let decide = |((view, gradients), layer): ((&LayerView<'_>, _), &Layer)| {
            let gradients: std::borrow::Cow<'_, [f32]> = gradients;
            match self.rigl.schedule.fraction.count(step, view.active.len()) {
                0 => Change::default(),
                _ if gradients.is_empty() => Change::default(),
                count => layer.decide(view, &gradients, count),
            }
        };
        views.iter().zip(gradients).zip(&self.layers).map(decide).collect()
    }

    fn state_bytes(&self) -> usize {
        self.rigl.state_bytes()
    }

    fn save(&self) -> State {
        self.rigl.save()
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        self.rigl.load(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::view;

    /// Three neurons of four inputs, two weights each.
    const ACTIVE: [u32; 6] = [0, 1, 5, 6, 8, 11];

    fn decide(weights: &[f32; 6], gradients: &[f32; 12], count: usize, min_salient: f64) -> Vec<u32> {
        let change = Layer { rows: 3, min_salient }.decide(&view(&ACTIVE, weights), gradients, count);
        change.check(12, &ACTIVE).unwrap();
        change.applied_to(&ACTIVE)
    }

    #[test]
    fn the_layer_drops_together_and_every_neuron_grows_back_to_its_fan_in() {
        // Position 6 and 8 go. Neuron 1 grows its best, 4; neuron 2 its best, 10, although 3 has a larger gradient.
        let gradients = [0.0, 0.0, 0.0, 9.0, 3.0, 0.0, 1.0, 2.0, 0.5, 0.0, 2.0, 0.0];
        let active = decide(&[0.9, 0.8, 0.7, 0.1, 0.2, 0.6], &gradients, 2, 0.3);
        assert_eq!(active, [0, 1, 4, 5, 10, 11]);
    }

    #[test]
    fn a_neuron_without_salient_positions_is_given_up_and_the_others_share_its_weights() {
        // Neuron 2 loses both weights, and the two largest gradients are elsewhere.
        let gradients = [0.0, 0.0, 0.5, 9.0, 8.0, 0.0, 1.0, 2.0, 0.5, 0.0, 2.0, 0.0];
        let weights = [0.9, 0.8, 0.7, 0.6, 0.1, 0.2];
        assert_eq!(decide(&weights, &gradients, 2, 0.3), [0, 1, 3, 4, 5, 6]);
        // With γ = 0 it stays and grows its own best.
        assert_eq!(decide(&weights, &gradients, 2, 0.0), [0, 1, 5, 6, 8, 10]);
    }

    #[test]
    fn as_many_neurons_stay_as_the_weights_need() {
        // All gradients favour neuron 0, which can only hold four of the six weights.
        let gradients = [9.0, 9.0, 9.0, 9.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.2, 0.0, 0.0];
        let active = decide(&[0.9, 0.8, 0.1, 0.1, 0.1, 0.1], &gradients, 4, 1.0);
        assert_eq!(active, [0, 1, 2, 4, 5, 6]);
    }

    #[test]
    fn the_last_linear_layer_keeps_all_its_neurons() {
        let layers = [LayerSpec::new("a.weight", vec![3, 4], 6), LayerSpec::new("b.weight", vec![3, 4], 6)];
        let params = Params { drop_fraction: 1.0 / 3.0, drop_schedule: DropSchedule::Constant, ..Params::default() };
        let mut srigl = build(params, &crate::testing::context(&layers, 1000)).unwrap();
        let gradients = [0.0, 0.0, 0.5, 9.0, 8.0, 0.0, 1.0, 2.0, 0.5, 0.0, 2.0, 0.0];
        let probe = crate::Probe::Dense { gradients: &gradients, share: 1.0 };
        let seen = LayerView { probe, ..view(&ACTIVE, &[0.9, 0.8, 0.7, 0.6, 0.1, 0.2]) };
        let neurons = |change: &Change| {
            let mut rows: Vec<u32> = change.applied_to(&ACTIVE).iter().map(|position| position / 4).collect();
            rows.dedup();
            rows
        };
        let changes = srigl.update(100, &[seen, seen]);
        assert_eq!([neurons(&changes[0]), neurons(&changes[1])], [vec![0, 1], vec![0, 1, 2]]);
    }
}
