#!/bin/bash
# Do README's lines for `use-package :vc' and `package-vc-install' install what works?
#   test/package/package-vc.sh [real]
# Each from a repository made of this tree, by Emacs 30 in a home of its own.  What has been built stands in
# for what cargo would build, unless `real', which takes minutes.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=test/package/lib.sh
. test/package/lib.sh
PATH=$PATH:$HOME/.cargo/bin
emacs=$(test/emacs-30.sh)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
if ! command -v git >/dev/null; then
    echo 'skip  git is not there'
    exit 0
fi
top=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-vc.XXXXXX")
trap 'rm -rf "$top"' EXIT

cargo_is "${1:-}" "$top"
unset MAILDIR XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME GIT_DIR GIT_WORK_TREE
mkdir "$top/tree"
test/package/sources.sh | tar -c --null -T - | tar -x -C "$top/tree"
export GIT_CONFIG_GLOBAL="$top/gitconfig" GIT_CONFIG_NOSYSTEM=1 EMAIL=test@example.org
git config --global user.name test
git config --global user.email test@example.org
git -C "$top/tree" -c init.defaultBranch=main init -q
git -C "$top/tree" add -A
git -C "$top/tree" commit -qm test

# README's form that has $1 in it, from the lines of an Emacs Lisp block, with the repository in its place.
lines() {
    sed -n '/^#+begin_src emacs-lisp/,/^#+end_src/p' README.org |
        awk -v wanted="$1" 'BEGIN { RS = "#\\+end_src\n" } index($0, wanted) { sub(/^.*#\+begin_src emacs-lisp\n/, ""); print; exit }' |
        sed "s|https://github.com/mailsync/mailsync|file://$top/tree|"
}

# in_emacs NAME ARGUMENT...: in the Emacs whose home has that name.
in_emacs() {
    local home=$top/$1
    shift
    mkdir -p "$home/.emacs.d"
    HOME=$home timeout 3600 "$emacs" --batch -Q \
        --eval "(setq user-emacs-directory \"$home/.emacs.d/\" package-user-dir \"$home/.emacs.d/elpa\"
                      native-comp-jit-compilation nil package-native-compile nil
                      package-archives nil)" "$@" </dev/null
}

# fail WHAT: with the log.
fail() {
    echo "$1"
    cat "$top/log"
    exit 1
}

# What the new Emacs of NAME says when mailsync is used in it.
used() {
    in_emacs "$1" --eval '(package-initialize)' --eval '
      (progn
        (unless (autoloadp (symbol-function (quote mailsync-mode))) (princ "no autoloads "))
        (mailsync-mode 1)
        (mailsync-mode -1)
        (princ (format "%s %s" (mailsync-module--version)
                       (file-relative-name (symbol-file (quote mailsync-start)) package-user-dir))))'
}

for way in 'use-package mailsync' 'package-vc-install'; do
    name=${way%% *}
    lines "$way" >"$top/$name.el"
    grep -q "file://$top/tree" "$top/$name.el" || { echo "README has no block with ($way"; exit 1; }
    in_emacs "$name" -l package-vc -l use-package -l "$top/$name.el" --eval \
        '(princ (with-current-buffer " *package-vc make mailsync*" (buffer-string)))' >"$top/log" 2>&1 ||
        fail "$name failed"
    # What Emacs has to say of files that it has written itself is its own affair.
    ! grep -vE '^mailsync-(autoloads|pkg)\.el:' "$top/log" | grep -qE 'Warning|Failed to' || fail "$name warns"
    said=$(used "$name" 2>>"$top/log") || fail "what $name installed does not start"
    [ "$said" = "$version mailsync/lisp/mailsync.elc" ] || fail "$name: \"$said\""
    # What is no part of the package was not compiled: it would only make noise.
    [ -z "$(find "$top/$name/.emacs.d/elpa/mailsync/test" -name '*.elc')" ] || fail "$name compiled the tests"
done

# Who does not allow package-vc to build anything does it by a command.
in_emacs later -l package-vc --eval \
    "(package-vc-install '(mailsync :url \"file://$top/tree\" :lisp-dir \"lisp\" :make \"module\"))" \
    >"$top/log" 2>&1 || fail 'package-vc-install without the leave to build failed'
[ ! -e "$top/later/.emacs.d/elpa/mailsync/lisp/mailsync-engine.version" ] || fail 'it was built without leave'
in_emacs later --eval '(package-initialize)' --eval '
  (progn
    (condition-case err (progn (mailsync-mode 1) (kill-emacs 1))
      (mailsync-module-error
       (unless (string-search "M-x mailsync-module-compile" (error-message-string err))
         (kill-emacs 1))))
    (mailsync-module-compile)
    (let ((process (get-buffer-process "*mailsync-module*")))
      (while (process-live-p process) (accept-process-output process 1)))
    (princ (with-current-buffer "*mailsync-module*" (buffer-string)))
    (mailsync-mode 1)
    (mailsync-mode -1))' >"$top/log" 2>&1 || fail 'M-x mailsync-module-compile does not build what can be loaded'
[ "$(used later 2>>"$top/log")" = "$version mailsync/lisp/mailsync.elc" ] || fail 'another Emacs does not find it'
