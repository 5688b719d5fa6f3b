//! Dense training: every weight exists, nothing is ever decided. The baseline of every table.

use super::static_mask::Frozen;
use super::{AlgorithmError, Card};
use crate::start;
use crate::{Algorithm, Context};
use serde::{Deserialize, Serialize};

/// How it is listed.
pub const CARD: Card<Params> =
    Card { name: "dense", summary: "train every weight; the baseline", paper: "none", dense: true, start: start::allotted };

/// It has no options.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {}

/// Builds it.
///
/// # Errors
/// Never.
pub fn build(_params: Params, _context: &Context<'_>) -> Result<Box<dyn Algorithm>, AlgorithmError> {
    Ok(Box::new(Frozen { name: CARD.name }))
}
