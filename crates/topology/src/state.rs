//! What an algorithm writes into a checkpoint.

use crate::mask::first_disorder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Named vectors of plain numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Vectors of 32-bit floats.
    pub f32s: BTreeMap<String, Vec<f32>>,
    /// Vectors of 32-bit indices.
    pub u32s: BTreeMap<String, Vec<u32>>,
    /// Vectors of 64-bit words: counters, bitsets, bit patterns of doubles.
    pub u64s: BTreeMap<String, Vec<u64>>,
}

/// Why a saved state cannot be taken over.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StateError {
    /// A vector is not there.
    #[error("the saved state has no vector `{name}`; it was written by another algorithm or other options")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A vector has the wrong length.
    #[error("the saved vector `{name}` has {found} entries instead of {expected}; it belongs to another network")]
    Length {
        /// Its name.
        name: String,
        /// Entries it should have.
        expected: usize,
        /// Entries it has.
        found: usize,
    },
    /// A vector holds something that cannot be.
    #[error("the saved vector `{name}` is damaged: {reason}")]
    Invalid {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl State {
    /// The floats called `name`.
    ///
    /// # Errors
    /// If there are none.
    pub fn floats(&self, name: &str) -> Result<&[f32], StateError> {
        find(&self.f32s, name)
    }

    /// The indices called `name`.
    ///
    /// # Errors
    /// If there are none.
    pub fn indices(&self, name: &str) -> Result<&[u32], StateError> {
        find(&self.u32s, name)
    }

    /// The indices called `name`, as positions in a layer of `len`.
    ///
    /// # Errors
    /// If there are none, or they are not sorted, unique and below `len`.
    pub fn positions(&self, name: &str, len: usize) -> Result<&[u32], StateError> {
        let positions = self.indices(name)?;
        match first_disorder(positions, len) {
            None => Ok(positions),
            Some(_) => {
                let reason = "positions must be sorted, unique and inside the layer";
                Err(StateError::Invalid { name: name.into(), reason })
            }
        }
    }

    /// The words called `name`.
    ///
    /// # Errors
    /// If there are none.
    pub fn words(&self, name: &str) -> Result<&[u64], StateError> {
        find(&self.u64s, name)
    }
}

fn find<'a, T>(map: &'a BTreeMap<String, Vec<T>>, name: &str) -> Result<&'a [T], StateError> {
    map.get(name).map(Vec::as_slice).ok_or_else(|| StateError::Missing { name: name.into() })
}

/// `values` if it has `expected` entries.
pub(crate) fn of_length<'a, T>(name: &str, values: &'a [T], expected: usize) -> Result<&'a [T], StateError> {
    if values.len() == expected {
        Ok(values)
    } else {
        Err(StateError::Length { name: name.into(), expected, found: values.len() })
    }
}
