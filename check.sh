#!/usr/bin/env bash
# Everything that has to hold, in order of cost.
#   ./check.sh        format, lints, tests, documentation, the demo
#   ./check.sh long   the heavy suites, for a release: more random cases (minutes to hours)
#   ./check.sh peers  every algorithm on the small network, beside RigL, with a table (minutes)
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

if [ "${1:-}" = peers ]; then
    step cargo test --release -p bidst --test peers -- --ignored --nocapture
    exit
fi

step cargo fmt --all --check
step cargo clippy --workspace --all-targets -- -D warnings
step cargo test
step env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
step cargo run --release -- --output "$runs"
