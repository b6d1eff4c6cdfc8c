#!/bin/bash
# `make bench': measure mailsync beside the alternatives and print a table for each part, and then what
# follows from them all; into target/bench.org, too (BENCH_REPORT), from which doc/benchmarks.org is made.
# EMACS and EMACSCLIENT name the programs; BENCH_PARTS, or the arguments, the parts to run (default:
# all that bench.py lists); BENCH_QUICK=1 takes a few minutes and only shows that the benchmark still
# runs.  Nothing here depends on how fast the machine is.  Everything else is written
# below a temporary directory; the user's own mail and configuration are neither read nor written.
set -eu
cd "$(dirname "$0")/../.."
emacs=${EMACS:-emacs}
client=${EMACSCLIENT:-emacsclient}
target=$(realpath "${CARGO_TARGET_DIR:-target}")
report=$(realpath "${BENCH_REPORT:-$target/bench.org}")
lisp=$(test/stage.sh)
# What is measured is what users get, unless it does not matter.
[ -n "${BENCH_MEASURE:-}" ] || BENCH_MEASURE=$(test/bench/measure.sh "$([ -n "${BENCH_QUICK:-}" ] && echo test || echo bench)")
BENCH_PROGRAM=$target/watch/mailsync-watch
export BENCH_MEASURE BENCH_PROGRAM
# A short name: that of a socket may have 107 characters.
top=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-bench.XXXXXX")
trap 'rm -rf "$top"' EXIT
trap 'exit 143' TERM INT
mkdir -m 700 "$top/home" "$top/run" "$top/run/emacs"
cp test/bench/*.el "$top"
unset MAILDIR MAIL XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME ALTERNATE_EDITOR
unset EMACS_SERVER_FILE EMACS_SOCKET_NAME
rust=$({ rustc --version || "$HOME/.cargo/bin/rustc" --version; } 2>/dev/null | cut -d ' ' -f 1,2)
export RUST_VERSION=${rust:-rustc unknown}
export HOME="$top/home" XDG_RUNTIME_DIR="$top/run" LC_ALL=C.UTF-8
# Not xterm: Emacs would wait two seconds for an answer of that terminal.
export TERM=linux
export PYTHONDONTWRITEBYTECODE=1
"$emacs" -Q --batch -L "$lisp" -L "$top" -f batch-byte-compile "$top"/*.el </dev/null
# Each part has a limit of its own; this is for what would not even end by that.
limit=7200
timeout -k 10 "$limit" python3 test/bench/bench.py "$emacs" "$client" "$lisp" "$top" "$report" "$@" </dev/null || {
    status=$?
    [ "$status" -ne 124 ] || echo "The benchmark did not end within $limit s." >&2
    exit "$status"
}
