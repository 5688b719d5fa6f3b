//! Work over units of the batch, on any number of threads, with the same bits.
//!
//! A unit's work and the slices it writes depend on its number alone, never on the thread that happens to run it.

use crate::layout::Lane;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A pool of worker threads with one scratch buffer each.
pub struct Workers {
    pool: Option<rayon::ThreadPool>,
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
            n => Some(rayon::ThreadPoolBuilder::new().num_threads(n).build().map_err(|e| e.to_string())?),
        };
        Ok(Workers { pool, scratch: vec![Vec::new(); threads] })
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
                scratch.resize(len, Lane::ZERO);
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
        let Some(pool) = &self.pool else {
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
        let (work, next, lanes, sums) = (&work, &next, &lanes, &sums);
        pool.scope(|scope| {
            for scratch in &mut self.scratch {
                scope.spawn(move |_| {
                    loop {
                        let unit = next.fetch_add(1, Ordering::Relaxed);
                        if unit >= units {
                            break;
                        }
                        // SAFETY: the counter hands every unit to exactly one worker, and the parts of two units
                        // do not overlap.
                        let lanes = lanes.each_ref().map(|shared| unsafe { shared.get(unit) });
                        // SAFETY: as above.
                        let sums = sums.each_ref().map(|shared| unsafe { shared.get(unit) });
                        work(unit, lanes, sums, scratch);
                    }
                });
            }
        });
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
