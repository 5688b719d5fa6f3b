//! How many non-zeros each layer gets.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A rule that spreads a sparsity over layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Every layer has the same sparsity.
    #[default]
    Uniform,
    /// Erdős–Rényi-kernel (RigL, 2020): density proportional to the sum of a tensor's dimensions over their product.
    /// For linear layers this is SET's Erdős–Rényi.
    Erk,
}

/// Why a sparsity cannot be spread.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DistributionError {
    /// The name is not a distribution.
    #[error("there is no sparsity distribution `{name}`; there are uniform and erk")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The sparsity is not a share.
    #[error("a sparsity is a share of zeros from 0 to 1, not {sparsity}")]
    Sparsity {
        /// The sparsity.
        sparsity: f64,
    },
    /// A shape has no positions.
    #[error("layer {layer} has shape {shape:?} and so no weights to spread non-zeros over")]
    Empty {
        /// Which layer.
        layer: usize,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// There would be layers without any weight.
    #[error("at sparsity {sparsity} only {total} non-zeros are left for {layers} layers; every layer needs one")]
    TooSparse {
        /// The sparsity.
        sparsity: f64,
        /// Non-zeros in all.
        total: usize,
        /// Layers.
        layers: usize,
    },
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uniform => "uniform",
            Self::Erk => "erk",
        })
    }
}

impl FromStr for Distribution {
    type Err = DistributionError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Uniform, Self::Erk]
            .into_iter()
            .find(|kind| kind.to_string() == name)
            .ok_or_else(|| DistributionError::Unknown { name: name.into() })
    }
}

/// The number of non-zeros of each layer.
///
/// Uniform: round((1 − s)·N_l) in every layer, at least 1. ERK: exactly round((1 − s)·N) in all; the real-valued
/// shares are rounded by largest remainder (whole parts first, then one more for the largest fractions, lower layer
/// first), and a layer that would get none takes one from the layer that has most. No layer ever exceeds its length,
/// and none is empty unless the sparsity is 1.
///
/// # Errors
/// If the sparsity is not in [0, 1], a shape is empty, or there are fewer non-zeros than layers.
pub fn allocate(kind: Distribution, shapes: &[Vec<usize>], sparsity: f64) -> Result<Vec<usize>, DistributionError> {
    if !(0.0..=1.0).contains(&sparsity) {
        return Err(DistributionError::Sparsity { sparsity });
    }
    let lens: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
    if let Some(layer) = lens.iter().position(|&len| len == 0) {
        return Err(DistributionError::Empty { layer, shape: shapes[layer].clone() });
    }
    if sparsity == 1.0 {
        return Ok(vec![0; lens.len()]);
    }
    match kind {
        Distribution::Uniform => {
            Ok(lens.iter().map(|&len| (((1.0 - sparsity) * len as f64).round() as usize).max(1)).collect())
        }
        Distribution::Erk => {
            let total = ((1.0 - sparsity) * lens.iter().sum::<usize>() as f64).round() as usize;
            if total < lens.len() {
                return Err(DistributionError::TooSparse { sparsity, total, layers: lens.len() });
            }
            Ok(round_to_total(&erk_quotas(shapes, &lens, sparsity), &lens, total))
        }
    }
}

/// Real-valued non-zeros per layer: ε·p_l·N_l with p = Σ dims / Π dims, and ε such that all add up to (1 − s)·N. While
/// the largest density exceeds 1, all layers with that p become dense and ε is solved again for the others.
fn erk_quotas(shapes: &[Vec<usize>], lens: &[usize], sparsity: f64) -> Vec<f64> {
    let raw: Vec<f64> =
        shapes.iter().zip(lens).map(|(shape, &len)| shape.iter().sum::<usize>() as f64 / len as f64).collect();
    let mut dense = vec![false; shapes.len()];
    loop {
        let (mut budget, mut weight, mut steepest) = (0.0, 0.0, 0.0_f64);
        for layer in 0..shapes.len() {
            let len = lens[layer] as f64;
            if dense[layer] {
                budget -= sparsity * len;
            } else {
                budget += (1.0 - sparsity) * len;
                weight += raw[layer] * len;
                steepest = steepest.max(raw[layer]);
            }
        }
        let epsilon = budget / weight;
        if dense.iter().all(|&dense| dense) || epsilon * steepest <= 1.0 {
            let quota = |layer: usize| if dense[layer] { 1.0 } else { (epsilon * raw[layer]).max(0.0) };
            return (0..shapes.len()).map(|layer| quota(layer) * lens[layer] as f64).collect();
        }
        for layer in 0..shapes.len() {
            dense[layer] |= raw[layer] == steepest;
        }
    }
}

fn round_to_total(quotas: &[f64], lens: &[usize], total: usize) -> Vec<usize> {
    let mut counts: Vec<usize> = quotas.iter().zip(lens).map(|(quota, &len)| (*quota as usize).clamp(1, len)).collect();
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    by_remainder.sort_by(|&a, &b| quotas[b].fract().total_cmp(&quotas[a].fract()));
    let mut missing = total.saturating_sub(counts.iter().sum());
    for &layer in by_remainder.iter().cycle() {
        if missing == 0 {
            break;
        }
        if counts[layer] < lens[layer] {
            counts[layer] += 1;
            missing -= 1;
        }
    }
    while counts.iter().sum::<usize>() > total {
        let richest = (0..counts.len()).max_by_key(|&layer| (counts[layer], std::cmp::Reverse(layer)));
        richest.into_iter().for_each(|layer| counts[layer] -= 1);
    }
    counts
}

/// Hands `total` out to layers in proportion to `shares`, at most `capacity` each: whole parts first, then one more for
/// the largest remainders, lower layer first. What a full layer cannot take goes to the others in the same way. Shares
/// that are negative or not numbers count as 0; layers whose shares are all 0 count alike. Adds up to `total`, or to
/// what all layers can take if that is less.
pub fn apportion(shares: &[f64], capacity: &[usize], total: usize) -> Vec<usize> {
    let mut given = vec![0; capacity.len()];
    let mut rest = total.min(capacity.iter().sum());
    while rest > 0 {
        let open: Vec<usize> = (0..capacity.len()).filter(|&layer| given[layer] < capacity[layer]).collect();
        let share = |layer: usize| if shares[layer] > 0.0 && shares[layer].is_finite() { shares[layer] } else { 0.0 };
        let sum: f64 = open.iter().map(|&layer| share(layer)).sum();
        let part = |layer: usize| if sum > 0.0 { share(layer) / sum } else { 1.0 / open.len() as f64 };
        let quotas: Vec<f64> = open.iter().map(|&layer| part(layer) * rest as f64).collect();
        let before = rest;
        for (&layer, quota) in open.iter().zip(&quotas) {
            let whole = (*quota as usize).min(capacity[layer] - given[layer]).min(rest);
            given[layer] += whole;
            rest -= whole;
        }
        let filled = open.iter().any(|&layer| given[layer] == capacity[layer]);
        if rest < before && filled {
            continue;
        }
        let mut by_remainder: Vec<usize> = (0..open.len()).filter(|&at| given[open[at]] < capacity[open[at]]).collect();
        by_remainder.sort_by(|&a, &b| quotas[b].fract().total_cmp(&quotas[a].fract()));
        by_remainder.truncate(rest);
        rest -= by_remainder.len();
        by_remainder.into_iter().for_each(|at| given[open[at]] += 1);
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The 34 weight tensors of ResNet-32 for CIFAR-10 at twice its width.
    fn widened_resnet32() -> Vec<Vec<usize>> {
        let mut shapes = vec![vec![32, 3, 3, 3]];
        let mut input = 32;
        for width in [32, 64, 128] {
            for _ in 0..5 {
                shapes.push(vec![width, input, 3, 3]);
                shapes.push(vec![width, width, 3, 3]);
                input = width;
            }
        }
        shapes.push(vec![64, 32, 1, 1]);
        shapes.push(vec![128, 64, 1, 1]);
        shapes.push(vec![10, 128]);
        shapes
    }

    #[test]
    fn erk_on_the_widened_resnet32_at_98_percent_has_the_known_densities() {
        let shapes = widened_resnet32();
        assert_eq!(shapes.len(), 34);
        let counts = allocate(Distribution::Erk, &shapes, 0.98).unwrap();
        let lens: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
        let densities: Vec<f64> = counts.iter().zip(&lens).map(|(&nnz, &len)| nnz as f64 / len as f64).collect();
        assert!(densities.iter().all(|&density| density < 1.0));
        assert!((densities[30] - 0.013).abs() < 5e-4, "128-channel 3×3: {}", densities[30]);
        assert!((densities[33] - 0.80).abs() < 1e-2, "linear: {}", densities[33]);
        assert_eq!(counts.iter().sum::<usize>(), (0.02 * lens.iter().sum::<usize>() as f64).round() as usize);
    }

    #[test]
    fn a_layer_that_erk_would_overfill_is_dense_and_the_rest_pays() {
        let shapes = [vec![10, 10], vec![1000, 1000]];
        assert_eq!(allocate(Distribution::Erk, &shapes, 0.9).unwrap(), [100, 99_910]);
    }

    #[test]
    fn names_round_trip_and_nonsense_is_refused() {
        for kind in [Distribution::Uniform, Distribution::Erk] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("er".parse::<Distribution>().is_err());
        let one = [vec![3, 3]];
        assert!(matches!(allocate(Distribution::Erk, &one, f64::NAN), Err(DistributionError::Sparsity { .. })));
        assert!(matches!(allocate(Distribution::Uniform, &[vec![0, 3]], 0.5), Err(DistributionError::Empty { .. })));
        assert!(matches!(
            allocate(Distribution::Erk, &[vec![3, 3], vec![3, 3]], 0.95),
            Err(DistributionError::TooSparse { .. })
        ));
    }

    #[test]
    fn a_budget_goes_by_share_then_by_remainder_and_overflows_to_the_others() {
        assert_eq!(apportion(&[1.0, 2.0, 4.0], &[100; 3], 10), [1, 3, 6]);
        assert_eq!(apportion(&[1.0, 1.0, 1.0], &[9; 3], 2), [1, 1, 0]);
        assert_eq!(apportion(&[8.0, 1.0, 1.0], &[2, 9, 9], 10), [2, 4, 4]);
        assert_eq!(apportion(&[f64::NAN, 0.0, -1.0], &[9; 3], 6), [2, 2, 2]);
        assert_eq!(apportion(&[1.0, 0.0], &[3, 4], 99), [3, 4]);
    }

    proptest! {
        #[test]
        fn a_budget_is_handed_out_exactly_and_within_every_capacity(
            layers in prop::collection::vec((prop_oneof![Just(0.0), Just(f64::NAN), 0.0f64..9.0], 0usize..30), 0..8),
            total in 0usize..200,
        ) {
            let (shares, capacity): (Vec<f64>, Vec<usize>) = layers.into_iter().unzip();
            let given = apportion(&shares, &capacity, total);
            prop_assert!(given.iter().zip(&capacity).all(|(given, capacity)| given <= capacity));
            prop_assert_eq!(given.iter().sum::<usize>(), total.min(capacity.iter().sum()));
        }

        #[test]
        fn counts_are_exact_and_within_every_layer(
            shapes in prop::collection::vec(prop::collection::vec(1usize..20, 1..5), 1..12), sparsity in 0.0f64..=1.0,
        ) {
            let lens: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
            for kind in [Distribution::Uniform, Distribution::Erk] {
                let Ok(counts) = allocate(kind, &shapes, sparsity) else { continue };
                for (&nnz, &len) in counts.iter().zip(&lens) {
                    prop_assert!(nnz <= len && (nnz > 0 || sparsity == 1.0));
                    if kind == Distribution::Uniform && sparsity < 1.0 {
                        prop_assert_eq!(nnz, (((1.0 - sparsity) * len as f64).round() as usize).max(1));
                    }
                }
                if kind == Distribution::Erk {
                    let total = ((1.0 - sparsity) * lens.iter().sum::<usize>() as f64).round() as usize;
                    prop_assert_eq!(counts.iter().sum::<usize>(), total);
                }
            }
        }
    }
}
