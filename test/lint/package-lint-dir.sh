#!/bin/sh
# Print the directory of package-lint.el: PACKAGE_LINT_DIR, or where Debian's package puts it.
# Prints nothing when it is nowhere.
set -eu
for dir in "${PACKAGE_LINT_DIR:-}" /usr/share/emacs/site-lisp/elpa-src/package-lint-*; do
    if [ -n "$dir" ] && [ -e "$dir/package-lint.el" ]; then
        printf '%s\n' "$dir"
        exit 0
    fi
done
