#!/bin/bash
# `make test'.  Every part runs, whatever the others say; the last line counts what passed.
# Give the names of parts to run only these: build lint cargo guard ert package e2e
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=test/lib.sh
. test/lib.sh
test/deps.sh test
test/toolchain.sh
emacs=${EMACS:-emacs}
emacs30=$(test/emacs-30.sh)
emacsen=("$emacs")
[ "$emacs30" = "$(command -v "$emacs")" ] || emacsen+=("$emacs30")
shopt -s nullglob
ert_files=(test/lisp/*-test.el)
began=$SECONDS

part() {
    local name
    [ $# -gt 1 ] || return 0
    name=$1
    shift
    for wanted; do [ "$wanted" != "$name" ] || return 0; done
    return 1
}

cargo_tests() {
    # Many of them wait for programs, or for time to pass.
    export RUST_TEST_THREADS=4 NEXTEST_TEST_THREADS=4
    if "$cargo" nextest --version >/dev/null 2>&1; then
        "$cargo" nextest run --locked --no-fail-fast --hide-progress-bar
    else
        "$cargo" test --locked --no-fail-fast --lib --bins --tests
    fi
}

if part build "$@"; then
    # What is built last takes one core at a time.
    check 'build' timeout 1800 make -s -j2 all watch
    # Without it the rest would try what was built before.
    [ "$failed" -eq 0 ] || { summary; exit; }
    check 'install' test/package/install.sh
fi
if part lint "$@"; then check 'lint' timeout 1800 test/lint/lint.sh; fi
if part cargo "$@"; then
    # The limit ends a hang; the pause between the two signals lets the test's children go first.
    export -f cargo_tests
    export cargo
    check 'cargo test' timeout -k 10 1800 bash -c cargo_tests
    check 'cargo test --doc' timeout -k 10 300 "$cargo" test --locked --doc
fi
if part guard "$@" && [ "$(uname)" = Linux ]; then
    # What it runs was built for the tests above, but for one file.
    check 'instructions of the hot paths' timeout -k 10 300 test/bench/guard.sh
fi
# What mostly waits, several at once; not what measures how long the user would have to.
BESIDE=4
if part package "$@"; then
    begin 'versions that do not agree are seen' timeout -k 10 60 test/lint/versions-check.sh
    begin 'a torture in which something fails, and hangs' timeout -k 10 120 test/torture/check.sh
    begin 'what goes into a tarball' timeout -k 10 60 test/package/dist-check.sh
    begin 'package-vc' timeout -k 10 300 test/package/package-vc.sh
fi
for program in "${emacsen[@]}"; do
    name=$(emacs_name "$program")
    if part ert "$@"; then
        for file in "${ert_files[@]}"; do
            begin "${file#test/lisp/}, $name" env EMACS="$program" test/ert.sh "$file"
        done
    fi
    if part package "$@"; then
        begin "what a package archive makes of it, $name" env EMACS="$program" timeout -k 10 120 test/package/recipe.sh
    fi
    if part e2e "$@"; then
        for backend in nnmaildir nnimap nnml; do
            for mode in batch tmux; do
                begin "end to end, $backend, $mode, $name" \
                    env EMACS="$program" timeout -k 10 300 test/e2e/gnus.sh "$backend" "$mode"
            done
        done
        for backend in nnmaildir nnimap; do
            begin "the Emacs on the server splits first, $backend, $name" \
                env EMACS="$program" timeout -k 10 120 test/e2e/listen.sh "$backend"
        done
        begin "the status on the screen, $name" env EMACS="$program" timeout -k 10 120 test/e2e/screens.sh
        begin "several frames, topics, a new folder, $name" \
            env EMACS="$program" timeout -k 10 120 test/e2e/gnus.sh nnmaildir frames
        begin "the screen of the doctor, $name" \
            env EMACS="$program" timeout -k 10 120 test/e2e/doctor.sh
    fi
done
settle
for program in "${emacsen[@]}"; do
    name=$(emacs_name "$program")
    if part e2e "$@"; then
        # What goes wrong, with one of them; the other layouts, with the other.
        runs=('offlineimap slash batch' 'mbsync verbatim batch')
        if [ "$program" != "$emacs" ]; then
            runs=('offlineimap dot batch' 'mbsync mdpp batch' 'mbsync legacy batch' 'mbsync flat batch')
        fi
        runs+=('mbsync verbatim tmux')
        for sync in 'mbsync verbatim' 'offlineimap slash'; do
            for day in 'tmux reader' 'batch instances' 'batch troubles' 'batch echo' 'batch echo-imap' \
                'batch remote'; do
                runs+=("$sync $day")
            done
        done
        # What happens on the server, and in Gnus, does not depend on who syncs.
        runs+=('mbsync verbatim batch split-local' 'mbsync verbatim batch split-local-imap')
        runs+=('mbsync verbatim batch attach')
        if [ "$program" = "$emacs" ]; then
            # That waits the longest, and for nothing but time.
            runs=('mbsync verbatim tmux line' "${runs[@]}")
            runs+=('mbsync verbatim window quits' 'mbsync verbatim tmux restarts')
            runs+=('mbsync verbatim batch imap' 'mbsync verbatim batch modes' 'offlineimap slash batch worker')
        else
            runs+=('mbsync verbatim tmux imap' 'mbsync verbatim tmux tunnel' 'mbsync verbatim batch logins')
            runs+=('mbsync verbatim batch quickstart')
            runs+=('mbsync verbatim window quits-gnus' 'mbsync verbatim terminal quits')
        fi
        # They wait more than anything else here.
        BESIDE=8
        for run in "${runs[@]}"; do
            # shellcheck disable=SC2086
            begin "both sides the same, $run, $name" \
                env EMACS="$program" timeout -k 10 400 test/sync.py $run
        done
        # A slice of `make soak', too short for what grows slowly.
        begin "an Emacs that holds on to nothing, $name" \
            env EMACS="$program" HOURS=0.01 SEED=1 timeout -k 10 400 test/sync.py mbsync verbatim tmux soak
    fi
done
settle
for program in "${emacsen[@]}"; do
    if part e2e "$@"; then
        check "typing while mail arrives, $(emacs_name "$program")" \
            env EMACS="$program" MESSAGES=200 timeout -k 10 300 test/e2e/gnus.sh nnmaildir typing
    fi
done
echo "in $((SECONDS - began)) s"
summary
