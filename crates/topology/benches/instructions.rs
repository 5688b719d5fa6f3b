//! Instructions that a decision executes, counted by Valgrind: the same on a busy machine as on a quiet one.
//!
//! `cargo bench -p bidst-topology --features instructions --bench instructions` needs Valgrind and `gungraun-runner`.
// `gungraun` expands to public items.
#![allow(missing_docs)]

mod common;

use bidst_topology::Change;
use common::{Decision, LEN, NNZ, numbers};
use gungraun::prelude::*;

#[library_benchmark(setup = Decision::new)]
#[benches::algorithms("set", "rigl", "bidst")]
fn decision(mut decision: Decision) -> (Decision, Vec<Change>) {
    let changes = decision.take();
    (decision, changes)
}

#[library_benchmark(setup = numbers)]
#[bench::all(LEN, 1)]
fn select_largest(scores: Vec<f32>) -> (Vec<f32>, Vec<u32>) {
    let best = bidst_topology::select::largest(&scores, NNZ);
    (scores, best)
}

library_benchmark_group!(name = topology, benchmarks = [decision, select_largest]);
main!(library_benchmark_groups = topology);
