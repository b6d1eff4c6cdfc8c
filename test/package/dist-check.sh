#!/bin/bash
# Is what `make dist' makes the same each time, and enough?
#   test/package/dist-check.sh [real]
# The names of the files that go in, with git and without.  With `real', which takes many minutes, the tarball
# itself, made twice in different places; and all is built and installed from it by a cargo that has no crate of
# its own and no network.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PATH:$HOME/.cargo/bin
emacs=${EMACS:-emacs}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
top=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-distcheck.XXXXXX")
trap 'rm -rf "$top"' EXIT

mkdir "$top/copy"
test/package/sources.sh >"$top/names"
tar -c --null -T "$top/names" | tar -x -C "$top/copy"
# As after a build.
mkdir "$top/copy/target"
touch "$top/copy/target/x" "$top/copy/lisp/mailsync.elc" "$top/copy/lisp/mailsync-engine.so"
"$top/copy/test/package/sources.sh" >"$top/names-again"
rm -r "$top/copy/target"
if ! cmp "$top/names" "$top/names-again"; then
    diff <(tr '\0' '\n' <"$top/names") <(tr '\0' '\n' <"$top/names-again")
    exit 1
fi
# Nothing that is built, and nothing of who builds it.
tr '\0' '\n' <"$top/names" >"$top/lines"
! grep -E '\.(elc|so|dylib|tar\..*)$|^target/|^vendor/|^\.cargo/' "$top/lines" || exit 1
for wanted in Cargo.lock Makefile LICENSE lisp/mailsync.el src/lib.rs test/toolchain.sh doc/mailsync-watch.1; do
    grep -qxF "$wanted" "$top/lines" || { echo "$wanted is not in it"; exit 1; }
done
[ "${1:-}" = real ] || exit 0

export SOURCE_DATE_EPOCH=1700000000
test/package/dist.sh "$top/one" >/dev/null
(umask 077 && "$top/copy/test/package/dist.sh" "$top/two" >/dev/null)
cmp "$top/one/mailsync-$version.tar.xz" "$top/two/mailsync-$version.tar.xz"

tar -x -C "$top" -f "$top/one/mailsync-$version.tar.xz"
cd "$top/mailsync-$version"
# Whence this machine has its crates is nobody's business.
! grep -rnE '^(registry|index|replace-with) *= *"?(sparse|https?)' .cargo || exit 1
mkdir "$top/home" "$top/cargo-home"
unset CARGO_TARGET_DIR
export RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" CARGO_HOME="$top/cargo-home" HOME="$top/home" CARGO_NET_OFFLINE=true
make EMACS="$emacs" >"$top/log" 2>&1 || { cat "$top/log"; exit 1; }
make install EMACS="$emacs" DESTDIR="$top/root" PREFIX=/usr >>"$top/log" 2>&1 || { cat "$top/log"; exit 1; }
[ "$("$top/root/usr/bin/mailsync-watch" --version)" = "mailsync-watch $version" ]
# shellcheck disable=SC2016
[ "$("$emacs" -Q --batch -L "$top/root/usr/share/emacs/site-lisp/mailsync" --eval '
  (progn (require (quote mailsync)) (mailsync-module-load) (princ (mailsync-module--version)))')" = "$version" ]
[ -z "$(ls -A "$top/cargo-home/registry" 2>/dev/null)" ] || { echo 'crates came from elsewhere'; exit 1; }
