//! Time of decisions and of their parts, on one layer: `cargo bench -p bidst-topology --bench topology`.

mod common;

use bidst_topology::rng::{Purpose, Streams};
use bidst_topology::{Change, Mask, select};
use common::{Decision, LEN, NNZ, mask, numbers};
use divan::Bencher;

fn main() {
    divan::main();
}

/// Scores of all positions, from which as many as there are non-zeros are selected.
#[divan::bench]
fn select_largest(bencher: Bencher<'_, '_>) {
    let scores = numbers(LEN, 1);
    bencher.bench_local(|| select::largest(&scores, NNZ));
}

#[divan::bench]
fn exchange(bencher: Bencher<'_, '_>) {
    let [keep, grow] = [1, 2].map(|key| numbers(NNZ, key));
    bencher.bench_local(|| select::exchange(&keep, &grow, 3 * NNZ / 10, |grow, keep| grow > keep));
}

#[divan::bench]
fn random_mask(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| Mask::random(LEN, NNZ, &mut Streams::new(1).stream(Purpose::Mask, 0, 0)));
}

/// A third of the non-zeros replaced by random positions.
#[divan::bench]
fn apply_change(bencher: Bencher<'_, '_>) {
    let mask = mask();
    let mut rng = Streams::new(1).stream(Purpose::Grow, 0, 0);
    let grown = select::random_inactive(&mut rng, LEN, mask.active(), NNZ / 3);
    let dropped = mask.active().iter().copied().step_by(3).take(NNZ / 3).collect();
    let change = Change { dropped, grown, ..Change::default() };
    bencher.with_inputs(|| mask.clone()).bench_local_refs(|mask| change.apply_to(mask));
}

#[divan::bench(args = ["set", "rigl", "bidst"])]
fn decision(bencher: Bencher<'_, '_>, name: &str) {
    bencher.with_inputs(|| Decision::new(name)).bench_local_refs(|decision| decision.take());
}
