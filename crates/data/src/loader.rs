//! Batches in an order, and with an augmentation, that depend on (seed, epoch, index) only.

use crate::augment::Normalizer;
use crate::dataset::Stored;
use crate::random::permutation;
use crate::{Augment, DataError, Dataset, resize};
use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Batches that a worker has ready before it waits.
pub const AHEAD: usize = 2;

/// How a [`Loader`] goes through its data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Images in a batch; the last one of an epoch holds what is left.
    pub batch_size: usize,
    /// Decides order and augmentation.
    pub seed: u64,
    /// How images are varied.
    pub augment: Augment,
    /// Whether each epoch has an order of its own; otherwise that of the data set.
    pub shuffle: bool,
    /// Threads that prepare batches, each up to [`AHEAD`] of them; with 0 the calling thread does. The bits are the same.
    pub workers: usize,
}

/// Images ready for a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// `(pixel / 255 - mean) / std`, `[count, channels, height, width]`.
    pub images: Vec<f32>,
    /// One class per image.
    pub labels: Vec<u32>,
    /// Images in this batch.
    pub count: usize,
}

/// Turns a data set into epochs of [`Batch`]es.
pub struct Loader {
    preparer: Arc<Preparer>,
    batches: usize,
    workers: usize,
}

impl Loader {
    /// A loader over `dataset`.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if the fields of the data set disagree, [`DataError::EmptyBatch`] for a batch
    /// size of 0, [`DataError::CropTooLarge`] if the crop padding is not below the image's sides.
    pub fn new(dataset: Arc<Dataset>, options: LoaderOptions) -> Result<Loader, DataError> {
        dataset.check()?;
        let padding = options.augment.crop_padding;
        let (height, width) = (dataset.height, dataset.width);
        if options.batch_size == 0 {
            return Err(DataError::EmptyBatch);
        }
        if padding >= height.min(width) && padding > 0 {
            return Err(DataError::CropTooLarge { padding, height, width });
        }
        let batches = dataset.len().div_ceil(options.batch_size);
        let normalizer = Normalizer::new(&dataset);
        let spares = Mutex::new(Vec::new());
        let preparer = Arc::new(Preparer { dataset, options, normalizer, spares });
        Ok(Loader { preparer, batches, workers: options.workers.min(batches) })
    }

    /// The data set that is loaded.
    pub fn dataset(&self) -> &Dataset {
        &self.preparer.dataset
    }

    /// Batches in each epoch, the last and perhaps smaller one included.
    pub fn batches_per_epoch(&self) -> usize {
        self.batches
    }

    /// The batches of `epoch` from number `first_batch` on: exactly those an iterator from 0 gives after
    /// `first_batch` steps. Dropping it early stops and joins its workers.
    pub fn epoch(&self, epoch: u64, first_batch: usize) -> Batches {
        let options = &self.preparer.options;
        let order = match options.shuffle {
            true => permutation(self.preparer.dataset.len(), options.seed, epoch),
            false => (0..self.preparer.dataset.len() as u32).collect(),
        };
        let plan = Plan { preparer: self.preparer.clone(), order: order.into(), epoch };
        let next = first_batch.min(self.batches);
        let numbers = |worker: usize| (next + worker..self.batches).step_by(self.workers);
        let workers = (0..self.workers).map(|worker| Worker::start(plan.clone(), numbers(worker)));
        // If the system has no threads to give, the caller prepares the batches itself.
        let workers = workers.collect::<Option<_>>().unwrap_or_default();
        Batches { plan, next, end: self.batches, workers }
    }

    /// Gives the memory of a used batch back, for a batch to come. Optional; it saves the system from mapping new
    /// pages for each batch.
    pub fn recycle(&self, batch: Batch) {
        if let Ok(mut spares) = self.preparer.spares.lock()
            && spares.len() <= AHEAD * self.workers
        {
            spares.push(batch);
        }
    }
}

/// What does not change between epochs.
struct Preparer {
    dataset: Arc<Dataset>,
    options: LoaderOptions,
    normalizer: Normalizer,
    spares: Mutex<Vec<Batch>>,
}

impl Preparer {
    fn prepare(&self, indices: &[u32], epoch: u64) -> Result<Batch, DataError> {
        let spare = self.spares.lock().ok().and_then(|mut spares| spares.pop());
        let mut batch = spare.unwrap_or_default();
        let length = self.dataset.image_len();
        batch.count = indices.len();
        batch.images.resize(indices.len() * length, 0.0);
        batch.labels.clear();
        let (mut file, mut shown) = (Vec::new(), Vec::new());
        for (&index, out) in indices.iter().zip(batch.images.chunks_exact_mut(length)) {
            let stored = self.dataset.stored(index as usize, &mut file)?;
            let view = self.options.augment.draw(self.options.seed, epoch, index);
            let pixels = self.show(&stored, epoch, index, &mut shown)?;
            self.normalizer.write(pixels, view, out);
            batch.labels.push(u32::from(self.dataset.labels[index as usize]));
        }
        Ok(batch)
    }

    /// The image in the size of the data set: a resized part of it, or its centre.
    fn show<'a>(
        &self,
        stored: &Stored<'a>,
        epoch: u64,
        index: u32,
        shown: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], DataError> {
        let Dataset { height, width, .. } = *self.dataset;
        let LoaderOptions { augment, seed, .. } = self.options;
        let region = augment.region(seed, epoch, index, stored.height, stored.width);
        if region.is_none() && (stored.height, stored.width) == (height, width) {
            return Ok(stored.pixels);
        }
        shown.resize(self.dataset.image_len(), 0);
        match region {
            None => resize::centre(stored, height, width, shown),
            Some(region) if resize::region(stored, region, height, width, shown) => {}
            Some(region) => {
                let reason = format!("image {index} has no part {region:?}");
                return Err(DataError::Inconsistent { dataset: self.dataset.name.clone(), reason });
            }
        }
        Ok(shown)
    }
}

/// One epoch: which images in which order.
#[derive(Clone)]
struct Plan {
    preparer: Arc<Preparer>,
    order: Arc<[u32]>,
    epoch: u64,
}

impl Plan {
    fn batch(&self, number: usize) -> Result<Batch, DataError> {
        let size = self.preparer.options.batch_size;
        let start = number * size;
        let end = self.order.len().min(start.saturating_add(size));
        self.preparer.prepare(&self.order[start..end], self.epoch)
    }
}

/// A thread that prepares batches ahead, and the bounded channel it sends them through.
struct Worker {
    batches: Receiver<Result<Batch, DataError>>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// `None` if the system has no thread to give.
    fn start(plan: Plan, mut numbers: impl Iterator<Item = usize> + Send + 'static) -> Option<Worker> {
        // One more batch waits in the sending thread itself.
        let (sender, batches) = sync_channel(AHEAD - 1);
        let prepare = move || {
            numbers.try_for_each(|number| {
                let batch = plan.batch(number);
                let failed = batch.is_err();
                (sender.send(batch).is_ok() && !failed).then_some(())
            });
        };
        let thread = thread::Builder::new().name("bidst-loader".into()).spawn(prepare).ok()?;
        Some(Worker { batches, thread })
    }

    /// Lets the thread end, waits for it, and passes a panic in it on.
    fn join(self) {
        drop(self.batches);
        if let Err(panic) = self.thread.join()
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

/// The rest of one epoch; see [`Loader::epoch`]. An error – of a file, never of images in memory – ends it.
pub struct Batches {
    plan: Plan,
    next: usize,
    end: usize,
    /// Whose turn it is comes first.
    workers: VecDeque<Worker>,
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        let Some(worker) = self.workers.front() else {
            let batch = self.plan.batch(self.next);
            self.next = if batch.is_err() { self.end } else { self.next + 1 };
            return Some(batch);
        };
        let received = worker.batches.recv();
        self.next = if matches!(received, Ok(Ok(_))) { self.next + 1 } else { self.end };
        if received.is_err()
            && let Some(worker) = self.workers.pop_front()
        {
            worker.join();
        }
        self.workers.rotate_left(usize::from(!self.workers.is_empty()));
        received.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl ExactSizeIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        self.workers.drain(..).for_each(Worker::join);
    }
}
