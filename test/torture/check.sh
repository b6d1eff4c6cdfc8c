#!/bin/bash
# Does test/torture.sh run all of its parts, whatever they do, and say so?
set -eu
cd "$(dirname "$0")/../.."
top=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-torture.XXXXXX")
trap 'rm -rf "$top"' EXIT
passed=0 failed=0

# Parts that do nothing, but one thing each.  What they were told is noted.
cat >"$top/parts" <<'EOF'
#!/bin/bash
case ${1:-} in
'') cat "$TOP/table"; exit ;;
esac
echo "$1 ${2:-build} ${3:--} $(env | grep -cE '^(SEED|SEEDS|FUZZ|KILLS|HOURS|PARTS|MAKEFLAGS)=' || true)" >>"$TOP/noted"
[ -n "${2:-}" ] || exit 0
case $1 in
hangs)
    # One of its own session, as servers are, and one that does not hear of TERM.
    setsid sleep 600 &
    echo $! >"$TOP/daemon"
    (trap '' TERM; exec sleep 600) &
    echo $! >"$TOP/deaf"
    wait
    ;;
# In its second round.
fails) [ "$(grep -c "^fails [0-9]" "$TOP/noted")" -lt 2 ] || { echo 'this is wrong'; exit 3; } ;;
leaves) setsid sleep 600 & echo $! >"$TOP/left" ;;
esac
echo 'test result: ok. 2 passed; 0 failed; 0 ignored'
EOF
chmod +x "$top/parts"
cat >"$top/table" <<'EOF'
# name least weight count most variable
hangs  1   0 1 1 -
fails  100 1 5 8 KILLS
leaves 100 0 1 1 -
goes   2   1 3 3 FUZZ
EOF

# torture ARGUMENT...: run it with these variables; what it says is in "said", and its exit code.
torture() {
    local status=0
    : >"$top/noted"
    env -u MAKELEVEL TORTURE_PARTS="$top/parts" TORTURE_OUT="$top/out" TOP="$top" SEEDS=17 MAKEFLAGS=w "$@" \
        test/torture.sh >"$top/said" 2>&1 || status=$?
    echo "exit code $status" >>"$top/said"
}

# is WHAT COMMAND...
is() {
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "NOT: $what"
        sed 's/^/    | /' "$top/said" "$top/noted"
    fi
}
said() { grep -qE -e "$1" "$top/said"; }
noted() { grep -qxE -e "$1" "$top/noted"; }
# Nobody is there, or only what its parent has not waited for.  Elsewhere it cannot be found.
dead() { [ "$(uname)" != Linux ] || ! kill -0 "$(cat "$top/$1")" 2>/dev/null || grep -q '^State:.Z' "/proc/$(cat "$top/$1")/status"; }

# So much as the least that they need.
torture HOURS=0.05585 SEED=1000 PARTS='leaves fails hangs'
is 'what hangs is ended' said '\| It went on for all of its [0-9]+ s, and was ended: .*sleep'
is 'and has failed' said '^FAIL .* hangs \(exit status 1\)'
is 'what it had started in a session of its own is ended' dead daemon
is 'also what does not hear of TERM' dead deaf
is 'the next one is begun, with the seed' noted 'fails 5 1000 0'
is 'and goes on, with another seed, for longer' noted 'fails 8 1005 0'
is 'what fails says how' said '\| this is wrong'
is 'and how to have it again' said 'again: make torture PARTS=fails SEED=1005 KILLS=8'
is 'and has failed, too' said '^FAIL .* fails \(exit status 1\)'
is 'it is not gone on with' [ "$(grep -c '^fails [0-9]' "$top/noted")" -eq 2 ]
is 'the next one runs, once' [ "$(grep -c '^leaves [0-9]' "$top/noted")" -eq 1 ]
is 'what is left behind is ended' dead left
is 'each is built first' [ "$(grep -c ' build - 0$' "$top/noted")" -eq 3 ]
is 'none hears of what is for others' [ "$(grep -vc ' 0$' "$top/noted")" -eq 0 ]
is 'all are counted' said '^[0-9]+ passed, 2 failed$'
is 'the exit code says so' said '^exit code 1$'

torture HOURS=0.0006 SEED=1000 PARTS=goes
is 'what is well goes on until its time is over' said '^ok .* goes '
is 'and says how much that was' said '^ +[0-9]+ rounds, [0-9]+ in all, SEED=1000$'

torture HOURS=1 SEED=7 PARTS='fails leaves' KILLS=2000
is 'the last line is for all' said '^4 passed, 0 failed$'
is 'all is well' said '^exit code 0$'
is 'what is asked for is done, as it is' noted 'fails 2000 7 0'
is 'once' [ "$(grep -c '^fails [0-9]' "$top/noted")" -eq 1 ]
is 'what is not chosen does not run' [ "$(grep -cE '^(hangs|goes) ' "$top/noted")" -eq 0 ]

torture HOURS=0.01
is 'too little time is none' said 'HOURS=0.01 is too short'
is 'and nothing was done' said '^exit code 2$'
torture PARTS='fails falis'
is 'what there is not is said' said 'no part "falis", but these: hangs fails leaves goes$'
is 'and nothing was done' said '^exit code 2$'

# The real ones.
for name in $(test/torture/parts.sh | sed -n 's/^\([a-z-]*\) .*/\1/p'); do
    is "$name has a command" grep -qE "^ *$name\) " test/torture/parts.sh
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
