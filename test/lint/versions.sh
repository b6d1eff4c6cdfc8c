#!/bin/bash
# Do all the places that say which version this is say the same?
#   test/lint/versions.sh [DIRECTORY]        (default: this tree)
# Cargo.toml is the one that the others have to agree with.  A commit that has a tag is a release: then the tag
# has that name, and NEWS.org does not say that it is not released.
set -eu
cd "${1:-$(dirname "$0")/../..}"
status=0

# said WHERE VALUE WANTED
said() {
    [ "$2" = "$3" ] || { echo "$1 says \"$2\", not \"$3\""; status=1; }
}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
case $version in
[0-9]*.[0-9]*.[0-9]*) ;;
*) echo "Cargo.toml says no version: \"$version\""; exit 1 ;;
esac
said Cargo.lock "$(sed -n '/^name = "mailsync"$/{n;s/^version = "\(.*\)"/\1/p;}' Cargo.lock)" "$version"
said 'lisp/mailsync.el, "Version:",' "$(sed -n 's/^;; Version: //p' lisp/mailsync.el)" "$version"
said 'lisp/mailsync-module.el, the version wanted,' \
    "$(sed -n 's/^(defconst mailsync-module--version-wanted "\(.*\)"/\1/p' lisp/mailsync-module.el)" "$version"
for page in doc/*.[1-9]; do
    said "$page" "$(sed -n 's/^\.TH .*"mailsync \([^"]*\)".*/\1/p' "$page")" "$version"
done
news=$(sed -n 's/^\* //p' NEWS.org | head -n 1)
said 'NEWS.org, its first entry,' "$(sed -n 's/^[0-9-]*, version \([^,]*\).*/\1/p' <<<"$news")" "$version"

# No option is of a version that is still to come.
while read -r option; do
    newest=$(printf '%s\n%s\n' "$option" "$version" | sort -V | tail -n 1)
    said 'an option, :package-version,' "$newest" "$version"
done < <(sed -n "s/.*:package-version '(mailsync \. \"\(.*\)\").*/\1/p" lisp/*.el | sort -u)

# What is needed.
rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
said 'README.org, the Rust that is needed,' "$(sed -n 's/.*: Rust \([0-9.]*[0-9]\) or later.*/\1/p' README.org | head -n 1)" "$rust"
said 'lisp/mailsync-module.el, the same,' \
    "$(sed -n 's/.*install Rust \([0-9.]*[0-9]\) or later.*/\1/p' lisp/mailsync-module.el)" "$rust"
emacs=$(sed -n 's/^;; Package-Requires: ((emacs "\(.*\)"))/\1/p' lisp/mailsync.el)
said 'README.org, the Emacs that is needed,' "$(sed -n 's/^- Emacs \([0-9.]*[0-9]\) or later.*/\1/p' README.org | head -n 1)" "$emacs"

if [ -e .git ] && command -v git >/dev/null; then
    for tag in $(git tag --points-at HEAD 2>/dev/null); do
        said 'the tag' "$tag" "v$version"
        case $news in
        *'not released'*) echo "the commit has the tag $tag, and NEWS.org says: $news"; status=1 ;;
        esac
    done
fi
exit $status
