#!/bin/bash
# Does README.org become Info, and without a word of complaint?
set -eu
work=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-info.XXXXXX")
trap 'rm -rf "$work"' EXIT
make -s info INFO="$work/mailsync.info" 2>"$work/said" || { cat "$work/said"; exit 1; }
# Old versions of Org say where they write to.
if grep -v '^$\|^Wrote ' "$work/said"; then exit 1; fi
test -s "$work/mailsync.info"
