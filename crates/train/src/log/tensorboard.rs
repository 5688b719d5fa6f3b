//! The event files of a run, in its folder `tb/`: point TensorBoard at the run folder, or at the folder of many runs.
//!
//! Steps are numbered from 0; what an epoch comes to stands at its last step. Every start of the run writes a file of its
//! own. Before a resumed run goes on, what earlier files hold from its step on is cut off, so that no reader sees a step
//! twice; and the new file begins with a `START`, by which a TensorBoard that is running forgets it too.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::events::{self, Event, What};
use crate::appender::Appender;
use crate::error::TrainError;
use crate::metrics::{DecisionRecord, EpochRecord, StepRecord};
use crate::trainer;

/// Tag of what every decision that is written has.
const IOU: &str = "mask/iou";
/// Files of one run beyond which none is added.
const MAX_FILES: usize = 100_000;

/// An open event file.
#[derive(Debug)]
pub struct TensorBoard {
    file: Appender,
    /// Steps and decisions are written every this many steps.
    interval: u64,
    /// Step of the last decision that was written.
    decided: Option<u64>,
}

impl TensorBoard {
    /// Opens a new file in the folder `tb` of the run folder `run`, which has done `steps` steps. What earlier files hold from
    /// there on is cut off.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn open(run: &Path, steps: u64, interval: u64) -> Result<TensorBoard, TrainError> {
        let folder = run.join("tb");
        fs::create_dir_all(&folder).map_err(TrainError::io("create", &folder))?;
        let mut decided = None;
        for path in files(&folder)? {
            decided = cut(&path, steps)?.or(decided);
        }
        let (path, file) = new_file(&folder)?;
        let mut log = TensorBoard { file: Appender::new(path, file), interval: interval.max(1), decided };
        log.write(0, What::Version)?;
        log.write(steps, What::Start)?;
        Ok(log)
    }

    /// Writes what an event of the training comes to.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn on(&mut self, event: trainer::Event<'_>) -> Result<(), TrainError> {
        match event {
            trainer::Event::Step { record, .. } if record.step % self.interval == 0 => self.step(record),
            trainer::Event::Step { .. } | trainer::Event::Spike { .. } | trainer::Event::Note { .. } => Ok(()),
            trainer::Event::Decision { records, .. } => self.decision(records),
            trainer::Event::Epoch { record } => self.epoch(record),
        }
    }

    fn step(&mut self, record: &StepRecord) -> Result<(), TrainError> {
        let images_per_s = record.images as f64 / record.timing.total_s.max(1e-9);
        self.scalars(
            record.step,
            [
                ("step/loss", record.loss),
                ("step/accuracy", record.accuracy),
                ("step/learning_rate", record.learning_rate),
                ("step/images_per_s", images_per_s),
                ("step/ms", 1e3 * record.timing.total_s),
            ],
        )
    }

    fn decision(&mut self, records: &[DecisionRecord]) -> Result<(), TrainError> {
        let Some(step) = records.first().map(|record| record.step) else { return Ok(()) };
        if self.decided.is_some_and(|decided| step < decided + self.interval) {
            return Ok(());
        }
        self.decided = Some(step);
        let sum = |value: fn(&DecisionRecord) -> u64| records.iter().map(value).sum::<u64>() as f64;
        let kept = sum(|record| (record.nnz as u64).saturating_sub(record.grown));
        let (dropped, grown) = (sum(|record| record.dropped), sum(|record| record.grown));
        let union = sum(|record| record.nnz as u64) + dropped;
        let iou = if union > 0.0 { kept / union } else { 1.0 };
        let layers = records.iter().map(|record| (format!("density/{}", record.layer), record.density as f32));
        let whole = [(IOU, iou), ("mask/grown", grown), ("mask/dropped", dropped)];
        let whole = whole.into_iter().map(|(tag, value)| (tag.to_owned(), value as f32));
        self.write(step, What::Scalars(whole.chain(layers).collect()))
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<(), TrainError> {
        let at = record.steps.saturating_sub(1);
        let pattern = &record.pattern;
        self.scalars(
            at,
            [
                ("epoch/train_loss", record.train_loss),
                ("epoch/train_accuracy", record.train_accuracy),
                ("epoch/test_loss", record.test_loss),
                ("epoch/test_accuracy", record.test_accuracy),
                ("epoch/images_per_s", record.timing.images_per_s),
                ("mask/density", pattern.density),
                ("mask/itop", pattern.itop),
                ("mask/inspected", pattern.inspected),
            ],
        )
    }

    fn scalars<const N: usize>(&mut self, step: u64, values: [(&str, f64); N]) -> Result<(), TrainError> {
        let values = values.into_iter().map(|(tag, value)| (tag.to_owned(), value as f32));
        self.write(step, What::Scalars(values.collect()))
    }

    fn write(&mut self, step: u64, what: What) -> Result<(), TrainError> {
        self.file.append(&Event { wall_time: now(), step, what }.record())
    }

    /// Writes what could not be written yet.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn flush(&mut self) -> Result<(), TrainError> {
        self.file.flush()
    }

    /// Bytes that could not be written yet. They are tried again with the next event.
    pub fn waiting(&self) -> usize {
        self.file.waiting()
    }
}

/// Cuts a file off before the first event of a step that is still to be done, or that is not whole, and removes it if nothing
/// remains; returns the step of the last
/// decision that stays.
fn cut(path: &Path, steps: u64) -> Result<Option<u64>, TrainError> {
    let bytes = fs::read(path).map_err(TrainError::io("read", path))?;
    let mut kept = events::read(&bytes);
    let is_done = |event: &Event| event.step < steps || event.what == What::Version;
    kept.truncate(kept.iter().take_while(|(event, _)| is_done(event)).count());
    let says_something = kept.iter().any(|(event, _)| matches!(event.what, What::Scalars(_)));
    let Some(&(_, length)) = kept.last().filter(|_| says_something) else {
        fs::remove_file(path).map_err(TrainError::io("remove", path))?;
        return Ok(None);
    };
    let cut = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(length as u64));
    cut.map_err(TrainError::io("write", path))?;
    let decides =
        |event: &Event| matches!(&event.what, What::Scalars(values) if values.iter().any(|(tag, _)| tag == IOU));
    Ok(kept.iter().rev().find(|(event, _)| decides(event)).map(|(event, _)| event.step))
}

/// Event files in a folder, oldest first.
fn files(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(TrainError::io("read", folder))? {
        let path = entry.map_err(TrainError::io("read", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("events.out.tfevents.") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// A file whose name sorts after those that are there: TensorBoard reads them in the order of their names.
fn new_file(folder: &Path) -> Result<(PathBuf, File), TrainError> {
    let files = files(folder)?;
    let earlier = files.len();
    // A clock may have been set back since.
    let seconds = (now() as u64).max(files.iter().rev().find_map(|path| seconds_in(path)).unwrap_or_default());
    let mut attempt = earlier;
    loop {
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.bidst.{attempt:05}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && attempt < earlier + MAX_FILES => {
                attempt += 1
            }
            Err(source) => return Err(TrainError::io("create", &path)(source)),
        }
    }
}

/// When a file was begun, as its name says.
fn seconds_in(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("events.out.tfevents.")?.split('.').next()?.parse().ok()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |passed| passed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that goes by names met the older file last.
    #[test]
    fn a_file_begun_after_the_clock_was_set_back_still_sorts_last() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("events.out.tfevents.9999999999.bidst.00000"), "").unwrap();
        let (path, _) = new_file(folder.path()).unwrap();
        assert_eq!(path.file_name().unwrap(), "events.out.tfevents.9999999999.bidst.00001");
    }
}
