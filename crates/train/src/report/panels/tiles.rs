//! The figures at the top.

use super::super::records::Records;
use super::super::scale::{bytes, percent, seconds};
use super::twin_name;
use crate::run_dir::Status;

/// A figure with what it is and what to compare it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// What it is.
    pub name: String,
    /// The figure.
    pub figure: String,
    /// What to compare it with.
    pub note: String,
}

fn tile(name: &str, figure: String, note: String) -> Tile {
    Tile { name: name.to_owned(), figure, note }
}

/// The figures of a run that are known.
pub fn tiles(run: &Records, twin: Option<&Records>) -> Vec<Tile> {
    let found = [accuracy(run), gap(run, twin), sparsity(run), model(run), flops(run), time(run), status(run)];
    found.into_iter().flatten().collect()
}

fn accuracy(run: &Records) -> Option<Tile> {
    let last = run.last()?;
    let best = last.run.best_test_accuracy.zip(last.run.best_epoch);
    let note = best.map(|(best, epoch)| format!("best {} in epoch {}", percent(best), epoch.saturating_add(1)));
    Some(tile("Test accuracy", percent(last.test_accuracy?), note.unwrap_or_default()))
}

fn gap(run: &Records, twin: Option<&Records>) -> Option<Tile> {
    let twin = twin?;
    let (own, other) = (run.last()?.test_accuracy?, twin.last()?.test_accuracy?);
    let note = format!("{:+.2} points for this run", 100.0 * (own - other));
    Some(tile(&format!("The same, {}", twin_name(twin)), percent(other), note))
}

fn sparsity(run: &Records) -> Option<Tile> {
    let Some(totals) = run.outcome.as_ref().map(|outcome| outcome.weights) else {
        let density = run.last()?.density.filter(|density| *density > 0.0)?;
        return Some(tile("Sparsity", percent(1.0 - density), "of the sparsified layers".to_owned()));
    };
    Some(tile("Sparsity", percent(totals.sparsified()), format!("{} of all weights", percent(totals.overall()))))
}

fn model(run: &Records) -> Option<Tile> {
    let size = run.outcome.as_ref()?.model_bytes as f64;
    let dense =
        run.inventory.as_ref().map(|inventory| format!("{} if dense", bytes(inventory.dense_bytes.weights as f64)));
    Some(tile("Model file", bytes(size), dense.unwrap_or_default()))
}

fn flops(run: &Records) -> Option<Tile> {
    let totals = &run.last()?.run;
    let (own, dense) = (totals.flops.training?, totals.dense_flops.filter(|dense| *dense > 0.0)?);
    let note = format!("{:.2} TFLOPs in all", own / 1e12);
    Some(tile("Training FLOPs", format!("{:.3} × dense", own / dense), note))
}

fn time(run: &Records) -> Option<Tile> {
    let last = run.last()?;
    let note = run.manifest.as_ref().map(|manifest| {
        let threads =
            if manifest.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", manifest.threads) };
        format!("{threads}, {}", manifest.instruction_set)
    });
    Some(tile("Training time", seconds(last.timing.run_train_s?), note.unwrap_or_default()))
}

/// Only if the run is not simply done.
fn status(run: &Records) -> Option<Tile> {
    let manifest = run.manifest.as_ref()?;
    let (figure, note) = match manifest.status {
        Status::Finished => return None,
        Status::Running => ("running", "or killed without a word"),
        Status::Stopped => ("stopped", "it can be resumed"),
        Status::Diverged => ("diverged", "see above"),
        Status::Failed => ("failed", "see above"),
    };
    let epochs = run.config.as_ref().map(|config| format!(" of {}", config.train.epochs)).unwrap_or_default();
    Some(tile(&format!("After {}{epochs} epochs", run.epochs.len()), figure.to_owned(), note.to_owned()))
}
