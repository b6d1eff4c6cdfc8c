#!/bin/bash
# What macOS itself has, where its Rust library is.  Nothing is linked, and so C need not be compiled.  Of
# the tests, many of which are for Linux alone, it is enough that they compile.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=test/lib.sh
. test/lib.sh
target=x86_64-apple-darwin
if [ "$(uname)" = Darwin ] || [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    echo "not checked for macOS: rustup target add $target"
    exit
fi
export CC_x86_64_apple_darwin=true AR_x86_64_apple_darwin=true
check 'clippy, macOS' "$cargo" clippy --quiet --locked --lib --bins --target "$target" -- -D warnings
check 'the tests, macOS' "$cargo" check --quiet --locked --all-targets --target "$target"
summary
