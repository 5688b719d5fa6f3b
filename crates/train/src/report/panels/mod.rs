//! The panels of one run, in three columns: how it learned and where its time went; how its mask moved; what its
//! layers are. The panel of its memory stands where there is most room.

mod cost;
mod layers;
mod learning;
mod mask;
mod tiles;

use super::chart::GAP;
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
    let mut columns = vec![
        vec![learning::accuracy(run, twin), learning::loss(run, twin), cost::step(run, twin)],
        vec![mask::overlap(run), mask::swaps(run), mask::shares(run)],
        vec![layers::density(run), layers::kernels(run)],
    ];
    let height = |column: &Vec<Panel>| column.iter().map(|panel| panel.canvas.height() + GAP).sum::<f64>();
    if let Some(shortest) = columns.iter_mut().min_by(|a, b| height(a).total_cmp(&height(b))) {
        shortest.push(cost::bytes(run));
    }
    columns
}

/// What legends call the twin.
fn twin_name(twin: &Records) -> String {
    twin.config.as_ref().map_or_else(|| "baseline".to_owned(), |config| config.algorithm.name.clone())
}
