#!/bin/bash
# Does what `make install' puts somewhere work from there?  It must have been built.
set -eu
cd "$(dirname "$0")/../.."
emacs=${EMACS:-emacs}
top=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-install.XXXXXX")
trap 'rm -rf "$top"' EXIT
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

expect() {
    [ "$2" = "$3" ] || { echo "$1: expected \"$2\", got \"$3\""; exit 1; }
}

# S61: nobody else may write to it, whatever the umask.
(umask 000 && make -s install DESTDIR="$top/all" PREFIX=/usr)
expect 'who may write to it' '' "$(find "$top/all/usr" -perm /022)"
expect 'the program' "mailsync-watch $version" "$("$top/all/usr/bin/mailsync-watch" --version)"
[ -r "$top/all/usr/share/man/man1/mailsync-watch.1" ] || { echo 'no manual'; exit 1; }
[ -r "$top/all/usr/share/emacs/site-lisp/mailsync/mailsync-offlineimap-worker.py" ] || { echo 'no worker'; exit 1; }
# shellcheck disable=SC2016
said=$(HOME=$top "$emacs" -Q --batch -L "$top/all/usr/share/emacs/site-lisp/mailsync" --eval '
  (progn (require (quote mailsync)) (mailsync-module-load) (princ (mailsync-module--version)))')
expect 'the module' "$version" "$said"

# All of the Lisp, with what was compiled of it; the module under its version; the manual.
for file in lisp/*.el lisp/*.elc lisp/mailsync-engine.*; do
    cmp "$file" "$top/all/usr/share/emacs/site-lisp/mailsync/${file##*/}"
done
[ -r "$top/all/usr/share/emacs/site-lisp/mailsync/mailsync.elc" ] || { echo 'nothing is compiled'; exit 1; }
expect 'who may read it' '' "$(find "$top/all/usr" ! -type d ! -perm -444 -o -type d ! -perm -555)"
expect 'a name of this place in what is installed' '' \
    "$(grep -rlF "$PWD" "$top/all/usr" || true)"
[ ! -e doc/mailsync.info ] || cmp doc/mailsync.info "$top/all/usr/share/info/mailsync.info"
touch "$top/all/usr/share/emacs/site-lisp/mailsync/.kept"
make -s uninstall DESTDIR="$top/all" PREFIX=/usr 2>/dev/null && { echo 'what is of others was removed'; exit 1; }
rm "$top/all/usr/share/emacs/site-lisp/mailsync/.kept"
make -s uninstall DESTDIR="$top/all" PREFIX=/usr
expect 'what is left' '' "$(find "$top/all" -type f)"

# Root, who has no Rust, is told what to do, and gets nothing that is older than its sources.
mkdir -p "$top/target/watch"
said=$(make -s install-watch CARGO=nonesuch CARGO_TARGET_DIR="$top/target" PREFIX="$top/none" 2>&1) && { echo 'nothing was installed'; exit 1; }
expect 'what is missing' "$top/target/watch/mailsync-watch is not there, or older than its sources: run 'make watch' first, as a user who has Rust" \
    "$(head -n 1 <<<"$said")"
touch -d '2001-01-01' "$top/target/watch/mailsync-watch"
make -s install-watch CARGO=nonesuch CARGO_TARGET_DIR="$top/target" PREFIX="$top/none" 2>/dev/null && { echo 'an old one was installed'; exit 1; }
expect 'what was installed' '' "$(find "$top/none" -type f 2>/dev/null)"
make -s install-watch CARGO=nonesuch PREFIX="$top/watch"
expect 'the program alone' "mailsync-watch $version" "$("$top/watch/bin/mailsync-watch" --version)"
expect 'what is installed' 'bin/mailsync-watch share/man/man1/mailsync-watch.1' \
    "$(cd "$top/watch" && find . -type f -printf '%P\n' | sort | xargs)"
# It does without Emacs and SQLite, and without libraries that a server may not have.
if command -v ldd >/dev/null; then
    ldd "$top/watch/bin/mailsync-watch" | grep -vE 'linux-vdso|libc\.so|libgcc_s|libm\.so|ld-linux' && exit 1
fi
size=$(wc -c <"$top/watch/bin/mailsync-watch")
[ "$size" -lt 3000000 ] || { echo "$size bytes: what is in it?"; exit 1; }
