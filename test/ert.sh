#!/bin/bash
# Run ERT test files, each in an Emacs of its own, with the module's API checked.
#   test/ert.sh [FILE...]         (default: all, test/lisp/*-test.el)
# EMACS is the Emacs to run; it gets the Lisp as compiled by itself.  The module must have been built.
# ERT_SELECTOR chooses tests.  With MODULE_ASSERTIONS=no the API is not checked: what that takes is never freed.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin # Dovecot
emacs=${EMACS:-emacs}
shopt -s nullglob
[ $# -gt 0 ] || set -- test/lisp/*-test.el
home=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-ert.XXXXXX")
trap 'rm -rf "$home"' EXIT
assertions=(--module-assertions)
[ "${MODULE_ASSERTIONS:-yes}" = yes ] || assertions=()
unset MAILDIR MAIL XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME
lisp=$(test/stage.sh)
status=0
for file; do
    mkdir -p "$home/${file##*/}"
    # No native compilation: it would go on in the background of the tests.
    HOME="$home/${file##*/}" timeout "${ERT_TIMEOUT:-300}" "$emacs" -Q --batch ${assertions[@]+"${assertions[@]}"} \
        --eval '(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)' \
        -L "$lisp" -L test/lisp -l "$file" \
        --eval "(ert-run-tests-batch-and-exit '${ERT_SELECTOR:-t})" </dev/null || status=$?
done
exit "$status"
