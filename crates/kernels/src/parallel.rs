//! Work over units of the batch, on any number of threads, with the same bits.
//!
//! A unit's work and the slices it writes depend on its number alone, never on the thread that happens to run it.

use crate::layout::{Lane, lanes};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A pool of worker threads with one scratch buffer each.
pub struct Workers {
    team: Team,
    scratch: Vec<Vec<Lane>>,
}

impl Workers {
    /// `threads` workers (at least one); one worker is the calling thread.
    ///
    /// # Errors
    /// What the operating system said when the threads could not be started.
    pub fn new(threads: usize) -> Result<Workers, String> {
        let threads = threads.max(1);
        let pool = match threads {
            1 => None,
            n => Some(Arc::new(rayon::ThreadPoolBuilder::new().num_threads(n).build().map_err(|e| e.to_string())?)),
        };
        Ok(Workers { team: Team(pool), scratch: vec![Vec::new(); threads] })
    }

    /// The threads themselves.
    pub fn team(&self) -> Team {
        self.team.clone()
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// Bytes of all scratch buffers.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch.iter().map(|s| s.len() * size_of::<Lane>()).sum()
    }

    /// Makes every worker's scratch at least `len` lanes long.
    pub fn reserve(&mut self, len: usize) {
        for scratch in &mut self.scratch {
            if scratch.len() < len {
                *scratch = lanes(len);
            }
        }
    }

    /// Calls `work(unit, its parts of the slices, scratch)` for every unit.
    pub fn for_each<const N: usize, const M: usize>(
        &mut self,
        units: usize,
        mut lanes: [Chunks<'_, Lane>; N],
        mut sums: [Chunks<'_, f32>; M],
        work: impl Fn(usize, [&mut [Lane]; N], [&mut [f32]; M], &mut [Lane]) + Sync,
    ) {
        let Some(pool) = &self.team.0 else {
            for unit in 0..units {
                let lanes = lanes.each_mut().map(|chunks| chunks.get(unit));
                let sums = sums.each_mut().map(|chunks| chunks.get(unit));
                work(unit, lanes, sums, &mut self.scratch[0]);
            }
            return;
        };
        let next = AtomicUsize::new(0);
        let lanes = lanes.map(|chunks| Shared::new(chunks));
        let sums = sums.map(|chunks| Shared::new(chunks));
        let one_worker = |scratch: &mut Vec<Lane>| {
            loop {
                let unit = next.fetch_add(1, Ordering::Relaxed);
                if unit >= units {
                    break;
                }
                // SAFETY: the counter hands every unit to exactly one worker, and the parts of two units do not overlap.
                let lanes = lanes.each_ref().map(|shared| unsafe { shared.get(unit) });
                // SAFETY: as above.
                let sums = sums.each_ref().map(|shared| unsafe { shared.get(unit) });
                work(unit, lanes, sums, scratch);
            }
        };
        let scratch = &mut self.scratch;
        pool.install(|| on_all(scratch, &one_worker));
    }
}

/// The threads of [`Workers`].
#[derive(Clone)]
pub struct Team(Option<Arc<rayon::ThreadPool>>);

impl Team {
    /// Calls `work` on one of the threads; a single one is the calling thread.
    ///
    /// Many calls of [`Workers::for_each`] in a row are better made there: each of them would otherwise be handed over.
    /// What is handed over waits in a queue of rayon's, and that is the only memory allocated here: 1.5 KB for 63 calls.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

/// Calls `work` for each scratch buffer, on as many threads as there are idle ones. Joining needs no memory, unlike
/// spawning.
fn on_all(scratch: &mut [Vec<Lane>], work: &(impl Fn(&mut Vec<Lane>) + Sync)) {
    match scratch {
        [] => {}
        [scratch] => work(scratch),
        _ => {
            let (left, right) = scratch.split_at_mut(scratch.len() / 2);
            rayon::join(|| on_all(left, work), || on_all(right, work));
        }
    }
}

/// A slice cut into equal parts, one per unit.
pub struct Chunks<'a, T> {
    data: &'a mut [T],
    len: usize,
}

impl<'a, T> Chunks<'a, T> {
    /// Parts of `len` elements; the last ones may be shorter or empty.
    pub fn new(data: &'a mut [T], len: usize) -> Self {
        Chunks { data, len }
    }

    /// No data: every unit gets an empty slice.
    pub fn none() -> Self {
        Chunks { data: &mut [], len: 0 }
    }

    fn get(&mut self, unit: usize) -> &mut [T] {
        let (start, end) = bounds(self.data.len(), self.len, unit);
        &mut self.data[start..end]
    }
}

fn bounds(total: usize, len: usize, unit: usize) -> (usize, usize) {
    let start = (unit * len).min(total);
    (start, (start + len).min(total))
}

struct Shared<T> {
    data: *mut T,
    total: usize,
    len: usize,
}

// SAFETY: `get` is the only access, and its contract makes the parts disjoint.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn new(chunks: Chunks<'_, T>) -> Self {
        Shared { data: chunks.data.as_mut_ptr(), total: chunks.data.len(), len: chunks.len }
    }

    /// # Safety
    /// No two calls with the same `unit` have results alive at once, and the slice given to `new` outlives them.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, unit: usize) -> &mut [T] {
        let (start, end) = bounds(self.total, self.len, unit);
        // SAFETY: inside the slice, and disjoint from every other unit's part by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), end - start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_runs_once_and_writes_its_own_part_for_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let mut workers = Workers::new(threads).unwrap();
            workers.reserve(3);
            let mut out = vec![Lane::ZERO; 23];
            let mut sums = vec![0.0; 8];
            workers.for_each(
                8,
                [Chunks::new(&mut out, 3)],
                [Chunks::new(&mut sums, 1)],
                |unit, [out], [sum], scratch| {
                    assert_eq!(scratch.len(), 3);
                    out.fill(Lane([unit as f32; 16]));
                    sum[0] += unit as f32;
                },
            );
            assert_eq!(sums, (0..8).map(|u| u as f32).collect::<Vec<_>>());
            assert!(out.iter().enumerate().all(|(i, lane)| lane.0[0] == (i / 3) as f32), "{threads} threads");
        }
    }
}
