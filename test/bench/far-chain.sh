#!/bin/bash
# What people tie together instead of mailsync; one of the ways of far.py.
#   far-chain.sh DELAY MBSYNCRC CHANNEL SERVER ROOT SOCKET SSH...
# SSH... is a command that runs inotifywait on ROOT, a Maildir++ on the server; a folder in whose new/
# something appears is synced, and its group SERVER:FOLDER in the Emacs at SOCKET is looked at.  With a DELAY
# of some seconds folders are gathered until nothing has happened for that long.  Says `watching' first.
# CLIENT is the emacsclient.
set -u
delay=$1 config=$2 channel=$3 server=$4 root=$5 socket=$6
shift 6

folder() {
    local name=${1#"$root"}
    name=${name%/new/}
    name=${name#/.}
    echo "${name:-INBOX}"
}

"$@" 2>&1 | while read -r line; do
    case $line in
    'Watches established.') echo watching ;;
    # Dovecot's own files, tmp/ and what a sync does in cur/ are not it.
    */new/)
        folders=$(folder "$line")
        while [ "$delay" != 0 ] && read -r -t "$delay" line; do
            case $line in */new/) folders+=$'\n'$(folder "$line") ;; esac
        done
        mapfile -t names < <(sort -u <<<"$folders")
        mbsync -c "$config" "${names[@]/#/$channel:}"
        "$CLIENT" -s "$socket" --eval "(bench-far-command$(printf ' "%s"' "${names[@]/#/$server:}"))" >/dev/null
        ;;
    esac
done
