//! The set of positions of a weight tensor that exist.

use crate::{LayerSpec, rng};
use rand_chacha::rand_core::Rng;

/// A set of active positions in a tensor of `len` positions, as sorted unique flat indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    len: usize,
    active: Vec<u32>,
}

/// Why a set of positions is not a mask.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MaskError {
    /// The tensor has more positions than a 32-bit index can name.
    #[error("a tensor of {len} positions is too large for 32-bit indices")]
    TooLong {
        /// Positions of the tensor.
        len: usize,
    },
    /// More non-zeros than positions.
    #[error("{nnz} non-zeros do not fit into {len} positions")]
    TooMany {
        /// Non-zeros asked for.
        nnz: usize,
        /// Positions of the tensor.
        len: usize,
    },
    /// The positions are not sorted, repeat or leave the tensor.
    #[error("active positions must be sorted, unique and below {len}; entry {at} is not")]
    Order {
        /// First offending entry.
        at: usize,
        /// Positions of the tensor.
        len: usize,
    },
}

impl Mask {
    /// A mask from sorted unique positions below `len`.
    ///
    /// # Errors
    /// If they are not, or if `len` exceeds 32-bit indices.
    pub fn new(len: usize, active: Vec<u32>) -> Result<Self, MaskError> {
        fits_an_index(len)?;
        match first_disorder(&active, len) {
            Some(at) => Err(MaskError::Order { at, len }),
            None => Ok(Self { len, active }),
        }
    }

    /// All positions active.
    ///
    /// # Errors
    /// If `len` exceeds 32-bit indices.
    pub fn full(len: usize) -> Result<Self, MaskError> {
        fits_an_index(len)?;
        Ok(Self { len, active: (0..len as u32).collect() })
    }

    /// Exactly `nnz` positions drawn uniformly without replacement.
    ///
    /// # Errors
    /// If `nnz` exceeds `len`, or `len` exceeds 32-bit indices.
    pub fn random(len: usize, nnz: usize, rng: &mut impl Rng) -> Result<Self, MaskError> {
        fits_an_index(len)?;
        if nnz > len {
            return Err(MaskError::TooMany { nnz, len });
        }
        Ok(Self { len, active: rng::choose(rng, len, nnz) })
    }

    /// The first mask of a layer: exactly its first number of non-zeros, drawn uniformly within its pattern.
    ///
    /// # Errors
    /// If there are more non-zeros than positions, or positions than 32-bit indices can name.
    pub fn first(layer: &LayerSpec, rng: &mut impl Rng) -> Result<Self, MaskError> {
        let (len, nnz) = (layer.len(), layer.nnz);
        fits_an_index(len)?;
        if nnz > len {
            return Err(MaskError::TooMany { nnz, len });
        }
        Ok(Self { len, active: layer.pattern.draw(layer, rng) })
    }

    /// Positions of the tensor.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The active positions, sorted and unique.
    pub fn active(&self) -> &[u32] {
        &self.active
    }

    /// Number of active positions.
    pub fn nnz(&self) -> usize {
        self.active.len()
    }

    /// Active positions over all positions; 0 for an empty tensor.
    pub fn density(&self) -> f64 {
        if self.len == 0 { 0.0 } else { self.nnz() as f64 / self.len as f64 }
    }

    /// Whether `position` is active.
    pub fn contains(&self, position: u32) -> bool {
        self.active.binary_search(&position).is_ok()
    }

    /// Intersection over union with another mask; 1 for two empty ones.
    pub fn iou(&self, other: &Mask) -> f64 {
        let common = intersection_len(&self.active, &other.active);
        let union = self.nnz() + other.nnz() - common;
        if union == 0 { 1.0 } else { common as f64 / union as f64 }
    }

    /// Takes other positions, which the caller knows to be sorted, unique and in range.
    pub(crate) fn exchange(&mut self, active: Vec<u32>) {
        self.active = active;
    }
}

fn fits_an_index(len: usize) -> Result<(), MaskError> {
    if u32::try_from(len).is_ok() { Ok(()) } else { Err(MaskError::TooLong { len }) }
}

/// First entry that is not above its predecessor or not below `len`.
pub(crate) fn first_disorder(positions: &[u32], len: usize) -> Option<usize> {
    (0..positions.len()).find(|&i| positions[i] as usize >= len || (i > 0 && positions[i - 1] >= positions[i]))
}

fn intersection_len(a: &[u32], b: &[u32]) -> usize {
    let mut b = b.iter().peekable();
    a.iter()
        .filter(|&x| {
            while b.next_if(|&y| y < x).is_some() {}
            b.peek() == Some(&x)
        })
        .count()
}

/// The entries of sorted `a` that are not in sorted `b`.
pub(crate) fn difference(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut b = b.iter().peekable();
    a.iter()
        .copied()
        .filter(|x| {
            while b.next_if(|&y| y < x).is_some() {}
            b.peek() != Some(&x)
        })
        .collect()
}

/// The entries of two sorted disjoint sets, sorted.
pub(crate) fn union(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let mut b = b.iter().copied().peekable();
    for &x in a {
        while let Some(y) = b.next_if(|&y| y < x) {
            out.push(y);
        }
        out.push(x);
    }
    out.extend(b);
    out
}

/// The positions below `len` that are not in sorted `active`.
pub(crate) fn complement(len: usize, active: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(len.saturating_sub(active.len()));
    let mut next = 0;
    for &position in active {
        out.extend(next..position);
        next = position + 1;
    }
    out.extend(next..len as u32);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Streams};

    #[test]
    fn a_random_mask_has_exactly_the_count_asked_for() {
        for (len, nnz) in [(1, 0), (1, 1), (10, 3), (1000, 20), (1000, 999), (1000, 1000)] {
            let mask = Mask::random(len, nnz, &mut Streams::new(3).stream(Purpose::Mask, 0, 0)).unwrap();
            assert_eq!(mask.nnz(), nnz);
            assert_eq!(Mask::new(len, mask.active().to_vec()).unwrap(), mask);
        }
    }

    #[test]
    fn a_disordered_or_foreign_position_is_refused() {
        assert_eq!(Mask::new(4, vec![0, 2, 2]), Err(MaskError::Order { at: 2, len: 4 }));
        assert_eq!(Mask::new(4, vec![4]), Err(MaskError::Order { at: 0, len: 4 }));
        assert_eq!(
            Mask::random(4, 5, &mut Streams::new(0).stream(Purpose::Mask, 0, 0)),
            Err(MaskError::TooMany { nnz: 5, len: 4 })
        );
        assert!(matches!(Mask::full(1 << 33), Err(MaskError::TooLong { .. })));
    }

    #[test]
    fn iou_of_a_mask_with_a_fifth_swapped_is_two_thirds() {
        let before = Mask::new(20, (0..10).collect()).unwrap();
        let after = Mask::new(20, (2..12).collect()).unwrap();
        assert!((before.iou(&after) - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(before.iou(&before), 1.0);
    }

    #[test]
    fn complement_and_difference_and_union_agree() {
        let active = [0, 3, 4, 7];
        let inactive = complement(9, &active);
        assert_eq!(inactive, [1, 2, 5, 6, 8]);
        assert_eq!(union(&active, &inactive), (0..9).collect::<Vec<_>>());
        assert_eq!(difference(&active, &[3, 5]), [0, 4, 7]);
    }
}
