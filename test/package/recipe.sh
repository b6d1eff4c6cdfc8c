#!/bin/bash
# Does the flat directory work that a package archive makes of this tree after recipes/mailsync?
#   test/package/recipe.sh [real]
# It is compiled without a warning, finds its sources, builds its module by M-x mailsync-module-compile, and
# loads it.  What has been built stands in for what cargo would build, unless `real', which takes minutes.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=test/package/lib.sh
. test/package/lib.sh
PATH=$PATH:$HOME/.cargo/bin
emacs=${EMACS:-emacs}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
top=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-recipe.XXXXXX")
trap 'rm -rf "$top"' EXIT
cargo_is "${1:-}" "$top"
unset MODULE_DIR

# What was built here is no part of it.
mkdir "$top/tree" "$top/home"
test/package/sources.sh | tar -c --null -T - | tar -x -C "$top/tree"
package=$top/mailsync-$version

in_emacs() {
    HOME="$top/home" timeout 3600 "$emacs" -Q --batch \
        --eval '(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)' "$@" </dev/null
}

in_emacs -l test/package/recipe.el -f recipe-copy recipes/mailsync "$top/tree" "$package"
in_emacs -L "$package" --eval '(setq byte-compile-error-on-warn t)' \
    -f batch-byte-compile "$package"/*.el 2>"$top/log" || { cat "$top/log"; exit 1; }
in_emacs -L "$package" --eval '
  (progn
    (require (quote mailsync))
    (mailsync-module-compile)
    (let ((process (get-buffer-process "*mailsync-module*")))
      (while (process-live-p process) (accept-process-output process 1)))
    (princ (with-current-buffer "*mailsync-module*" (buffer-string))))' >"$top/log" 2>&1
said=$(in_emacs -L "$package" --eval '
  (progn
    (require (quote mailsync))
    (mailsync-mode 1)
    (mailsync-mode -1)
    (princ (format "%s %s" (mailsync-module--version)
                   (file-relative-name mailsync-module--lisp-directory))))' 2>>"$top/log") || {
    cat "$top/log"
    exit 1
}
[ "${said%% *}" = "$version" ] || { echo "expected version $version, got \"$said\""; cat "$top/log"; exit 1; }
case $said in
*/"mailsync-$version/") ;;
*) echo "not from the package: $said"; exit 1 ;;
esac
