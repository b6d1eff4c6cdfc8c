#!/bin/bash
# End to end: a Gnus on a server splits what arrives in the inbox, and mailsync-watch --attach names a
# folder only when that Gnus has checked it; without that Emacs it watches by itself.
#   test/e2e/listen.sh nnmaildir|nnimap
# EMACS is the Emacs to run, PROGRAM the mailsync-watch.  Both must have been built.  Everything is
# written below a temporary directory, which stays after a failure.
set -eu
backend=$1
cd "$(dirname "$0")/../.."
export FIXTURES="$PWD/test/fixtures"
PATH=$PATH:/usr/sbin # Dovecot
emacs=${EMACS:-emacs}
program=${PROGRAM:-${CARGO_TARGET_DIR:-target}/watch/mailsync-watch}
lisp=$(test/stage.sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/mailsync listen.XXXXXX")
chmod 711 "$work" # as root, Dovecot's mail processes run as somebody else
emacs_pid=
program_pid=

finish() {
    status=$?
    if [ "$status" -ne 0 ]; then
        for file in facts log out err; do
            echo "--- $file"
            cat "$work/$file" || true
        done
    fi
    touch "$work/stop"
    [ -z "$emacs_pid" ] || kill "$emacs_pid" 2>/dev/null || true
    [ -z "$program_pid" ] || kill "$program_pid" 2>/dev/null || true
    wait
    [ "$backend" != nnimap ] || "$FIXTURES/dovecot.sh" stop "$work/dovecot" || true
    if [ "$status" -eq 0 ]; then rm -rf "$work"; else echo "FAILED, see $work" >&2; fi
}
trap finish EXIT
trap 'exit 143' TERM INT

# shellcheck source=test/e2e/lib.sh
. test/e2e/lib.sh

lines() { wc -l <"$work/$1"; }
# Whether FILE has LINE after its first COUNT lines.
after() { tail -n "+$(($2 + 1))" "$work/$1" | grep -q -- "$3"; }
deliver() { "$FIXTURES/deliver.sh" "$work/mail${1:+/.$1}" "$2" >/dev/null; }

# The program says PROBLEM (after ERR lines), then begins anew with an empty line (after OUT lines).
changeover() {
    wait_for 20 "$1" after err "$2" "$1"
    wait_for 20 "an empty line after: $1" after out "$3" '^$'
}

# It watches by itself: a message in a folder is enough.
alone() {
    local mark
    mark=$(lines out)
    deliver misc 'nobody checks it'
    wait_for 20 'a folder that nobody has checked' after out "$mark" '^misc$'
}

# Gnus splits first: nothing is said of the inbox before its check, both folders after it.
splits() {
    local out facts before
    out=$(lines out)
    facts=$(lines facts)
    before=$(messages lists)
    emacs_ask '(setq listen-held (list "INBOX"))'
    wait_for 20 'Emacs holds checks' test ! -e "$work/command.el"
    deliver '' 'to the list'
    wait_for 20 'Emacs is told of the inbox' after facts "$facts" $'^changed\tINBOX'
    deliver misc 'another one'
    wait_for 20 'a folder that is checked' after out "$out" '^misc$'
    ! after out "$out" '^INBOX$\|^lists$' || fail 'it names what was not checked'
    emacs_ask '(listen-release)'
    wait_for 20 'the inbox' after out "$out" '^INBOX$'
    after facts "$facts" $'^checked\tINBOX' || fail 'the inbox was named before its check'
    [ "$(messages lists)" = $((before + 1)) ] || fail 'the inbox was named before it was split'
    wait_for 20 'the folder that the message went to' after out "$out" '^lists$'
    after facts "$facts" $'^checked\tlists' || fail 'the other folder was named before its check'
    ! after out "$out" '^$' || fail 'there was doubt'
}
messages() { find "$work/mail/.$1"/new "$work/mail/.$1"/cur -type f ! -name '*,*T*' | wc -l; }

start_emacs() {
    rm -f "$work/facts"
    touch "$work/facts"
    "$emacs" -Q --batch --module-assertions \
        --eval '(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)' \
        -L "$lisp" -l test/e2e/listen.el >"$work/log" 2>&1 </dev/null &
    emacs_pid=$!
    wait_for 60 'Emacs, mailsync and Gnus start' grep -q '^started' "$work/facts"
}

mkdir -p "$work/home" "$work/server" "$work"/mail/{.lists/,.misc/,}{cur,new,tmp}
mkdir -m 700 "$work/run"
E2E_GROUPS=
for name in lists misc; do
    ln -s "$work/mail/.$name" "$work/server/$name"
    E2E_GROUPS+="$backend+fix:$name"$'\n'
done
if [ "$backend" = nnimap ]; then
    E2E_GROUPS+="nnimap+fix:INBOX"
    GNUS_NNIMAP=$(test/fixtures/free-port.sh)
    export GNUS_NNIMAP
    "$FIXTURES/dovecot.sh" start "$work/dovecot" "$work/mail" maildir++ "$GNUS_NNIMAP" >/dev/null
else
    export GNUS_NNMAILDIR="$work/server"
fi
unset MAILDIR MAIL XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME
export HOME="$work/home" GNUS_HOME="$work/home/gnus" E2E_WORK="$work" LC_ALL=C.UTF-8 E2E_GROUPS

start_emacs
mkfifo "$work/in"
# Its input stays open, as that of a connection does.
"$program" --socket "$work/run/listen" --maildir "$work/mail" <"$work/in" >"$work/out" 2>"$work/err" &
program_pid=$!
exec 8>"$work/in"
wait_for 20 'it is attached' after out 0 '^$'
[ ! -s "$work/err" ] || fail 'it complains'
# What Emacs checks at its start is checked by now, and named.
splits
splits

# Emacs is stuck, and no check is done.
out=$(lines out) err=$(lines err)
emacs_ask '(listen-get-stuck)'
wait_for 20 'Emacs is stuck' grep -q '^stuck' "$work/facts"
deliver misc 'Emacs does not look'
changeover 'does not answer' "$err" "$out"
alone
out=$(lines out) err=$(lines err)
touch "$work/go-on"
changeover 'attached to the Emacs' "$err" "$out"

# It dies, and leaves its socket behind.
out=$(lines out) err=$(lines err)
kill -KILL "$emacs_pid"
{ wait "$emacs_pid" || true; } 2>/dev/null
changeover 'has gone' "$err" "$out"
alone
out=$(lines out) err=$(lines err)
start_emacs
changeover 'attached to the Emacs' "$err" "$out"

# It ends well.
out=$(lines out) err=$(lines err)
touch "$work/stop"
wait "$emacs_pid"
emacs_pid=
changeover 'has gone' "$err" "$out"
alone

# So does the program, with its connection.
exec 8>&-
wait "$program_pid"
program_pid=
cat "$work/err"
