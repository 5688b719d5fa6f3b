//! Time of the kernels, one unit of images each: `cargo bench -p bidst-kernels --bench kernels`.
//!
//! Items are floating-point operations on non-zeros, so a throughput in Gitem/s is in GFLOP/s.

mod common;

use bidst_kernels::DenseBackwardPlan;
use common::{Case, Work, cases};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

/// A layer of every kind, at 90% zeros.
fn layers() -> impl Iterator<Item = Case> {
    cases().filter(|case| case.per_mille == 100)
}

#[divan::bench(args = cases())]
fn forward(bencher: Bencher<'_, '_>, case: &Case) {
    let mut work = Work::new(*case);
    let mut plan = work.forward_plan();
    bencher.counter(ItemsCount::new(work.forward_flops())).bench_local(|| work.forward(&mut plan));
}

#[divan::bench(args = cases())]
fn backward(bencher: Bencher<'_, '_>, case: &Case) {
    let mut work = Work::new(*case);
    let mut plan = work.backward_plan();
    bencher.counter(ItemsCount::new(2 * work.forward_flops())).bench_local(|| work.backward(&mut plan));
}

#[divan::bench(args = layers())]
fn dense_gradient(bencher: Bencher<'_, '_>, case: &Case) {
    let mut work = Work::new(*case);
    let plan = DenseBackwardPlan::new(work.shape, work.unit);
    let flops = work.forward_flops() / work.active.len() * work.shape.weight_len();
    bencher.counter(ItemsCount::new(flops)).bench_local(|| work.dense_gradient(&plan));
}

#[divan::bench(args = cases())]
fn rebuild_streams(bencher: Bencher<'_, '_>, case: &Case) {
    let work = Work::new(*case);
    let bencher = bencher.counter(ItemsCount::new(work.active.len()));
    bencher.bench_local(|| (work.forward_plan(), work.backward_plan()));
}

#[divan::bench(args = layers())]
fn mix(bencher: Bencher<'_, '_>, case: &Case) {
    let mut work = Work::new(*case);
    let bytes = 2 * work.shape.input.len() * work.unit * 64;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| work.mix());
}

#[divan::bench(args = layers())]
fn moments(bencher: Bencher<'_, '_>, case: &Case) {
    let mut work = Work::new(*case);
    let bytes = work.shape.input.len() * 64;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| work.moments());
}
