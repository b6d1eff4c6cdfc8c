#!/bin/bash
# Print the names of this tree's files, each with a NUL behind it, in an order that depends on nothing:
# what git knows of; without git, what is not built here.
set -eu
cd "$(dirname "$0")/../.."
if [ -e .git ] && command -v git >/dev/null; then
    git ls-files -z --cached --others --exclude-standard --deduplicate
else
    find . \( -path ./target -o -path ./vendor -o -path ./.cargo -o -path ./test/.cache \) -prune -o \
        \( -type f -o -type l \) ! -name '*.elc' ! -name 'mailsync-engine.*' -printf '%P\0'
fi | LC_ALL=C sort -z | while IFS= read -r -d '' file; do
    # One that is deleted and not yet told to git.
    [ ! -e "$file" ] || printf '%s\0' "$file"
done
