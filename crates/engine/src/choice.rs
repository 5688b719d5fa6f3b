//! Which kernel a layer uses: the sparse one, which skips the zeros, or the dense one, which multiplies by them.
//!
//! By default a fixed rule decides: dense above a density at which the dense kernel was measured to overtake the sparse
//! one. So equal configurations give equal bits on any two machines with the same instruction set.
//! [`crate::Network::measure_kernels`] times both kernels instead; what it returns can be kept and handed in again.

use bidst_kernels::ConvShape;
use serde::{Deserialize, Serialize};

/// One of the two kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// Visits the non-zeros.
    Sparse,
    /// Visits all positions, four channels at once.
    Dense,
}

/// The kernels of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Name of the weight tensor.
    pub layer: String,
    /// Share of its positions that were active when the choice was made.
    pub density: f64,
    /// Kernel of the forward pass.
    pub forward: Kernel,
    /// Kernel of the backward pass.
    pub backward: Kernel,
    /// Times that led to the choice; `None` if the rule or the caller chose.
    pub measured: Option<Measured>,
}

/// Milliseconds that one unit of the batch took, the fastest of some repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Forward with the sparse kernel.
    pub forward_sparse_ms: f64,
    /// Forward with the dense kernel.
    pub forward_dense_ms: f64,
    /// Backward with the sparse kernel.
    pub backward_sparse_ms: f64,
    /// Backward with the dense kernel.
    pub backward_dense_ms: f64,
}

/// How the layers of a network get their kernels.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Kernels {
    /// By density, with fixed thresholds.
    #[default]
    Rule,
    /// The same kernel in every layer.
    All(Kernel),
    /// As listed. Layers that are not in the list follow the rule, and so does one whose density has left the
    /// twentieth that it was in when the choice was made.
    Listed(Vec<Choice>),
}

/// [`Kernels`] of one layer.
#[derive(Clone, Debug)]
pub(crate) enum Policy {
    Rule,
    Always(Kernel),
    Near(Choice),
}

impl Kernels {
    pub(crate) fn of(&self, layer: &str) -> Policy {
        match self {
            Kernels::Rule => Policy::Rule,
            Kernels::All(kernel) => Policy::Always(*kernel),
            Kernels::Listed(choices) => {
                choices.iter().find(|choice| choice.layer == layer).cloned().map_or(Policy::Rule, Policy::Near)
            }
        }
    }
}

impl Policy {
    /// The choice for a layer of some density.
    pub fn choose(&self, layer: &str, shape: &ConvShape, density: f64) -> Choice {
        let (kernels, measured) = match self {
            Policy::Always(kernel) => ([*kernel; 2], None),
            Policy::Near(choice) if bucket(choice.density) == bucket(density) => {
                ([choice.forward, choice.backward], choice.measured)
            }
            Policy::Rule | Policy::Near(_) => (by_rule(shape, density), None),
        };
        Choice { layer: layer.to_owned(), density, forward: kernels[0], backward: kernels[1], measured }
    }
}

/// Densities that share a choice.
pub(crate) fn bucket(density: f64) -> u32 {
    (20.0 * density).round() as u32
}

/// Forward and backward kernel by density.
fn by_rule(shape: &ConvShape, density: f64) -> [Kernel; 2] {
    crossovers(shape).map(|crossover| if density > crossover { Kernel::Dense } else { Kernel::Sparse })
}

/// Densities above which the dense kernel is faster, forward and backward.
///
/// Measured on one AVX-512 core (AMD EPYC 9005) at batch 128; between layers of a kind they vary by about 0.1.
fn crossovers(shape: &ConvShape) -> [f64; 2] {
    const NEVER: f64 = 1.0;
    let (inputs, outputs) = (shape.group_inputs(), shape.output.channels / shape.groups);
    match (shape.kernel, inputs.min(outputs)) {
        // The depthwise kernel is faster at nearly any density: it waits for memory alone.
        _ if shape.is_depthwise() => [0.0, 0.15],
        // Blocks of four channels would be filled with zeros.
        (_, 0..4) if shape.groups > 1 => [NEVER, NEVER],
        ([1, 1], _) => [0.4, 0.7],
        _ => [0.5, 0.8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bidst_kernels::Plane;

    fn shape(groups: usize) -> ConvShape {
        let plane = Plane { channels: 8, height: 6, width: 6 };
        ConvShape { input: plane, output: plane, kernel: [3, 3], stride: [1, 1], padding: [1, 1], groups }
    }

    fn kernels(choice: &Choice) -> [Kernel; 2] {
        [choice.forward, choice.backward]
    }

    #[test]
    fn the_rule_takes_the_dense_kernel_for_dense_layers_and_the_sparse_one_for_sparse_layers() {
        let at = |density, groups| kernels(&Policy::Rule.choose("w", &shape(groups), density));
        assert_eq!(at(1.0, 1), [Kernel::Dense; 2]);
        assert_eq!(at(0.1, 1), [Kernel::Sparse; 2]);
        assert_eq!(at(1.0, 4), [Kernel::Sparse; 2]);
        assert_eq!(at(0.1, 8), [Kernel::Dense, Kernel::Sparse]);
    }

    #[test]
    fn a_listed_choice_holds_until_the_density_leaves_its_twentieth() {
        let listed = Choice {
            layer: "w".into(),
            density: 0.1,
            forward: Kernel::Dense,
            backward: Kernel::Sparse,
            measured: None,
        };
        let policy = Kernels::Listed(vec![listed.clone()]).of("w");
        assert_eq!(kernels(&policy.choose("w", &shape(1), 0.11)), kernels(&listed));
        assert_eq!(kernels(&policy.choose("w", &shape(1), 0.15)), [Kernel::Sparse; 2]);
        assert!(matches!(Kernels::Listed(vec![listed]).of("v"), Policy::Rule));
    }
}
