#!/bin/sh
# Is there a Rust toolchain that is new enough?  If not, say how to get one and fail.
set -eu
cargo=${CARGO:-cargo}
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
found=$("${RUSTC:-rustc}" --version 2>/dev/null | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p') || found=
wanted_minor=${wanted#*.}
found_minor=${found#*.}
if [ -n "$found" ] && command -v "$cargo" >/dev/null &&
    { [ "${found%%.*}" -gt "${wanted%%.*}" ] ||
        { [ "${found%%.*}" -eq "${wanted%%.*}" ] && [ "$found_minor" -ge "${wanted_minor%%.*}" ]; }; }; then
    exit 0
fi
if [ -n "$found" ]; then
    echo "This rustc is $found; mailsync's module needs $wanted or later." >&2
else
    echo "No Rust toolchain found; mailsync's module needs rustc $wanted or later, and cargo." >&2
fi
echo "Get one with rustup (https://rustup.rs): rustup update stable.  Debian's own may be too old." >&2
exit 1
