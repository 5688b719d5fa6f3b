//! The panels of one run, in three columns: how it learned and what it cost; how its mask moved; what its layers are.

mod cost;
mod layers;
mod learning;
mod mask;
mod tiles;

use super::records::Records;
use super::svg::Canvas;

pub use tiles::{Tile, tiles};

/// A drawing and what it is called.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Its title.
    pub title: String,
    /// The drawing.
    pub canvas: Canvas,
}

impl Panel {
    /// A panel called `title`.
    pub fn new(title: &str, canvas: Canvas) -> Panel {
        Panel { title: title.to_owned(), canvas }
    }
}

/// The columns of the report of `run`, beside its twin if it has one.
pub fn columns(run: &Records, twin: Option<&Records>) -> Vec<Vec<Panel>> {
    vec![
        vec![learning::accuracy(run, twin), learning::loss(run, twin), cost::step(run, twin), cost::bytes(run)],
        vec![mask::overlap(run), mask::swaps(run), mask::shares(run)],
        vec![layers::density(run), layers::kernels(run)],
    ]
}

/// `static twin`, as legends call it.
fn twin_name(twin: &Records) -> String {
    twin.config.as_ref().map_or_else(|| "baseline".to_owned(), |config| config.algorithm.name.clone())
}
