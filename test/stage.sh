#!/bin/bash
# Print a directory with mailsync's Lisp, compiled by the Emacs that EMACS names, and the module.
# Each Emacs has its own, below test/.cache/: what one compiles another may not understand.
set -eu
cd "$(dirname "$0")/.."
emacs=${EMACS:-emacs}
version=$("$emacs" --version </dev/null | sed -n '1s/^GNU Emacs //p')
stage=$PWD/test/.cache/lisp-$version
mkdir -p test/.cache
exec 9>"$stage.lock"
! command -v flock >/dev/null || flock 9
shopt -s nullglob
sources=(lisp/*.el lisp/*.py lisp/mailsync-engine.*)
wanted=$(cksum "${sources[@]}" | sort)
if [ "$wanted" != "$(cat "$stage/sources" 2>/dev/null)" ]; then
    rm -rf "$stage"
    mkdir "$stage"
    cp -p "${sources[@]}" "$stage"
    "$emacs" -Q --batch --eval '(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)' \
        -L "$stage" -f batch-byte-compile "$stage"/*.el >&2 </dev/null
    printf '%s\n' "$wanted" >"$stage/sources"
fi
printf '%s\n' "$stage"
