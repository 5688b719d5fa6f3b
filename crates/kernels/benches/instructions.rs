//! Instructions that the kernels execute, counted by Valgrind: the same on a busy machine as on a quiet one.
//!
//! `cargo bench -p bidst-kernels --features instructions --bench instructions` needs Valgrind and `gungraun-runner`.
//! Valgrind knows no AVX-512, so these are the AVX2 kernels.
// `gungraun` expands to public items.
#![allow(missing_docs)]

mod common;

use common::{Case, Work};
use gungraun::prelude::*;

const MIDDLE: Case = Case { layer: 1, per_mille: 100 };
const STRIDED: Case = Case { layer: 3, per_mille: 100 };
const LINEAR: Case = Case { layer: 4, per_mille: 100 };

fn forward_work(case: Case) -> (Work, bidst_kernels::ForwardPlan) {
    let work = Work::new(case);
    let plan = work.forward_plan();
    (work, plan)
}

fn backward_work(case: Case) -> (Work, bidst_kernels::BackwardPlan) {
    let work = Work::new(case);
    let plan = work.backward_plan();
    (work, plan)
}

#[library_benchmark(setup = forward_work)]
#[benches::layers(MIDDLE, STRIDED, LINEAR)]
fn forward((mut work, mut plan): (Work, bidst_kernels::ForwardPlan)) -> Work {
    work.forward(&mut plan);
    work
}

#[library_benchmark(setup = backward_work)]
#[benches::layers(MIDDLE, STRIDED, LINEAR)]
fn backward((mut work, mut plan): (Work, bidst_kernels::BackwardPlan)) -> Work {
    work.backward(&mut plan);
    work
}

#[library_benchmark(setup = Work::new)]
#[benches::layers(MIDDLE, STRIDED, LINEAR)]
fn rebuild_streams(work: Work) -> (Work, bidst_kernels::ForwardPlan, bidst_kernels::BackwardPlan) {
    let (forward, backward) = (work.forward_plan(), work.backward_plan());
    (work, forward, backward)
}

library_benchmark_group!(name = kernels, benchmarks = [forward, backward, rebuild_streams]);
main!(library_benchmark_groups = kernels);
