#!/bin/bash
# Does test/lint/versions.sh see each place that says another version?
set -eu
cd "$(dirname "$0")/../.."
top=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-versions.XXXXXX")
trap 'rm -rf "$top"' EXIT
mkdir "$top/tree"
cp -r Cargo.toml Cargo.lock README.org NEWS.org lisp doc "$top/tree"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
passed=0 failed=0

# seen NAME WORDS: the check fails, with WORDS among what it says; "" is for one that succeeds.
seen() {
    local said status=0
    said=$(test/lint/versions.sh "$top/tree") || status=$?
    if [ -z "$2" ] && [ "$status" -eq 0 ] && [ -z "$said" ]; then
        passed=$((passed + 1))
    elif [ -n "$2" ] && [ "$status" -ne 0 ] && grep -qF -- "$2" <<<"$said"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$1: status $status, \"$said\""
    fi
}

# changed FILE SED WORDS: with that done to FILE; then the file is as it was.
changed() {
    cp "$top/tree/$1" "$top/kept"
    sed -i "$2" "$top/tree/$1"
    ! cmp -s "$top/tree/$1" "$top/kept" || { echo "$1: nothing is there for $2"; failed=$((failed + 1)); }
    seen "$1, $2" "$3"
    cp "$top/kept" "$top/tree/$1"
}

seen 'as it is' ''
changed Cargo.toml "s/^version = .*/version = \"99.0.0\"/" 'Cargo.lock says'
changed Cargo.toml 's/^version = .*/version = "soon"/' 'Cargo.toml says no version'
changed Cargo.lock "/^name = \"mailsync\"/{n;s/\".*\"/\"99.0.0\"/;}" 'Cargo.lock says "99.0.0"'
changed lisp/mailsync.el 's/^;; Version: .*/;; Version: 99.0.0/' 'lisp/mailsync.el, "Version:", says "99.0.0"'
changed lisp/mailsync-module.el 's/version-wanted ".*"/version-wanted "99.0.0"/' 'the version wanted, says "99.0.0"'
changed doc/mailsync-watch.1 's/"mailsync [^"]*"/"mailsync 99.0.0"/' 'doc/mailsync-watch.1 says "99.0.0"'
changed NEWS.org '0,/version [0-9.]*/s//version 99.0.0/' 'NEWS.org, its first entry, says "99.0.0"'
changed lisp/mailsync-options.el "0,/(mailsync \. \".*\")/s//(mailsync . \"99.0.0\")/" ':package-version, says "99.0.0"'
changed README.org 's/Rust [0-9.]*[0-9] or later/Rust 1.2 or later/' 'the Rust that is needed, says "1.2"'
changed lisp/mailsync-module.el 's/Rust [0-9.]*[0-9] or later/Rust 1.2 or later/' 'the same, says "1.2"'
changed README.org 's/^- Emacs [0-9.]*[0-9] or/- Emacs 27.1 or/' 'the Emacs that is needed, says "27.1"'

if command -v git >/dev/null; then
    unset GIT_DIR GIT_WORK_TREE
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
    export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@example.org
    export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@example.org
    sed -i '0,/, not released/s///' "$top/tree/NEWS.org"
    git -C "$top/tree" -c init.defaultBranch=main init -q
    git -C "$top/tree" add -A
    git -C "$top/tree" commit -qm test
    git -C "$top/tree" tag "v$version"
    seen 'a release' ''
    sed -i '0,/version [0-9.]*/s//&, not released/' "$top/tree/NEWS.org"
    seen 'a release that NEWS.org does not know' 'NEWS.org says'
    git -C "$top/tree" tag v99.0.0
    seen 'another tag' 'the tag says "v99.0.0"'
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
