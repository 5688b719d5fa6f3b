//! Patterns that the masks of a layer may be confined to.
//!
//! A pattern cuts the positions of a tensor `[O, I, KH, KW]` or `[O, I]` into *cells*, and says how many positions of each
//! cell are active. Unstructured masks know no cells.
//!
//! | pattern | written | cell | active positions of a cell |
//! | --- | --- | --- | --- |
//! | N:M | `2:4` | M consecutive inputs of an output, at one kernel position | exactly N |
//! | blocks | `4x1` | 4 consecutive outputs × 1 input, at one kernel position | all or none |
//! | constant fan-in | `fan-in` | all inputs of an output, over all kernel positions | as many as any other cell, or one more; or none |
//!
//! Counts stay exact: a layer whose shape or number of non-zeros does not fit is refused.

use crate::mask::{complement, difference};
use crate::{LayerSpec, rng, select};
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a mask may look like. Texts are those of the [module's table](self), or `unstructured`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pattern {
    /// Anything.
    #[default]
    Unstructured,
    /// The same number of inputs for every output.
    FanIn,
    /// N of M consecutive inputs.
    NM {
        /// Active positions of a cell.
        n: usize,
        /// Positions of a cell.
        m: usize,
    },
    /// Whole blocks.
    Block {
        /// Outputs of a block.
        height: usize,
        /// Inputs of a block.
        width: usize,
    },
}

/// Why a pattern does not exist, or does not fit a layer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    /// The text names no pattern.
    #[error("there is no pattern `{text}`; there are unstructured, fan-in, N:M such as 2:4, and blocks such as 4x1")]
    Unknown {
        /// The text.
        text: String,
    },
    /// The cells do not cover the layer evenly.
    #[error("`{pattern}` does not fit {count} {side}: they must be a multiple of {by}; keep this layer dense")]
    Shape {
        /// The pattern.
        pattern: Pattern,
        /// What does not fit: inputs or outputs.
        side: &'static str,
        /// How many there are.
        count: usize,
        /// What they should be a multiple of.
        by: usize,
    },
    /// N:M fixes the number of non-zeros.
    #[error(
        "`{pattern}` has {expected} non-zeros here, the sparsity {nnz}; set sparsity to {sparsity}, distribution uniform"
    )]
    Count {
        /// The pattern.
        pattern: Pattern,
        /// Non-zeros that the pattern makes.
        expected: usize,
        /// Non-zeros that the layer has.
        nnz: usize,
        /// The sparsity of the pattern, as text.
        sparsity: String,
    },
    /// The non-zeros are no whole number of blocks.
    #[error(
        "{nnz} non-zeros are no whole number of blocks of {area}; uniform sparsities such as 0.875 or 0.9375 give one"
    )]
    Blocks {
        /// Non-zeros that the layer has.
        nnz: usize,
        /// Positions of a block.
        area: usize,
    },
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unstructured => f.write_str("unstructured"),
            Self::FanIn => f.write_str("fan-in"),
            Self::NM { n, m } => write!(f, "{n}:{m}"),
            Self::Block { height, width } => write!(f, "{height}x{width}"),
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let pair = |separator| {
            let (a, b) = text.split_once(separator)?;
            let (a, b) = (a.parse::<u16>().ok()?, b.parse::<u16>().ok()?);
            (a > 0 && b > 0).then_some((usize::from(a), usize::from(b)))
        };
        match (text, pair(':'), pair('x')) {
            ("unstructured", ..) => Ok(Self::Unstructured),
            ("fan-in", ..) => Ok(Self::FanIn),
            (_, Some((n, m)), _) if n <= m => Ok(Self::NM { n, m }),
            (_, _, Some((height, width))) => Ok(Self::Block { height, width }),
            _ => Err(PatternError::Unknown { text: text.into() }),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.to_string()
    }
}

impl Pattern {
    /// Whether a layer of this shape and number of non-zeros can have this pattern.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(self, layer: &LayerSpec) -> Result<(), PatternError> {
        let [outputs, inputs] = [0, 1].map(|axis| layer.shape.get(axis).copied().unwrap_or(1));
        let fits = |side, count: usize, by| {
            if count.is_multiple_of(by) { Ok(()) } else { Err(PatternError::Shape { pattern: self, side, count, by }) }
        };
        match self {
            Self::Unstructured | Self::FanIn => Ok(()),
            Self::NM { n, m } => {
                fits("inputs", inputs, m)?;
                let expected = layer.len() / m * n;
                let sparsity = (1.0 - n as f64 / m as f64).to_string();
                let count = PatternError::Count { pattern: self, expected, nnz: layer.nnz, sparsity };
                if layer.nnz == expected { Ok(()) } else { Err(count) }
            }
            Self::Block { height, width } => {
                fits("outputs", outputs, height)?;
                fits("inputs", inputs, width)?;
                let (nnz, area) = (layer.nnz, height * width);
                if nnz.is_multiple_of(area) { Ok(()) } else { Err(PatternError::Blocks { nnz, area }) }
            }
        }
    }

    /// Whether the sorted positions `active` of a tensor have this pattern.
    pub fn holds(self, shape: &[usize], active: &[u32]) -> bool {
        let counts = || Cells::new(self, shape).counts(active).into_iter();
        match self {
            Self::Unstructured => true,
            Self::FanIn => {
                let used = || counts().filter(|&count| count > 0);
                used().max().unwrap_or(0) - used().min().unwrap_or(0) <= 1
            }
            Self::NM { n, .. } => counts().all(|count| count == n),
            Self::Block { height, width } => counts().all(|count| count == 0 || count == height * width),
        }
    }

    /// A random mask of exactly `layer.nnz` positions, sorted; `layer` has passed [`check`](Self::check).
    pub fn draw(self, layer: &LayerSpec, rng: &mut impl Rng) -> Vec<u32> {
        let cells = Cells::new(self, &layer.shape);
        match self {
            Self::Unstructured => rng::choose(rng, layer.len(), layer.nnz),
            Self::Block { .. } => cells.positions(&rng::choose(rng, cells.count, layer.nnz / cells.size)),
            Self::FanIn | Self::NM { .. } => {
                let (each, odd) = (layer.nnz / cells.count, layer.nnz % cells.count);
                let all: Vec<u32> = (0..layer.len() as u32).collect();
                let mut active: Vec<u32> = Vec::with_capacity(layer.nnz);
                for (cell, positions) in cells.sorted(&all).chunk_by(|a, b| a.0 == b.0).enumerate() {
                    let chosen = rng::choose(rng, positions.len(), each + usize::from(cell < odd));
                    active.extend(chosen.into_iter().map(|entry| positions[entry as usize].1));
                }
                active.sort_unstable();
                active
            }
        }
    }

    /// The `count` active positions with the worst scores, sorted; as many whole blocks as fit into `count` for blocks,
    /// which are scored by their sums. `scores` are aligned with `active`.
    pub fn worst(self, shape: &[usize], active: &[u32], scores: &[f32], count: usize) -> Vec<u32> {
        let Self::Block { .. } = self else { return select::pick(active, &select::smallest(scores, count)) };
        let cells = Cells::new(self, shape);
        let (used, sums) = cells.sums(active, scores);
        cells.positions(&select::pick(&used, &select::smallest(&sums, count / cells.size)))
    }

    /// Where the mask grows again after `dropped` has left `active`: as many positions, sorted, with the pattern restored.
    /// The largest `values` in magnitude win, one per position of the tensor; blocks are scored by their sums. Dropped
    /// positions may return.
    pub fn regrown(self, shape: &[usize], active: &[u32], dropped: &[u32], values: &[f32]) -> Vec<u32> {
        let kept = difference(active, dropped);
        if self == Self::Unstructured {
            return select::largest_outside(&kept, values, dropped.len());
        }
        let cells = Cells::new(self, shape);
        let open = complement(values.len(), &kept);
        if let Self::Block { .. } = self {
            let (free, sums) = cells.sums(&open, &select::magnitudes(&select::pick(values, &open)));
            return cells.positions(&select::pick(&free, &select::largest(&sums, dropped.len() / cells.size)));
        }
        let missing = cells.counts(dropped);
        let mut grown = Vec::with_capacity(dropped.len());
        for cell in cells.sorted(&open).chunk_by(|a, b| a.0 == b.0) {
            let scores: Vec<f32> = cell.iter().map(|&(_, position)| values[position as usize].abs()).collect();
            let best = select::largest(&scores, missing[cell[0].0]);
            grown.extend(best.into_iter().map(|entry| cell[entry as usize].1));
        }
        grown.sort_unstable();
        grown
    }
}

/// The cells of a tensor under a pattern.
struct Cells {
    pattern: Pattern,
    inputs: usize,
    /// Kernel positions.
    taps: usize,
    /// Positions of the tensor.
    len: usize,
    /// Positions of a cell.
    size: usize,
    /// Cells.
    count: usize,
}

impl Cells {
    fn new(pattern: Pattern, shape: &[usize]) -> Self {
        let (inputs, taps) = (shape.get(1).copied().unwrap_or(1), shape.iter().skip(2).product());
        let size = match pattern {
            Pattern::Unstructured => 1,
            Pattern::FanIn => inputs * taps,
            Pattern::NM { m, .. } => m,
            Pattern::Block { height, width } => height * width,
        };
        let len = shape.iter().product();
        Self { pattern, inputs, taps, len, size, count: len / size.max(1) }
    }

    fn of(&self, position: u32) -> usize {
        let (rest, tap) = (position as usize / self.taps, position as usize % self.taps);
        let (output, input) = (rest / self.inputs, rest % self.inputs);
        match self.pattern {
            Pattern::Unstructured => position as usize,
            Pattern::FanIn => output,
            Pattern::NM { m, .. } => (output * (self.inputs / m) + input / m) * self.taps + tap,
            Pattern::Block { height, width } => {
                (output / height * (self.inputs / width) + input / width) * self.taps + tap
            }
        }
    }

    /// How many of `positions` each cell has.
    fn counts(&self, positions: &[u32]) -> Vec<usize> {
        let mut counts = vec![0; self.count];
        positions.iter().for_each(|&position| counts[self.of(position)] += 1);
        counts
    }

    /// The positions with their cells, cell by cell.
    fn sorted(&self, positions: &[u32]) -> Vec<(usize, u32)> {
        let mut sorted: Vec<(usize, u32)> = positions.iter().map(|&position| (self.of(position), position)).collect();
        sorted.sort_unstable();
        sorted
    }

    /// The cells that have one of `positions`, ascending, with the sums of their scores.
    fn sums(&self, positions: &[u32], scores: &[f32]) -> (Vec<u32>, Vec<f32>) {
        let mut sums = vec![0.0; self.count];
        positions.iter().zip(scores).for_each(|(&position, score)| sums[self.of(position)] += score);
        let counts = self.counts(positions);
        let used: Vec<u32> = (0..self.count as u32).filter(|&cell| counts[cell as usize] > 0).collect();
        let sums = select::pick(&sums, &used);
        (used, sums)
    }

    /// All positions of the sorted `cells`, sorted.
    fn positions(&self, cells: &[u32]) -> Vec<u32> {
        let inside = |position: &u32| cells.binary_search(&(self.of(*position) as u32)).is_ok();
        (0..self.len as u32).filter(inside).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Streams};
    use proptest::prelude::*;

    const TWO_OF_FOUR: Pattern = Pattern::NM { n: 2, m: 4 };
    const FOUR_BY_ONE: Pattern = Pattern::Block { height: 4, width: 1 };

    #[test]
    fn texts_round_trip_and_nonsense_is_refused() {
        for pattern in [Pattern::Unstructured, Pattern::FanIn, TWO_OF_FOUR, FOUR_BY_ONE] {
            assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
        for text in ["", "4:2", "0:4", "2:", "0x1", "4x", "-1x2", "2:4:8", "dense"] {
            assert_eq!(text.parse::<Pattern>(), Err(PatternError::Unknown { text: text.into() }));
        }
    }

    #[test]
    fn a_cell_lies_along_the_inputs_or_outputs_at_one_kernel_position() {
        // Position = (output · inputs + input) · taps + tap.
        assert!(TWO_OF_FOUR.holds(&[1, 4, 1, 2], &[0, 2, 5, 7]));
        assert!(!TWO_OF_FOUR.holds(&[1, 4, 1, 2], &[0, 2, 4, 7]));
        assert!(FOUR_BY_ONE.holds(&[4, 4, 1, 2], &[3, 11, 19, 27]));
        assert!(!FOUR_BY_ONE.holds(&[4, 4, 1, 2], &[3, 11, 19]));
        assert!(!FOUR_BY_ONE.holds(&[4, 4, 1, 2], &[2, 3, 4, 5]));
        assert!(Pattern::FanIn.holds(&[3, 4], &[0, 1, 8, 9, 10]) && !Pattern::FanIn.holds(&[3, 4], &[0, 8, 9, 10]));
    }

    #[test]
    fn two_of_four_swaps_within_its_cell() {
        // The smallest weights are at 1 and 6; 7 and 2 have the larger gradients of their cells.
        let dropped = TWO_OF_FOUR.worst(&[1, 8], &[0, 1, 5, 6], &[0.9, 0.1, 0.8, 0.2], 2);
        assert_eq!(dropped, [1, 6]);
        let values = [9.0, 0.1, -0.3, 0.2, 0.4, 9.0, 0.3, 0.5];
        assert_eq!(TWO_OF_FOUR.regrown(&[1, 8], &[0, 1, 5, 6], &dropped, &values), [2, 7]);
    }

    #[test]
    fn blocks_leave_and_come_whole_by_their_sums() {
        let (shape, active) = ([2, 3], [0, 1, 3, 4]);
        let pattern = Pattern::Block { height: 2, width: 1 };
        let dropped = pattern.worst(&shape, &active, &[0.1, 0.5, 0.8, 0.3], 3);
        assert_eq!(dropped, [1, 4]);
        assert_eq!(pattern.regrown(&shape, &active, &dropped, &[0.0, 1.0, 0.9, 0.0, 0.2, -0.5]), [2, 5]);
    }

    #[test]
    fn a_layer_that_does_not_fit_is_told_what_would() {
        let error = |pattern: Pattern, shape: &[usize], nnz| {
            pattern.check(&LayerSpec::new("conv.weight", shape.to_vec(), nnz)).unwrap_err().to_string()
        };
        assert!(error(TWO_OF_FOUR, &[8, 3, 3, 3], 108).contains("3 inputs"));
        assert!(error(TWO_OF_FOUR, &[8, 4], 3).contains("sparsity to 0.5"));
        assert!(error(FOUR_BY_ONE, &[6, 4], 4).contains("6 outputs"));
        assert!(error(FOUR_BY_ONE, &[8, 4], 3).contains("3 non-zeros"));
    }

    fn a_pattern() -> impl Strategy<Value = Pattern> {
        prop_oneof![
            Just(Pattern::Unstructured),
            Just(Pattern::FanIn),
            (1usize..4, 0usize..3).prop_map(|(n, more)| Pattern::NM { n, m: n + more }),
            (1usize..4, 1usize..4).prop_map(|(height, width)| Pattern::Block { height, width }),
        ]
    }

    proptest! {
        #[test]
        fn masks_are_drawn_dropped_and_regrown_in_pattern_with_exact_counts(
            pattern in a_pattern(), (rows, columns, taps) in (1usize..4, 1usize..4, 1usize..3),
            density in 0.0f64..=1.0, share in 0.0f64..=1.0, seed: u64,
        ) {
            let (height, width) = match pattern {
                Pattern::NM { m, .. } => (1, m),
                Pattern::Block { height, width } => (height, width),
                _ => (1, 1),
            };
            let mut layer = LayerSpec::new("w", vec![rows * height, columns * width, taps, 1], 0);
            layer.nnz = match pattern {
                Pattern::NM { n, m } => layer.len() / m * n,
                _ => (density * (layer.len() / (height * width)) as f64) as usize * height * width,
            };
            prop_assert_eq!(pattern.check(&layer), Ok(()));
            let active = pattern.draw(&layer, &mut Streams::new(seed).stream(Purpose::Mask, 0, 0));
            prop_assert_eq!(active.len(), layer.nnz);
            prop_assert!(pattern.holds(&layer.shape, &active));

            let values: Vec<f32> = (0..layer.len() as u64).map(|i| rng::at(seed, i) as f32).collect();
            let count = (share * layer.nnz as f64) as usize;
            let dropped = pattern.worst(&layer.shape, &active, &select::pick(&values, &active), count);
            prop_assert!(dropped.len() <= count && count - dropped.len() < height * width);
            let grown = pattern.regrown(&layer.shape, &active, &dropped, &values);
            prop_assert_eq!(grown.len(), dropped.len());
            let after = crate::Change::net(&dropped, &grown).applied_to(&active);
            prop_assert_eq!(after.len(), layer.nnz);
            prop_assert!(pattern.holds(&layer.shape, &after));
        }
    }
}
