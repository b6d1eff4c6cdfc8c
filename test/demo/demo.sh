#!/bin/bash
# `make demo': a throwaway store and Gnus under a temporary directory, mail that arrives, and
# mailsync that watches.  In a terminal it shows *Group*; without one it prints a transcript and
# exits 0 only if each count rose through mailsync.
#   DEMO_MESSAGES   how many messages (default: 10 without a terminal, else no end)
#   DEMO_INTERVAL   seconds between two (default: 0.5 without a terminal, else 3)
#   DEMO_BACKEND    nnmaildir (default), or nnimap through a private Dovecot
set -eu
cd "$(dirname "$0")/../.."
project=$PWD
PATH=$PATH:/usr/sbin # Dovecot
emacs=${EMACS:-emacs}
backend=${DEMO_BACKEND:-nnmaildir}
work=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-demo.XXXXXX")
chmod 711 "$work" # as root, Dovecot's mail processes run as somebody else
finish() {
    status=$?
    [ "$backend" != nnimap ] || test/fixtures/dovecot.sh stop "$work/dovecot" || true
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT

mkdir "$work/home"
python3 test/fixtures/make-corpus.py "$work/mail" --folders 12 --messages 20 --links "$work/server" 2>/dev/null
case $backend in
nnmaildir) export GNUS_NNMAILDIR="$work/server" ;;
nnimap)
    GNUS_NNIMAP=$(test/free-port.sh)
    export GNUS_NNIMAP
    test/fixtures/dovecot.sh start "$work/dovecot" "$work/mail" maildir++ "$GNUS_NNIMAP" >/dev/null
    ;;
*)
    echo "DEMO_BACKEND is nnmaildir or nnimap" >&2
    exit 2
    ;;
esac

# Nothing of the user's: no init file, another home, no mail directory by name.
unset MAILDIR MAIL XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME
export HOME="$work/home" GNUS_HOME="$work/home/gnus"
export DEMO_PROJECT="$project" DEMO_STORE="$work/mail" DEMO_SERVER="$work/server"
export DEMO_METHOD="$backend+fix"
# In a new home Emacs would compile everything natively, beside the show.
quiet='(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)'
if [ -t 0 ] && [ -t 1 ]; then
    "$emacs" -nw -Q --eval "$quiet" -L lisp -l test/demo/demo.el -f demo
else
    timeout 300 "$emacs" -Q --batch --eval "$quiet" -L lisp -l test/demo/demo.el -f demo </dev/null 2>&1
fi
