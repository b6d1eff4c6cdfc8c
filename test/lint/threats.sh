#!/bin/bash
# Each threat of README.org has a tag, S and two digits: is it in a test, and is there no other one in any?
set -eu
cd "$(dirname "$0")/../.."
section=$(sed -n '/^\* Security/,/^\* How fast/p' README.org)
told=$(sed -n 's/^- \(S[0-9][0-9]\) ::.*/\1/p' <<<"$section")
# Tests in Rust are in the sources, too; test/.cache has the sources of another Emacs.
shown=$(find src test -path test/.cache -prune -o -path test/lint -prune -o -type f \
    \( -name '*.rs' -o -name '*.el' -o -name '*.sh' -o -name '*.py' \) -exec grep -ohwE 'S[1-9][0-9]' {} + | sort -u)
status=0
complain() {
    [ -z "$1" ] || { printf '%s: %s\n' "$2" "$(xargs <<<"$1")"; status=1; }
}
[ -n "$told" ] || { echo 'README.org has no threats'; status=1; }
complain "$(sort <<<"$told" | uniq -d)" 'tags of two threats'
complain "$(comm -23 <(sort -u <<<"$told") <(printf '%s\n' "$shown"))" 'threats that no test names'
complain "$(comm -13 <(sort -u <<<"$told") <(printf '%s\n' "$shown"))" 'tags in tests that README.org does not have'
exit $status
