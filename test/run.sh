#!/bin/bash
# `make test'.  Every part runs, whatever the others say; the last line counts what passed.
# Give the names of parts to run only these: build lint cargo ert e2e
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
ert_files=(test/*-test.el)
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
    if "$cargo" nextest --version >/dev/null 2>&1; then
        "$cargo" nextest run --locked --no-fail-fast --hide-progress-bar
    else
        "$cargo" test --locked --no-fail-fast --lib --bins --tests
    fi
}

# together EMACS RUN...: several runs of test/sync.py at once, since they mostly wait.
together() {
    local emacs=$1 run output pid status=0 pids=()
    shift
    output=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-check.XXXXXX")
    for run in "$@"; do
        # shellcheck disable=SC2086
        env EMACS="$emacs" timeout -k 10 400 test/sync.py $run >"$output/$run" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
    cat "$output"/*
    rm -r "$output"
    return $status
}

if part build "$@"; then
    # What is built last takes one core at a time.
    check 'build' timeout 900 make -s -j2 all watch
    # Without it the rest would try what was built before.
    [ "$failed" -eq 0 ] || { summary; exit; }
    check 'install' test/install.sh
fi
if part lint "$@"; then check 'lint' timeout 900 test/lint/lint.sh; fi
if part cargo "$@"; then
    # The limit ends a hang; the pause between the two signals lets the test's children go first.
    export -f cargo_tests
    export cargo
    check 'cargo test' timeout -k 10 900 bash -c cargo_tests
    check 'cargo test --doc' timeout -k 10 300 "$cargo" test --locked --doc
fi
for program in "${emacsen[@]}"; do
    name=$(emacs_name "$program")
    if part ert "$@"; then
        for file in "${ert_files[@]}"; do
            check "${file#test/}, $name" env EMACS="$program" test/ert.sh "$file"
        done
    fi
    if part e2e "$@"; then
        for backend in nnmaildir nnimap nnml; do
            for mode in batch tmux; do
                check "end to end, $backend, $mode, $name" \
                    env EMACS="$program" timeout -k 10 300 test/e2e.sh "$backend" "$mode"
            done
        done
        # What goes wrong, with one of them; the other layouts, with the other.
        runs=('offlineimap slash batch' 'mbsync verbatim batch')
        if [ "$program" != "$emacs" ]; then
            runs=('offlineimap dot batch' 'mbsync mdpp batch' 'mbsync legacy batch' 'mbsync flat batch')
        fi
        check "both sides the same, each layout, $name" \
            together "$program" "${runs[@]}" 'mbsync verbatim tmux'
        runs=()
        for sync in 'mbsync verbatim' 'offlineimap slash'; do
            for day in 'tmux reader' 'batch instances' 'batch troubles' 'batch echo' 'batch echo-imap' \
                'batch remote'; do
                runs+=("$sync $day")
            done
        done
        # What a server tells does not depend on the syncer.
        if [ "$program" = "$emacs" ]; then mode='batch'; else mode='tmux'; fi
        runs+=("mbsync verbatim $mode imap")
        check "both sides the same, Gnus, several Emacsen, troubles, runs, servers, $name" \
            together "$program" "${runs[@]}"
        for backend in nnmaildir nnimap; do
            check "the Emacs on the server splits first, $backend, $name" \
                env EMACS="$program" timeout -k 10 120 test/listen.sh "$backend"
        done
        check "several frames, topics, a new folder, $name" \
            env EMACS="$program" timeout -k 10 120 test/e2e.sh nnmaildir frames
        check "typing while mail arrives, $name" \
            env EMACS="$program" MESSAGES=200 timeout -k 10 300 test/e2e.sh nnmaildir typing
    fi
done
echo "in $((SECONDS - began)) s"
summary
