//! Static sparse training: the random mask drawn at the start is kept to the end. The baseline that every dynamic
//! method must beat, and the cost that every mask overhead is measured against.
//!
//! This is not RigL's `static` optimiser, which re-initialises dropped connections in place.

use super::{AlgorithmError, Card};
use crate::{Algorithm, Change, Context, LayerView, Pattern, start};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> = Card {
    name: "static",
    summary: "keep the random first mask; the sparse baseline",
    paper: "none",
    dense: false,
    start: |params, layers| start::patterned(layers, params.pattern),
};

/// Options of static training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// What masks look like: `unstructured`, `fan-in`, N:M such as `2:4`, or blocks such as `4x1`. Default `unstructured`.
    pub pattern: Pattern,
}

/// Builds it.
///
/// # Errors
/// Never.
pub fn build(_params: Params, _context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    Ok(Box::new(Frozen { name: CARD.name }))
}

/// Never decides anything, under whatever name.
pub(super) struct Frozen {
    pub(super) name: &'static str,
}

impl Algorithm for Frozen {
    fn name(&self) -> &'static str {
        self.name
    }

    fn next_decision(&self, _step: u64) -> Option<u64> {
        None
    }

    fn update(&mut self, _step: u64, layers: &[LayerView<'_>]) -> Vec<Change> {
        vec![Change::default(); layers.len()]
    }
}
