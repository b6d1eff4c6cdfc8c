#!/bin/bash
# `make demo': a throwaway server, store and Gnus under a temporary directory, mail that arrives, and
# mailsync that watches and has mbsync sync.  In a terminal it shows *Group*; without one it prints
# a transcript and exits 0 only if each count rose through mailsync, and what was marked in Gnus
# came to the server.
#   DEMO_MESSAGES   how many messages (default: 10 without a terminal, else no end)
#   DEMO_INTERVAL   seconds between two (default: 0.5 without a terminal, else 3)
#   DEMO_BACKEND    nnmaildir (default), or nnimap through a private Dovecot (without a syncer)
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
    test/fixtures/sync-dovecot.sh stop "$work/far" >/dev/null 2>&1 || true
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT

corpus() {
    python3 test/fixtures/make-corpus.py "$1" --folders 12 --messages 20 --links "$2" 2>/dev/null
}

# Everything is on a server, whose mail is in far/mail/demo, and mbsync has yet to fetch it.
far() {
    far="$work/far/mail/demo"
    port=$(test/fixtures/free-port.sh)
    corpus "$far" "$work/links"
    test/fixtures/sync-dovecot.sh start "$work/far" "$port" >/dev/null
    [ "$(id -u)" -ne 0 ] || chown -R mail:mail "$far"
    cat >"$work/mbsyncrc" <<END
FSync no

IMAPAccount demo
Host 127.0.0.1
Port $port
User demo
Pass secret
SSLType None

IMAPStore far
Account demo

MaildirStore near
Inbox "$work/mail/"
SubFolders Maildir++

Channel demo
Far :far:
Near :near:
Patterns * INBOX
Create Both
Expunge Both
SyncState *
END
    mkdir -p "$work/server" "$work/mail/cur" "$work/mail/new" "$work/mail/tmp"
    for link in "$work/links/"*; do
        directory=$(readlink "$link")
        ln -s "$work/mail${directory#"$far"}" "$work/server/${link##*/}"
    done
    export DEMO_FAR="$work/links" DEMO_MBSYNCRC="$work/mbsyncrc"
}

mkdir "$work/home"
case $backend in
nnmaildir)
    far
    export GNUS_NNMAILDIR="$work/server"
    ;;
nnimap)
    corpus "$work/mail" "$work/server"
    GNUS_NNIMAP=$(test/fixtures/free-port.sh)
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
