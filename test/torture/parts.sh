#!/bin/bash
# The parts of `make torture'.
#   test/torture/parts.sh                     the table of them
#   test/torture/parts.sh NAME                build what this one runs
#   test/torture/parts.sh NAME COUNT SEED     one round of it: so much, beginning with this seed
# A round is told by these arguments alone: test/torture.sh clears the environment of what it could mean.
set -eu
cd "$(dirname "$0")/../.."

# The seconds that building and a first round may take on two cores; the weight with which the rest of the time is
# shared out, 0 for what is the same each time and done once; how much a first round does, and the most that one
# does; the variable that says how much instead.
table() {
    cat <<'EOF'
# name             least weight count     most variable
portable             600      0     1        1 -
macos                600      0     1        1 -
recipe               600      0     1        1 -
package-vc           600      0     1        1 -
dist                 900      0     1        1 -
fresh               1800      0     1        1 -
misbehaviour        1200      0     1        1 -
sim                  600      3  4000  1000000 SEEDS
planted              600      2     3       12 PLANTED
fuzz-imap            600      1 50000 10000000 FUZZ
fuzz                 600      1 50000 10000000 FUZZ
fuzz-lisp            300      1 10000  1000000 LISP_FUZZ
kills                600      3    32     1000 KILLS
programs             600      1     6      100 PROGRAMS
syncs                600      1   100     1000 SYNCS
life-mbsync          300      1    50     1000 ACTIONS
life-offlineimap     300      1    50     1000 ACTIONS
life-gnus            300      2    50     2000 ROUNDS
starts               300      1    50     1000 STARTS
starts-unchecked     300      1    50     1000 STARTS
quits                300      2   100    10000 QUITS
quits-gnus           300      1   100    10000 QUITS
quits-terminal       300      1   100    10000 QUITS
restarts             300      2     3      200 RESTARTS
EOF
}

name=${1:-} count=${2:-} seed=${3:-}
[ -n "$name" ] || { table; exit; }
cargo=${CARGO:-cargo}

# rust TEST FILTER [OPTION...]: tests in Rust, in which a sum that overflows is noticed.  They are quick to build,
# rather than a little quicker.
rust() {
    local test=$1 filter=$2
    shift 2
    export CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    if [ -z "$count" ]; then
        "$cargo" test --release --locked --test "$test" --no-run
    else
        "$cargo" test --release --locked --test "$test" "$filter" -- --nocapture "$@"
    fi
}

# ert FILE: one of the files of Lisp tests; how long it may go on is not its matter here.
ert() {
    if [ -z "$count" ]; then make all; else ERT_TIMEOUT=0 test/ert.sh "test/lisp/mailsync-$1-test.el"; fi
}

# both WORD...: a part of test/sync.py.
both() {
    if [ -z "$count" ]; then make all watch; else test/sync.py "$@"; fi
}

# once COMMAND...: what builds for itself.
once() {
    [ -z "$count" ] || "$@"
}

# Read as a whole: in a night this file may become another one.
{
    case $name in
    portable) once "$cargo" test --locked --lib --features portable ;;
    macos) once test/lint/macos.sh ;;
    recipe) once test/package/recipe.sh real ;;
    package-vc) once test/package/package-vc.sh real ;;
    dist) once test/package/dist-check.sh real ;;
    fresh) once test/package/fresh.sh ;;
    misbehaviour) ROUNDS=1 ert misbehaviour ;;
    sim) SEEDS=$count FIRST=$seed rust sim seeds ;;
    # Whatever is planted is found within the first thousand.
    planted) PLANTED=$count SEED=$seed SEEDS=1000 once test/planted.py ;;
    fuzz-imap) FUZZ=$count FUZZ_FIRST=$seed rust imap fuzz ;;
    fuzz) FUZZ=$count FUZZ_FIRST=$seed rust fuzz '' ;;
    fuzz-lisp) FUZZ=$count FUZZ_FIRST=$seed ert fuzz ;;
    kills) KILLS=$count SEED=$seed rust kills '' --test-threads 10 ;;
    programs) SEEDS=$count FIRST=$seed rust watching programs ;;
    syncs) SYNCS=$count rust worker many_syncs ;;
    life-mbsync) ACTIONS=$count SEED=$seed both mbsync verbatim batch life ;;
    life-offlineimap) ACTIONS=$count SEED=$seed both offlineimap slash batch life ;;
    life-gnus) ROUNDS=$count SEED=$seed ert random-reader ;;
    starts) STARTS=$count SEED=$seed ert starts ;;
    starts-unchecked) STARTS=$count SEED=$seed MODULE_ASSERTIONS=no ert starts ;;
    quits) ROUNDS=$count SEED=$seed both mbsync verbatim window quits ;;
    quits-gnus) ROUNDS=$count SEED=$seed both mbsync verbatim window quits-gnus ;;
    quits-terminal) ROUNDS=$count SEED=$seed both mbsync verbatim terminal quits ;;
    restarts) RESTARTS=$count SEED=$seed both mbsync verbatim tmux restarts ;;
    *)
        echo "no part of the torture: $name" >&2
        exit 2
        ;;
    esac
    exit
}
