#!/bin/bash
# The screen of `mailsync-doctor' in a terminal of 80x24 and of 200x50: problems first, nothing cut off,
# and keys that lead where something is mended.  Nothing below the home directory is changed.
# EMACS is the Emacs to run.  The module must have been built.
set -eu
cd "$(dirname "$0")/../.."
emacs=${EMACS:-emacs}
lisp=$(test/stage.sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/mailsync doctor.XXXXXX")
export E2E_WORK="$work"

finish() {
    status=$?
    [ "$status" -eq 0 ] || screen || true
    tmux -S "$work/tmux" kill-server 2>/dev/null || true
    if [ "$status" -eq 0 ]; then rm -rf "$work"; else echo "FAILED, see $work" >&2; fi
}
trap finish EXIT
trap 'exit 143' TERM INT
# shellcheck source=test/e2e/lib.sh
. test/e2e/lib.sh

screen() { tmux -S "$work/tmux" capture-pane -p; }
on_screen() { screen | grep -qE -- "$1"; }
gone() { ! tmux -S "$work/tmux" has-session 2>/dev/null; }
keys() { tmux -S "$work/tmux" send-keys "$@"; }
# But for what Emacs itself keeps.
snapshot() { find "$work/home" -path '*/.config' -prune -o -printf '%p %y %m %s %T@ %l\n' | sort; }

mkdir -p "$work/home/.config/emacs" "$work/home/run"
chmod 700 "$work/home/run"
mkdir -p "$work"/home/mail/{INBOX,work,lists/emacs}/{cur,new,tmp}
cat >"$work/home/.mbsyncrc" <<'END'
IMAPAccount example
Host mail.example.org
Timeout 0

IMAPStore far
Account example

MaildirStore near
Path ~/mail/
Inbox ~/mail/INBOX
SubFolders Verbatim

Channel work
Far :far:
Near :near:
Patterns INBOX work
END
unset MAILDIR MAIL XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME
export HOME="$work/home" XDG_RUNTIME_DIR="$work/home/run" LC_ALL=C.UTF-8
accounts='(("work" :maildir "~/mail" :syncer (mailsync-mbsync "work"))
           ("old" :maildir "~/a-disk-that-is-away/and/a/long/name/that/does/not/fit/into/a/line")
           ("far" :remote (imap :host "mail.example.org" :user "me")))'
before=$(snapshot)

for size in 80x24 200x50; do
    columns=${size%x*} lines=${size#*x}
    TERM=xterm tmux -S "$work/tmux" -f /dev/null new-session -d -x "$columns" -y "$lines" \
        "$emacs" -nw -Q --module-assertions \
        --eval '(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil
                      auto-save-default nil inhibit-startup-screen t)' \
        -L "$lisp" --eval "(require 'mailsync)" --eval "(setq mailsync-accounts '$accounts)" \
        --eval '(run-with-timer 0 nil (lambda () (mailsync-doctor) (delete-other-windows)))'
    wait_for 30 'the doctor is done' on_screen 'That is all\.'
    wait_for 10 'the echo area is quiet' on_screen '^1 problem, 1 warning'
    # Where the text of each finding begins: its level, or in line with the text above.
    screen | sed -n '5,/^ok /p' | while IFS= read -r line; do
        case $line in
        'problem  '* | 'warning  '* | 'note     '* | 'ok       '* | '         '* | '') ;;
        *'*mailsync-doctor*'*) ;;
        *) fail "at $size this line begins otherwise: $line" ;;
        esac
    done
    on_screen '^problem  account "old", directory: there is no directory' || fail "the problem is not there"
    on_screen '^warning  account "work", time-outs: mbsync waits for ever' || fail "the warning is not there"
    on_screen '^         Do: write Timeout 20 there, in ~/\.mbsyncrc' || fail "what to do is not there"
    ! on_screen '[\\$]$' || fail "a line goes on where it cannot be read"
    [ "$size" = 80x24 ] || on_screen '^ok       account "work", layout: 3 folders in ~/mail, nested' || fail "not all is shown"
    [ -z "${SCREENS:-}" ] || screen >"$SCREENS/$size"
    # To the warning, and to the file that it is about.
    keys n n Enter
    wait_for 10 'the file where it is mended' on_screen '(^|[|])Timeout 0'
    keys C-x 0
    # Without the account that has a problem, since the end of the first look is still on the screen.
    keys M-:
    keys -l '(pop (cdr mailsync-accounts))'
    keys Enter g
    wait_for 30 'the doctor is done again' on_screen '^0 problems, .*That is all\.'
    keys w
    wait_for 10 'it is copied' on_screen 'Copied'
    keys t
    wait_for 10 'it asks' on_screen 'Connect to mail\.example\.org, port 993'
    keys n
    wait_for 10 'it asks for the password, too' on_screen 'Look for the password of me'
    keys n
    keys C-x C-c
    wait_for 20 'Emacs ends' gone
done
after=$(snapshot)
diff <(echo "$before") <(echo "$after") || fail "something was changed"
