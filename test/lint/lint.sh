#!/bin/bash
# `make lint'.  Every check runs, whatever the others say; the last line counts them.
# EMACS is the installed Emacs; what depends on the version is checked on Emacs 30 too.
set -eu
cd "$(dirname "$0")/../.."
test/deps.sh test
test/toolchain.sh
# shellcheck source=test/lib.sh
. test/lib.sh
emacs=${EMACS:-emacs}
emacs30=$(test/emacs-30.sh)
shopt -s nullglob
lisp=(lisp/*.el)
others=(test/lint/*.el test/demo/*.el doc/*.el)

# emacs_check FUNCTION EMACS FILE...
emacs_check() {
    local function=$1 program=$2 dir
    shift 2
    dir=$(test/lint/package-lint-dir.sh)
    "$program" -Q --batch \
        --eval '(setq native-comp-deferred-compilation nil native-comp-jit-compilation nil)' \
        -L lisp ${dir:+-L "$dir"} -l test/lint/lint.el -f "$function" "$@"
}

check 'cargo fmt' "$cargo" fmt --check
check 'clippy' "$cargo" clippy --quiet --locked --all-targets -- -D warnings
check 'clippy, what servers have' "$cargo" clippy --quiet --locked --no-default-features --all-targets -- -D warnings
check 'clippy, what other systems have' "$cargo" clippy --quiet --locked --lib --features portable -- -D warnings
if [ ${#lisp[@]} -gt 0 ]; then
    for program in "$emacs" "$emacs30"; do
        name=$(emacs_name "$program")
        check "byte-compile, $name" emacs_check lint-byte-compile "$program" "${lisp[@]}" "${others[@]}"
        check "checkdoc, $name" emacs_check lint-checkdoc "$program" "${lisp[@]}" "${others[@]}"
        check "check-declare, $name" emacs_check lint-check-declare "$program" "${lisp[@]}" "${others[@]}"
        check "the manual and the Lisp, $name" "$program" -Q --batch -L lisp -l test/lint/options.el \
            -f lint-options README.org
        [ "$emacs" != "$emacs30" ] || break
    done
    check 'package-lint' emacs_check lint-package "$emacs" "${lisp[@]}"
fi
check 'versions' test/lint/versions.sh
check 'the manual for C-h i' test/lint/info.sh
check 'threats, and tests of them' test/lint/threats.sh
check 'manual' test/lint/manual.sh doc/*.[1-9]
check 'shellcheck' shellcheck -x .ci/run test/*.sh test/*/*.sh
summary
