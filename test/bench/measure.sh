#!/bin/bash
# Build test/bench/main.rs, and print where it is.
#   test/bench/measure.sh bench     as users get the module
#   test/bench/measure.sh test      as the tests are built, which takes less
set -eu
cd "$(dirname "$0")/../.."
"${CARGO:-cargo}" "$1" --quiet --locked --bench measure --no-run --message-format=json |
    sed -n '/"name":"measure"/s/.*"executable":"\([^"]*\)".*/\1/p'
