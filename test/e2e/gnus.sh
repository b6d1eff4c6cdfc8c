#!/bin/bash
# End to end: the module, mailsync and a real Gnus.  Messages are delivered as an MDA does; nobody
# touches a key; the counts must rise.
#   test/e2e/gnus.sh nnmaildir|nnimap|nnml batch|tmux|typing|frames
# nnml: the maildir is a mail source, whose mail Gnus splits into two groups.
# batch and tmux do it with both values of `mailsync-gnus-check-method' and compare what each did to
# counts, lines and hooks.  typing: keys are typed into another buffer while MESSAGES (1000) arrive.
# frames: *Group* with topics, in two frames, in a dedicated window, and a folder that is created.
# EMACS is the Emacs to run, METHODS which methods ("parts command").  The module must have been
# built.  Everything is written below a temporary directory, which stays after a failure.
set -eu
backend=$1
mode=${2:-batch}
cd "$(dirname "$0")/../.."
export FIXTURES="$PWD/test/fixtures"
PATH=$PATH:/usr/sbin # Dovecot
emacs=${EMACS:-emacs}
lisp=$(test/stage.sh)
top=$(mktemp -d "${TMPDIR:-/tmp}/mailsync e2e.XXXXXX")
chmod 711 "$top" # as root, Dovecot's mail processes run as somebody else
work=
emacs_pid=
# In a new home Emacs would compile everything natively, beside the test.
quiet=(--eval '(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)')

stop() {
    [ -n "$work" ] || return 0
    touch "$work/stop"
    if [ "$mode" = batch ]; then
        [ -z "$emacs_pid" ] || wait "$emacs_pid" || true
        emacs_pid=
    else
        tmux -S "$work/tmux" kill-server 2>/dev/null || true
    fi
    [ "$backend" != nnimap ] || "$FIXTURES/dovecot.sh" stop "$work/dovecot" || true
    work=
}
finish() {
    status=$?
    [ "$status" -eq 0 ] || [ -z "$work" ] || report
    stop
    if [ "$status" -eq 0 ]; then rm -rf "$top"; else echo "FAILED, see $top" >&2; fi
}
report() {
    echo "--- facts"
    cat "$work/facts" || true
    if [ "$mode" = batch ]; then
        echo "--- Emacs said"
        cat "$work/log" || true
    else
        echo "--- screen"
        screen || true
    fi
}
trap finish EXIT
trap 'exit 143' TERM INT

# shellcheck source=test/e2e/lib.sh
. test/e2e/lib.sh

screen() { tmux -S "$work/tmux" capture-pane -p; }
fact() { grep -qF -- "$1" "$work/facts" 2>/dev/null; }
fact_after() { tail -n "+$(($1 + 1))" "$work/facts" | grep -qF -- "$2"; }
facts() { wc -l <"$work/facts"; }

lisp_string() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

start() {
    export E2E_METHOD=$1
    work=$top/$1
    mkdir -p "$work/home"
    chmod 711 "$work"
    export E2E_GROUPS='' E2E_SPLIT=''
    if [ "$backend" = nnml ]; then
        mkdir -p "$work"/{mail,other}/{cur,new,tmp}
        # Gnus's start fetches these, and makes the groups.
        deliver "$work/mail" 'to the list'
        deliver "$work/mail" 'to me'
        names=('list' 'misc')
        export GNUS_NNML="$work/mail" E2E_SPLIT='(("list" "^Subject:.*list") ("misc" ""))'
    else
        python3 "$FIXTURES/make-corpus.py" "$work/mail" --folders 3 --messages 10 --odd-names \
            --links "$work/server" 2>/dev/null
        names=('INBOX' 'folder000' 'list0.sub002' 'Entwürfe' 'percent%s' 'with space' 'R&D')
    fi
    for name in "${names[@]}"; do E2E_GROUPS+="$backend+fix:$name"$'\n'; done
    if [ "$backend" = nnimap ]; then
        GNUS_NNIMAP=$(test/fixtures/free-port.sh)
        export GNUS_NNIMAP
        "$FIXTURES/dovecot.sh" start "$work/dovecot" "$work/mail" maildir++ "$GNUS_NNIMAP" >/dev/null
    elif [ "$backend" = nnmaildir ]; then
        export GNUS_NNMAILDIR="$work/server"
    fi
    unset MAILDIR MAIL XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME
    export HOME="$work/home" GNUS_HOME="$work/home/gnus" E2E_WORK="$work" LC_ALL=C.UTF-8
    if [ "$mode" = batch ]; then
        "$emacs" -Q --batch --module-assertions "${quiet[@]}" -L "$lisp" -l test/e2e/in-gnus.el >"$work/log" 2>&1 </dev/null &
        emacs_pid=$!
    else
        TERM=xterm tmux -S "$work/tmux" -f /dev/null new-session -d -x 100 -y 40 \
            "$emacs" -nw -Q --module-assertions "${quiet[@]}" -L "$lisp" -l test/e2e/in-gnus.el
    fi
    wait_for 60 'Emacs, mailsync and Gnus start' fact started
}

# The unread count that Gnus had at the last fact about GROUP.
count() {
    awk -F '\t' -v group="$1" '
        $1 == "group" && $2 == group { n = $3 }
        $1 == "new-mail" && $4 == group { n = $7 }
        END { print n }' "$work/facts"
}

deliver() { "$FIXTURES/deliver.sh" "$1" "${2:-end to end}" >/dev/null; }

# One message with SUBJECT for group NAME, delivered into DIRECTORY: the count rises by one, in Gnus's
# data, in its line, and on the screen.
one_message() {
    local name=$1 directory=$2 group=$backend+fix:$1 before after mark line
    before=$(count "$group")
    after=$((before + 1))
    mark=$(facts)
    deliver "$directory" "${3:-}"
    wait_for 15 "new mail in $group" fact_after "$mark" $'\t'"$group"$'\t'"$before"$'\t'"$after"$'\t'"$after"$'\t'
    line=$(tail -n "+$((mark + 1))" "$work/facts" | awk -F '\t' -v g="$group" '$1 == "new-mail" && $4 == g { print $8 }' | tail -n 1)
    case $line in
    *"$after: $group"* | "$after: $name"*) ;;
    *) fail "the line of $group says: $line" ;;
    esac
    wait_for 15 "gnus-after-getting-new-news-hook for $group" fact_after "$mark" $'hook\tafter-getting-new-news'
    [ "$mode" = batch ] || wait_for 5 "$group on the screen" on_screen "$line"
    printf '%s\t%s\t%s\t%s\n' "$name" "$before" "$after" "$line" >>"$top/transcript-$E2E_METHOD"
}
on_screen() { screen | grep -qF -- "$1"; }

# A folder that comes into being while mailsync watches, with a message in it at once.
new_folder() {
    local directory=$work/mail/.brandnew mark
    mark=$(facts)
    mkdir -p "$work/fresh/tmp" "$work/fresh/new" "$work/fresh/cur"
    [ "$(id -u)" -ne 0 ] || chown -R --reference="$work/mail" "$work/fresh"
    if [ "$1" = renamed ]; then
        mv "$work/fresh" "$directory"
    else
        mkdir "$directory"
        [ "$(id -u)" -ne 0 ] || chown --reference="$work/mail" "$directory"
        mv "$work"/fresh/* "$directory"
        rmdir "$work/fresh"
    fi
    deliver "$directory"
    ln -s "$directory" "$work/server/brandnew"
    wait_for 15 'the change of a new folder' fact_after "$mark" $'changed\te2e\tbrandnew\t'
    emacs_do "(e2e-subscribe $(lisp_string "$backend+fix:brandnew"))"
    [ "$(count "$backend+fix:brandnew")" = 1 ] || fail 'the first message of the new folder'
    one_message brandnew "$directory"
}

# While one reads an article in a Summary, a message is inserted above: what one sees stays.
open_summary() {
    local before
    emacs_do "(progn (setq mailsync-gnus-update-summary 'insert
                           gnus-thread-sort-functions '((not gnus-thread-sort-by-number)))
                (switch-to-buffer gnus-group-buffer)
                (gnus-group-goto-group $(lisp_string "$backend+fix:folder000"))
                (gnus-group-read-group t t)
                (goto-char (point-min))
                (forward-line 4)
                (gnus-summary-select-article)
                (set-window-start nil (save-excursion (forward-line -2) (point)))
                (redisplay)
                (e2e-say \"entered\"))"
    wait_for 15 'the Summary' fact entered
    before=$(seen)
    [ "$(wc -l <<<"$before")" -gt 10 ] || fail "nothing to be seen: $before"
    deliver "$work/mail/.folder000" 'inserted above'
    wait_for 15 'the message in the Summary' inserted
    diff <(echo "$before") <(seen) || fail 'what is to be seen has moved'
    emacs_do '(progn (goto-char (point-min)) (set-window-start nil (point)))'
    wait_for 5 'the message on the screen' on_screen 'inserted above'
}
# The screen without mode lines and echo area, when it is twice the same.
seen() {
    picture=
    wait_for 15 'a screen that stays' stays
    echo "$picture"
}
stays() {
    local last=$picture
    sleep 0.5
    picture=$(screen | grep -v 'Summary\|Article' | head -n 38)
    [ "$picture" = "$last" ]
}
inserted() {
    emacs_do '(with-current-buffer gnus-summary-buffer
                (save-excursion (goto-char (point-min))
                                (and (search-forward "inserted above" nil t) (e2e-say "inserted"))))'
    fact inserted
}

# A message with SUBJECT in the mail source goes to group NAME, and the source is left empty.
from_source() {
    one_message "$1" "$work/mail" "$2"
    # What the fetch did comes back as a change, which must lead to no other fetch.
    wait_for 15 'the change that the fetch made' gone_after_news
    [ -z "$(messages_in "$work/mail")" ] || fail 'there is mail left in the source'
}
gone_after_news() {
    awk -F '\t' '$1 == "new-mail" { gone = 0 }
        $1 == "changed" && $4 ~ /gone/ { gone = 1 }
        END { exit !gone }' "$work/facts"
}
messages_in() { find "$1"/new "$1"/cur -type f; }

# How many fetches there were, when nothing waits for one.
fetches() {
    wait_for 15 'nothing waits for a check' settled
    awk -F '\t' '$1 == "fetches" { n = $2 } END { print n }' "$work/facts"
}
settled() {
    emacs_do '(let ((status (mailsync-gnus-status)))
                (e2e-say "fetches" (plist-get (plist-get status :checks) :fetches)
                         (plist-get status :pending)))'
    [ "$(awk -F '\t' '$1 == "fetches" { n = $3 } END { print n }' "$work/facts")" = 0 ]
}

mail_source() {
    local before
    start "$1"
    deliver "$work/other" 'in another source'
    from_source list 'to the list'
    before=$(fetches)
    from_source misc 'to me'
    from_source list 'to the list'
    from_source list 'again to the list'
    [ "$(fetches)" = $((before + 3)) ] || fail "3 messages took $(($(fetches) - before)) fetches"
    [ -n "$(messages_in "$work/other")" ] || fail 'the other source was fetched'
    stop
}

whole_path() {
    if [ "$backend" = nnml ]; then
        mail_source "$1"
        return
    fi
    start "$1"
    one_message folder000 "$work/mail/.folder000"
    one_message INBOX "$work/mail"
    one_message Entwürfe "$work/mail/.Entw&APw-rfe"
    one_message 'percent%s' "$work/mail/.percent%s"
    one_message 'with space' "$work/mail/.with space"
    one_message 'R&D' "$work/mail/.R&-D"
    one_message list0.sub002 "$work/mail/.list0.sub002"
    one_message folder000 "$work/mail/.folder000"
    if [ "$1" = parts ]; then new_folder renamed; else new_folder made; fi
    # By the command, an nnimap server cannot be asked without waiting.
    if [ "$mode" = tmux ] && [ "$1" = parts ]; then open_summary; fi
    stop
}

# Keys go to another buffer while mail arrives: all of them come, and nothing moves.
typing() {
    local messages=${MESSAGES:-1000} typed='' word i before after mark
    start "$1"
    emacs_do '(progn (delete-other-windows) (split-window-below)
                     (switch-to-buffer "typing") (text-mode) (message nil) (e2e-watch))'
    before=$(count "$backend+fix:folder000")
    mark=$(facts)
    test/demo/feeder.py "$work/server" --only folder000 --interval 0.005 --count "$messages" >"$work/fed" &
    i=0
    while kill -0 $! 2>/dev/null || [ "$i" -lt 100 ]; do
        i=$((i + 1))
        word="word$i "
        typed+=$word
        tmux -S "$work/tmux" send-keys -l "$word"
        sleep 0.03
    done
    wait $!
    emacs_do '(progn (e2e-say "longest" (round (* 1000 e2e-longest))) (setq e2e-longest 0))'
    after=$((before + messages))
    wait_for 30 "the count of folder000 is $after" counted "$mark" "$after"
    emacs_do '(with-current-buffer "typing"
                (write-region nil nil (concat e2e-work "typed") nil (quote silent))
                (e2e-state)
                (e2e-say "longest" (round (* 1000 e2e-longest))))'
    [ "$(cat "$work/typed")" = "$typed" ] || fail 'what was typed is not what arrived'
    # Selected window's buffer, current buffer, number of windows, minibuffer depth, echo area.
    [ "$(grep '^state' "$work/facts")" = $'state\ttyping\ttyping\t'"$((${#typed} + 1))"$'\t2\t0\t' ] ||
        fail 'point, buffer, windows or the echo area changed'
    wait_for 5 'the count on the screen' on_screen "$after: $backend+fix:folder000"
    # For the reader; how long is not for a test to say.
    echo "$messages messages while ${#typed} keys were typed: all arrived. Longest pause of Emacs" \
        "meanwhile and afterwards: $(sed -n 's/^longest\t//p' "$work/facts" | xargs printf '%s ms ')"
    stop
}
counted() { tail -n "+$(($1 + 1))" "$work/facts" | awk -F '\t' -v n="$2" '$1 == "new-mail" && $7 == n { found = 1 } END { exit !found }'; }

# *Group* shows topics, is in a dedicated window of one frame and in another frame.  Nothing moves
# there but counts, wherever one looks; and a new folder appears by itself.
frames() {
    local group=$backend+fix:folder000 before state mark total
    start "$1"
    emacs_do "(e2e-frames $(lisp_string "$group"))"
    emacs_do '(e2e-where)'
    state=$(grep '^where' "$work/facts" | tail -n 1)
    [ "$(cut -f 2,3,5,6 <<<"$state")" = "$group"$'\t13\tt\t2' ] || fail "not as it should be: $state"
    before=$(count "$group")
    wait_for 5 'the topic on the screen' on_screen "[ lists -- $before ]"
    total=$(screen | sed -n 's/.*\] Mail:\([0-9]*\) .*/\1/p' | head -n 1)
    [ -n "$total" ] || fail 'no sum in the mode line'
    one_message folder000 "$work/mail/.folder000"
    wait_for 5 'the count of the topic' on_screen "[ lists -- $((before + 1)) ]"
    wait_for 5 'the sum in the mode line' on_screen "] Mail:$((total + 1)) "
    emacs_do '(e2e-where)'
    [ "$(grep '^where' "$work/facts" | tail -n 1)" = "$state" ] ||
        fail "something moved: $state, then $(grep '^where' "$work/facts" | tail -n 1)"
    # The other frame, with its dedicated window, shows the same.
    emacs_do '(e2e-other-frame)'
    wait_for 5 'the other frame' on_screen 'in the other window'
    wait_for 5 'the count in the other frame' on_screen "$((before + 1)): $group"
    wait_for 5 'the topic in the other frame' on_screen "[ lists -- $((before + 1)) ]"
    # Folded, while the user looks at it.
    emacs_do '(e2e-fold)'
    mark=$(facts)
    deliver "$work/mail/.folder000"
    wait_for 15 'the count of the folded topic' on_screen "[ lists -- $((before + 2)) ]..."
    fact_after "$mark" $'\t'"$group"$'\t'"$((before + 1))"$'\t'"$((before + 2))" || fail 'no news of the message'
    ! on_screen "$((before + 2)): $group" || fail 'the topic was unfolded'
    # A new folder: nothing but its link and a message.
    emacs_do '(setq mailsync-gnus-subscribe-new t)'
    mkdir -p "$work/fresh"/{tmp,new,cur}
    ln -s "$work/mail/.brandnew" "$work/server/brandnew"
    mv "$work/fresh" "$work/mail/.brandnew"
    deliver "$work/mail/.brandnew"
    wait_for 15 'the new group on the screen' on_screen "1: $backend+fix:brandnew"
    stop
    echo "*Group* in two frames, dedicated, with topics: only counts changed, and a new folder came."
}

case $mode in
batch | tmux)
    read -ra methods <<<"${METHODS:-parts command}"
    for method in "${methods[@]}"; do whole_path "$method"; done
    if [ ${#methods[@]} -eq 2 ]; then
        diff "$top/transcript-${methods[0]}" "$top/transcript-${methods[1]}" ||
            fail 'the two methods differ in counts or lines'
    fi
    cat "$top/transcript-${methods[0]}"
    ;;
typing) typing "${METHODS:-parts}" ;;
frames) frames "${METHODS:-parts}" ;;
*) fail "usage: test/e2e/gnus.sh nnmaildir|nnimap|nnml batch|tmux|typing|frames" ;;
esac
