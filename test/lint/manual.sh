#!/bin/bash
# manual.sh FILE...: are these manual pages clean?  By mandoc and by groff, as far as they are there.
set -eu
status=0
seen=
for page; do
    if command -v mandoc >/dev/null; then
        seen=1
        mandoc -T lint -W warning "$page" || status=1
    fi
    if command -v groff >/dev/null; then
        seen=1
        said=$(groff -man -ww -Tutf8 -z "$page" 2>&1) || status=1
        [ -z "$said" ] || { printf '%s\n' "$said"; status=1; }
    fi
    # The version is said in two places.
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    grep -q "^\.TH .*\"mailsync $version\"" "$page" || { echo "$page is not of version $version"; status=1; }
done
# The options of mailsync-watch are those of its help, in the manual page and in README.org.
names() { grep -oE -- '--[a-z]+' | grep -vxE -- '--(version|help)' | sort -u; }
help=$(sed -n '/const HELP:/,/";/s/^ .*\(--[a-z]*\).*/\1/p' src/far/options.rs | names)
page=$(sed -n 's/\\-/-/g; /^\.BR\{0,1\} .*--/p' doc/mailsync-watch.1 | names)
readme=$(sed -n '/^| =-.*=--\|^| =--/p' README.org | names)
if [ -z "$help" ] || [ "$help" != "$page" ] || [ "$help" != "$readme" ]; then
    printf 'options of mailsync-watch: its help has\n%s\nthe page\n%s\nREADME.org\n%s\n' "$help" "$page" "$readme"
    status=1
fi
[ -n "$seen" ] || echo 'skip  neither mandoc nor groff'
exit $status
