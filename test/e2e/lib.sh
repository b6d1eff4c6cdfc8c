# shellcheck shell=bash
# Sourced by the end-to-end tests in shell: to wait, to fail, and to have Emacs do something.  `work'
# is their directory, where lib.el writes what happened.

fail() {
    echo "$*" >&2
    exit 1
}

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        # shellcheck disable=SC2154
        ! grep -q '^error' "$work/facts" 2>/dev/null || fail "an error in Emacs"
        [ "$SECONDS" -lt "$deadline" ] || fail "not within time: $what"
        sleep 0.05
    done
}

# Have Emacs do something, some time, without a key.
emacs_ask() {
    printf '%s\n' "$1" >"$work/command.tmp"
    mv "$work/command.tmp" "$work/command.el"
}

# The same, and wait until it has begun.
emacs_do() {
    emacs_ask "$1"
    wait_for 20 "$1" test ! -e "$work/command.el"
}
