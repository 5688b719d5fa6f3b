//! What each layer takes of a step, beside the same layer with every weight.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use bidst_engine::{PartKind, PartTiming};

use super::{Bench, fastest, median};
use crate::error::TrainError;
use crate::metrics::StepTiming;

/// A layer, or one kind of other work, in a step of the sparse and of the dense network.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the layer or of the work.
    pub name: String,
    /// What the layer is; `None` for other work.
    pub layer: Option<Layer>,
    /// The fastest of the sparse network's steps; of the wait for data the median.
    pub sparse: Spent,
    /// The same of the dense network.
    pub dense: Spent,
}

/// A convolution or linear layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// `[out, in / groups, kernel height, kernel width]` or `[out, in]`.
    pub shape: Vec<usize>,
    /// Weights that exist.
    pub nnz: usize,
    /// Floating-point operations of its forward pass on one batch, two per non-zero, pixel and image.
    pub forward_flops: u64,
    /// Those of its backward pass: as many for the weights, and as many for the input if that has a gradient.
    pub backward_flops: u64,
}

impl Layer {
    /// Non-zeros over positions.
    pub fn density(&self) -> f64 {
        self.nnz as f64 / self.shape.iter().product::<usize>() as f64
    }
}

/// Seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// In the forward pass.
    pub forward_s: f64,
    /// In the backward pass.
    pub backward_s: f64,
    /// In neither.
    pub other_s: f64,
}

impl Spent {
    /// All of it.
    pub fn total_s(&self) -> f64 {
        self.forward_s + self.backward_s + self.other_s
    }

    fn other(other_s: f64) -> Spent {
        Spent { other_s, ..Spent::default() }
    }
}

impl AddAssign<&PartTiming> for Spent {
    fn add_assign(&mut self, part: &PartTiming) {
        self.forward_s += part.forward.as_secs_f64();
        self.backward_s += part.backward.as_secs_f64();
    }
}

/// Work outside the forward and the backward pass, in the order of [`Bench::spent`].
const OTHER: [&str; 4] = ["optimiser", "mask", WAITING, "everything else"];
/// The one kind of work that is judged by its median, because it is either there or not.
const WAITING: &str = "waiting for data";

/// Steps `sparse` and `dense`, the same network, in turn: `warmup` steps each, then `steps` that count. Together the rows
/// are the whole step.
///
/// # Errors
/// As [`Bench::step`].
pub fn breakdown(sparse: &mut Bench, dense: &mut Bench, warmup: u32, steps: u32) -> Result<Vec<Row>, TrainError> {
    let groups = sparse.groups();
    let mut benches = [sparse, dense];
    let mut samples = [Vec::new(), Vec::new()];
    for bench in &mut benches {
        bench.trainer.network.time_parts(true);
    }
    for round in 0..warmup + steps {
        for (bench, samples) in benches.iter_mut().zip(&mut samples) {
            let timing = bench.step()?;
            if round >= warmup {
                samples.push(bench.spent(&groups, &timing));
            }
        }
    }
    let [sparse, _] = benches;
    let names = groups.iter().map(|group| group.name.clone()).chain(OTHER.map(str::to_owned));
    let row = |(at, name): (usize, String)| {
        let pick = if name == WAITING { median } else { fastest };
        let [ours, theirs] = [&samples[0], &samples[1]].map(|samples| picked(samples, at, pick));
        Row { name, layer: groups.get(at).and_then(|group| sparse.layer(group)), sparse: ours, dense: theirs }
    };
    Ok(names.enumerate().map(row).collect())
}

/// Parts of the network's step that share a row.
struct Group {
    name: String,
    /// Index of the weight tensor of a layer, and whether its input has a gradient.
    weight: Option<(usize, bool)>,
    parts: Vec<usize>,
}

impl Bench {
    /// A group per layer, and one per kind of other part that the network has.
    fn groups(&self) -> Vec<Group> {
        let (mut layers, mut others) = (Vec::new(), BTreeMap::<usize, Group>::new());
        for (at, part) in self.trainer.network.part_timings().iter().enumerate() {
            if let PartKind::Layer { weight, input_gradient } = part.kind {
                let tensor = self.trainer.network.weights()[weight].name();
                let name = tensor.strip_suffix(".weight").unwrap_or(tensor).to_owned();
                layers.push(Group { name, weight: Some((weight, input_gradient)), parts: vec![at] });
                continue;
            }
            let (order, name) = other_kind(part.kind);
            let new = || Group { name: name.to_owned(), weight: None, parts: Vec::new() };
            others.entry(order).or_insert_with(new).parts.push(at);
        }
        layers.into_iter().chain(others.into_values()).collect()
    }

    /// What the last step, timed as a whole as `timing`, spent on each group and on [`OTHER`].
    fn spent(&self, groups: &[Group], timing: &StepTiming) -> Vec<Spent> {
        let parts = self.trainer.network.part_timings();
        let mut rows: Vec<Spent> = Vec::with_capacity(groups.len() + OTHER.len());
        for group in groups {
            let mut spent = Spent::default();
            group.parts.iter().for_each(|&part| spent += &parts[part]);
            rows.push(spent);
        }
        rows.extend([timing.optimizer_s, timing.topology_s, timing.data_s].map(Spent::other));
        let known: f64 = rows.iter().map(Spent::total_s).sum();
        rows.push(Spent::other((timing.total_s - known).max(0.0)));
        rows
    }

    fn layer(&self, group: &Group) -> Option<Layer> {
        let (weight, input_gradient) = group.weight?;
        let tensor = &self.trainer.network.weights()[weight];
        let pixels = self.trainer.allocation.weights[weight].macs_per_weight;
        let flops = 2 * (tensor.nnz() * pixels * self.trainer.network.batch_size()) as u64;
        let backward_flops = flops * (1 + u64::from(input_gradient));
        Some(Layer { shape: tensor.shape().to_vec(), nnz: tensor.nnz(), forward_flops: flops, backward_flops })
    }
}

/// Place among the rows and name of what is no layer.
fn other_kind(kind: PartKind) -> (usize, &'static str) {
    match kind {
        PartKind::Norm => (0, "batch norm constants"),
        PartKind::Value => (1, "unfused values"),
        PartKind::Pool => (2, "pooling"),
        PartKind::Flatten => (3, "flatten"),
        PartKind::Input => (4, "images to tiles"),
        PartKind::Loss => (5, "loss"),
        _ => (6, "other"),
    }
}

/// Row `at` of the samples, each of its times on its own.
fn picked(samples: &[Vec<Spent>], at: usize, pick: fn(Vec<f64>) -> f64) -> Spent {
    let of = |part: fn(&Spent) -> f64| pick(samples.iter().map(|rows| part(&rows[at])).collect());
    Spent { forward_s: of(|s| s.forward_s), backward_s: of(|s| s.backward_s), other_s: of(|s| s.other_s) }
}

#[cfg(test)]
mod tests {
    use super::super::{dense, tests::config};
    use super::*;

    #[test]
    fn there_is_a_row_per_layer_and_the_rest_of_the_step_has_rows_of_its_own() {
        let config = config("static");
        let mut sparse = Bench::with_loader(config.clone()).unwrap();
        let mut dense = Bench::with_loader(dense(&config)).unwrap();
        let rows = breakdown(&mut sparse, &mut dense, 0, 1).unwrap();
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names[..5], ["conv1", "conv2", "conv3", "conv4", "fc"]);
        assert_eq!(names[5..7], ["batch norm constants", "unfused values"]);
        assert_eq!(names[names.len() - OTHER.len()..], OTHER);
        let [first, second] = [0, 1].map(|at| rows[at].layer.clone().unwrap());
        assert_eq!((&first.shape[..], first.density()), (&[8, 1, 3, 3][..], 1.0));
        assert_eq!((first.forward_flops, first.backward_flops), (2 * 72 * 28 * 28 * 16, 2 * 72 * 28 * 28 * 16));
        assert_eq!(second.backward_flops, 2 * second.forward_flops);
        assert!(second.density() < 1.0 && rows[1].dense.total_s() > 0.0);
    }
}
