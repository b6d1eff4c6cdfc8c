#!/bin/bash
# What one sees of mailsync on a terminal of 80x24 and of 200x50: the status and its keys, the list of
# folders, the history, the log.  Keys are typed as a user types them.
#   test/e2e/screens.sh
# EMACS is the Emacs to run.  The module must have been built.  Everything is written below a temporary
# directory, which stays after a failure.
set -eu
cd "$(dirname "$0")/../.."
emacs=${EMACS:-emacs}
lisp=$(test/stage.sh)
top=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-screens.XXXXXX")
work=

finish() {
    status=$?
    if [ "$status" -ne 0 ] && [ -n "$work" ]; then
        echo "--- facts"
        cat "$work/facts" || true
        echo "--- screen"
        screen || true
    fi
    [ -z "$work" ] || tmux -S "$work/tmux" kill-server 2>/dev/null || true
    if [ "$status" -eq 0 ]; then rm -rf "$top"; else echo "FAILED, see $top" >&2; fi
}
trap finish EXIT
trap 'exit 143' TERM INT

# shellcheck source=test/e2e/lib.sh
. test/e2e/lib.sh

screen() { tmux -S "$work/tmux" capture-pane -p; }
# A ^ is the edge of a window: two may be beside each other.
on_screen() { screen | grep -qE -- "${1/#^/(^|\|)}"; }
not_on_screen() { ! on_screen "$1"; }
keys() { tmux -S "$work/tmux" send-keys "$@"; }
# see WHAT...: each of these regular expressions is on the screen.
see() {
    for what; do wait_for 20 "$what on the screen" on_screen "$what"; done
}
deliver() {
    local name
    name=$(date +%s%N).test
    printf 'Subject: test\n\n' >"$1/tmp/$name"
    mv "$1/tmp/$name" "$1/new/$name"
}
maildir() { mkdir -p "$1/new" "$1/cur" "$1/tmp"; }

start() {
    work=$top/$1
    mkdir -p "$work/home"
    maildir "$work/mail"
    maildir "$work/other"
    for number in $(seq -w 40); do maildir "$work/mail/.lists.number$number"; done
    # shellcheck disable=SC2016
    printf '#!/bin/sh\necho "synced $1"\n' >"$work/syncer"
    printf '#!/bin/sh\nexec sleep 1000\n' >"$work/watcher"
    chmod +x "$work/syncer" "$work/watcher"
    unset MAILDIR MAIL XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME
    export HOME="$work/home" E2E_WORK="$work" LC_ALL=C.UTF-8
    TERM=xterm tmux -S "$work/tmux" -f /dev/null new-session -d -x "$2" -y "$3" \
        "$emacs" -nw -Q --module-assertions \
        --eval '(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)' \
        -L "$lisp" -l test/e2e/screens.el
    wait_for 60 'Emacs and mailsync start' started
}
started() { grep -q started "$work/facts" 2>/dev/null; }

screens() {
    local columns=$2
    start "$1" "$2" "$3"
    # All of it is one screen, and a long command line does not fill two.
    see '^mailsync [0-9.]+, ' '^work: watching' '  server, by .*….*: starting since' ' watching since' '^other: watching' \
        '^s syncs, c checks, p pauses, .* more$'
    not_on_screen 'BatchMode=yes -o ServerAlive.*mailsync-watch' || fail 'the command line is not shortened'
    deliver "$work/mail/.lists.number07"
    # Without a key: what came of it.
    see '  folders: 41 in all' '    lists/number07: new \(here\) at [0-9:]+, no Gnus, synced'
    # Point is at the first account; the next items are the list and the folder.
    keys Tab Tab
    keys o
    see 'synced lists/number07'
    keys C-x 1
    # Fold and unfold the account.
    keys M-p Enter
    see '^work: watching.* \.\.\.'
    wait_for 20 'a folded account' not_on_screen 'folders: 41 in all'
    keys Enter
    see '  folders: 41 in all'
    # Pause, seen in words, also in the mode line; and again.
    keys p
    see 'syncs: paused until M-x mailsync-resume' '\[paused\]'
    keys r
    see 'syncs: nothing to sync'
    wait_for 20 'the pause is over' not_on_screen '\[paused\]'
    # All folders of the account, in columns; one of them is found and synced.
    keys f
    see '^ ?Folder +Account +Waits for +Changed +What +Checked +Synced' \
        '^lists/number07 +work +[0-9:]+ new here +no Gnus +[0-9:]+' '^lists/number08 +work *\$?$'
    [ "$(screen | awk -v most="$columns" 'length($0) > most' | wc -l)" -eq 0 ] || fail 'a line is too long'
    keys C-s number08 Enter s
    see '^lists/number08 +work +[0-9:]+'
    keys q
    # The history: the story of the change in columns, and in a sentence.
    keys h
    see '^ ?Seen +Folder +Account +What +By +Told +Checked +Synced' \
        '^[0-9:.]{12} lists/number07 +work +new +here +\+[0-9.]+ +no Gnus +\+[0-9.]+'
    keys Enter
    see 'work: lists/number07: new \(here\), seen .*, told Gnus \+[0-9.]+ s'
    keys q
    # The log, with levels in words; only what is worse.
    keys l
    see ' info    work: synced lists/number07'
    keys C-x o
    keys v
    see 'Show lines from level on'
    keys error Enter
    wait_for 20 'what is of less importance is hidden' not_on_screen ' info    work'
    keys w
    see 'are on the kill ring'
    tmux -S "$work/tmux" kill-server
    work=
}

screens small 80 24
screens large 200 50
echo 'status, folders, history and log on 80x24 and 200x50'
