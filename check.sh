#!/usr/bin/env bash
# Everything that has to hold, in order of cost.
#   ./check.sh        format, lints, tests, documentation, the demo
#   ./check.sh long   the heavy suites, for a release: more random cases (minutes to hours)
#   ./check.sh peers  every algorithm on the small network, beside RigL, with a table (minutes)
#   ./check.sh bench  the micro-benchmarks: times, the guard's share of a step, and instruction counts where Valgrind is
#   ./check.sh cross  checks the build for aarch64, whose kernels are NEON; needs rustup
set -euo pipefail
cd "$(dirname "$0")"

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

if [ "${1:-}" = long ]; then
    step env BIDST_LONG=1 cargo test --release --workspace
    exit
fi

if [ "${1:-}" = cross ]; then
    step rustup target add aarch64-unknown-linux-gnu
    step cargo check --workspace --target aarch64-unknown-linux-gnu
    exit
fi

if [ "${1:-}" = peers ]; then
    step cargo test --release -p bidst --test peers -- --ignored --nocapture
    exit
fi

if [ "${1:-}" = bench ]; then
    step cargo bench -p bidst-kernels -p bidst-topology --bench kernels --bench topology
    step cargo test -p bidst-train --lib -- --ignored --nocapture the_guard_takes
    if command -v valgrind >/dev/null && command -v "${GUNGRAUN_RUNNER:-gungraun-runner}" >/dev/null; then
        step cargo bench -p bidst-kernels -p bidst-topology --features instructions --bench instructions
    else
        echo "== no instruction counts: they need Valgrind and \`cargo install gungraun-runner --version 0.20.0\`"
    fi
    exit
fi

step cargo fmt --all --check
step cargo clippy --workspace --all-targets -- -D warnings
step cargo test
step env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
step cargo run --release -- --output "$runs"
