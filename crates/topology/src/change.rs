//! What a decision does to one layer, and the check every decision passes through.

use crate::Mask;
use crate::bits::BitSet;
use crate::mask::difference;

/// The net effect of one decision on one layer. All index vectors are sorted and unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Active positions that cease to exist; their value and momentum are discarded.
    pub dropped: Vec<u32>,
    /// Inactive positions that come into existence with zero momentum.
    pub grown: Vec<u32>,
    /// First values of the grown positions, aligned with `grown`; empty means all zero.
    pub grown_values: Vec<f32>,
    /// Positions dropped and regrown in this decision whose value and momentum start again at 0. A position that is
    /// dropped, regrown and keeps its value is simply not listed anywhere.
    pub reset: Vec<u32>,
}

/// Why a change does not fit its layer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChangeError {
    /// An index vector is not sorted, repeats a position or leaves the layer.
    #[error("`{list}` must be sorted, unique and below {len}; it fails at entry {at}")]
    Order {
        /// Which of the vectors.
        list: &'static str,
        /// First offending entry.
        at: usize,
        /// Positions in the layer.
        len: usize,
    },
    /// A dropped or reset position is not active.
    #[error("`{list}` names position {position}, which is not active")]
    NotActive {
        /// Which of the vectors.
        list: &'static str,
        /// The position.
        position: u32,
    },
    /// A grown position is active already.
    #[error("`grown` names position {position}, which is active already")]
    AlreadyActive {
        /// The position.
        position: u32,
    },
    /// A position is both dropped and reset.
    #[error("position {position} is in both `dropped` and `reset`")]
    DroppedAndReset {
        /// The position.
        position: u32,
    },
    /// The values do not fit the grown positions.
    #[error("{values} first values for {grown} grown positions; give one each, or none for zeros")]
    Values {
        /// Values given.
        values: usize,
        /// Positions grown.
        grown: usize,
    },
}

impl Change {
    /// The net change of first dropping, then growing: a position in both sorted lists stays as it is.
    pub fn net(dropped: &[u32], grown: &[u32]) -> Self {
        Self { dropped: difference(dropped, grown), grown: difference(grown, dropped), ..Self::default() }
    }

    /// Whether nothing happens.
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.grown.is_empty() && self.reset.is_empty()
    }

    /// Checks the laws of a change against a layer of `len` positions with the sorted `active` set:
    /// dropped ⊂ active, grown ∩ active = ∅ (hence the two are disjoint), reset ⊂ active \ dropped.
    ///
    /// # Errors
    /// The first law broken.
    pub fn check(&self, len: usize, active: &[u32]) -> Result<(), ChangeError> {
        in_order("dropped", &self.dropped, len)?;
        in_order("grown", &self.grown, len)?;
        in_order("reset", &self.reset, len)?;
        let (is_active, is_dropped) = (BitSet::of(len, active), BitSet::of(len, &self.dropped));
        for (list, positions) in [("dropped", &self.dropped), ("reset", &self.reset)] {
            if let Some(&position) = positions.iter().find(|&&p| !is_active.contains(p)) {
                return Err(ChangeError::NotActive { list, position });
            }
        }
        if let Some(&position) = self.grown.iter().find(|&&p| is_active.contains(p)) {
            return Err(ChangeError::AlreadyActive { position });
        }
        if let Some(&position) = self.reset.iter().find(|&&p| is_dropped.contains(p)) {
            return Err(ChangeError::DroppedAndReset { position });
        }
        if !self.grown_values.is_empty() && self.grown_values.len() != self.grown.len() {
            return Err(ChangeError::Values { values: self.grown_values.len(), grown: self.grown.len() });
        }
        Ok(())
    }

    /// Applies the change to a mask.
    ///
    /// # Errors
    /// If [`check`](Self::check) fails; the mask is then unchanged.
    pub fn apply_to(&self, mask: &mut Mask) -> Result<(), ChangeError> {
        self.check(mask.len(), mask.active())?;
        mask.exchange(self.applied_to(mask.active()));
        Ok(())
    }

    /// The active positions after this (checked) change of the sorted set `active`.
    pub fn applied_to(&self, active: &[u32]) -> Vec<u32> {
        let len = active.last().max(self.grown.last()).map_or(0, |&last| last as usize + 1);
        let mut after = BitSet::of(len, active);
        self.dropped.iter().for_each(|&position| after.remove(position));
        after.extend(&self.grown);
        after.to_sorted()
    }
}

fn in_order(list: &'static str, positions: &[u32], len: usize) -> Result<(), ChangeError> {
    match crate::mask::first_disorder(positions, len) {
        Some(at) => Err(ChangeError::Order { list, at, len }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(dropped: &[u32], grown: &[u32]) -> Change {
        Change { dropped: dropped.to_vec(), grown: grown.to_vec(), ..Change::default() }
    }

    #[test]
    fn applying_a_change_replaces_the_dropped_by_the_grown() {
        let mut mask = Mask::new(8, vec![1, 3, 5]).unwrap();
        change(&[1, 5], &[0, 4]).apply_to(&mut mask).unwrap();
        assert_eq!(mask.active(), [0, 3, 4]);
    }

    #[test]
    fn a_change_that_breaks_a_law_is_refused_and_the_mask_is_untouched() {
        let active = [1, 3, 5];
        let mut mask = Mask::new(8, active.to_vec()).unwrap();
        let broken = [
            (change(&[2], &[0]), ChangeError::NotActive { list: "dropped", position: 2 }),
            (change(&[1], &[3]), ChangeError::AlreadyActive { position: 3 }),
            (change(&[1], &[8]), ChangeError::Order { list: "grown", at: 0, len: 8 }),
            (change(&[3, 1], &[]), ChangeError::Order { list: "dropped", at: 1, len: 8 }),
            (change(&[], &[2, 2]), ChangeError::Order { list: "grown", at: 1, len: 8 }),
            (Change { reset: vec![1], ..change(&[1], &[]) }, ChangeError::DroppedAndReset { position: 1 }),
            (Change { reset: vec![0], ..change(&[], &[]) }, ChangeError::NotActive { list: "reset", position: 0 }),
            (Change { grown_values: vec![1.0; 2], ..change(&[1], &[0]) }, ChangeError::Values { values: 2, grown: 1 }),
        ];
        for (change, error) in broken {
            assert_eq!(change.apply_to(&mut mask), Err(error));
            assert_eq!(mask.active(), active);
        }
    }
}
