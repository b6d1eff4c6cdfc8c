#!/bin/bash
# `make guard': count the instructions of the hot paths and compare them with guard.tsv (see guard.py).
# Built as the tests are: what makes another program elsewhere, more or other checks, would count, too.
set -eu
cd "$(dirname "$0")/../.."
unset RUSTFLAGS "${!CARGO_PROFILE_TEST_@}" "${!CARGO_PROFILE_DEV_@}"
program=$(test/bench/measure.sh test)
rustc=$({ rustc --version || "$HOME/.cargo/bin/rustc" --version; } 2>/dev/null | cut -d ' ' -f 2)
export PYTHONDONTWRITEBYTECODE=1
exec python3 test/bench/guard.py "$program" "$rustc"
