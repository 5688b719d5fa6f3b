//! Dense training: every weight exists, nothing is ever decided. The baseline of every table.

use super::{AlgorithmError, Card};
use crate::{Algorithm, Change, Context, LayerView};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card =
    Card { name: "dense", summary: "train every weight; the baseline", paper: "none", dense: true };

/// It has no options.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {}

/// Builds it.
///
/// # Errors
/// Never.
pub fn build(_params: Params, _context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    Ok(Box::new(Dense))
}

struct Dense;

impl Algorithm for Dense {
    fn name(&self) -> &'static str {
        CARD.name
    }

    fn next_decision(&self, _step: u64) -> Option<u64> {
        None
    }

    fn update(&mut self, _step: u64, layers: &[LayerView<'_>]) -> Vec<Change> {
        vec![Change::default(); layers.len()]
    }
}
