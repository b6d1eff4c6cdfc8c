# shellcheck shell=bash
# Sourced by the scripts that run many checks: each is timed, silent unless it fails, and counted.

# shellcheck disable=SC2034
cargo=${CARGO:-cargo}
passed=0
failed=0

# Print "Emacs 28.2" for a program.
emacs_name() {
    "$1" --version </dev/null | sed -n '1s/^GNU //p'
}

# count FILE: add up what the test frameworks print there; one check if they print nothing.
count() {
    local good=0 bad=0 seen=0 ran unexpected skipped line
    while read -r line; do
        case $line in
        'Ran '*' tests, '*)
            ran=$(sed -n 's/^Ran \([0-9]*\) tests.*/\1/p' <<<"$line")
            unexpected=$(sed -n 's/.*[^0-9]\([0-9]*\) unexpected.*/\1/p' <<<"$line")
            skipped=$(sed -n 's/.*[^0-9]\([0-9]*\) skipped.*/\1/p' <<<"$line")
            ;;
        'test result: '*)
            ran=$(sed -n 's/.* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 + \2/p' <<<"$line")
            unexpected=$(sed -n 's/.* \([0-9]*\) failed;.*/\1/p' <<<"$line")
            skipped=0
            ;;
        *Summary*' tests run: '* | *Summary*' test run: '*)
            ran=$(sed -n 's/.* \([0-9]*\) tests\{0,1\} run:.*/\1/p' <<<"$line")
            unexpected=$(sed -n 's/.* \([0-9]*\) failed.*/\1/p' <<<"$line")
            skipped=0
            ;;
        [0-9]*' passed, '[0-9]*' failed')
            unexpected=${line#* passed, } unexpected=${unexpected% failed}
            ran="${line%% *} + $unexpected"
            skipped=0
            ;;
        *) continue ;;
        esac
        seen=1
        good=$((good + ${ran:-0} - ${unexpected:-0} - ${skipped:-0}))
        bad=$((bad + ${unexpected:-0}))
    done <"$1"
    [ "$seen" -eq 1 ] || good=1
    echo "$good $bad"
}

# check NAME COMMAND...: run it; say how long it took; show its output if it fails.
check() {
    begin "$@"
    settle
}

# begin NAME COMMAND...: as `check', beside others; at most BESIDE at once.  `settle' says how they went.
begun=()
begin() {
    local dir
    while [ "$(jobs -rp | wc -l)" -ge "${BESIDE:-1}" ]; do wait -n || true; done
    dir=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-check.XXXXXX")
    echo "$1" >"$dir/name"
    begun+=("$dir")
    shift
    (
        start=$SECONDS status=0
        "$@" >"$dir/log" 2>&1 </dev/null || status=$?
        echo "$status $((SECONDS - start))" >"$dir/end"
    ) &
}

# Wait for all that were begun, and say how each went, in their order.
settle() {
    local dir
    for dir in "${begun[@]}"; do
        while [ ! -e "$dir/end" ] && [ -n "$(jobs -rp)" ]; do wait -n || true; done
        report "$dir"
        rm -r "$dir"
    done
    begun=()
    wait
}

report() {
    local dir=$1 name status=1 seconds=0 good bad
    name=$(cat "$dir/name")
    [ ! -e "$dir/end" ] || read -r status seconds <"$dir/end"
    read -r good bad < <(count "$dir/log")
    if [ "$status" -eq 0 ]; then
        passed=$((passed + good))
        printf 'ok    %4ds  %s%s\n' "$seconds" "$name" "$([ "$good" -eq 1 ] || echo " ($good tests)")"
        sed -n 's/^skip  /skip         /p; s/^did   /             /p' "$dir/log"
    else
        # A crash that no framework counted is one failure.
        [ "$bad" -gt 0 ] || { bad=1 good=0; }
        passed=$((passed + good))
        failed=$((failed + bad))
        printf 'FAIL  %4ds  %s (exit status %d)\n' "$seconds" "$name" "$status"
        sed 's/^/    | /' "$dir/log"
    fi
}

# The last line, and the exit status.
summary() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
