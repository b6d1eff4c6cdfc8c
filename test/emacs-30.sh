#!/bin/bash
# Print the path of an Emacs 30 or later for the tests.
# EMACS30 (environment) names one; the installed one is taken if it is new enough.  Otherwise Debian's
# backport is unpacked beside the installed Emacs, below test/.cache/, without installing anything:
# the sources are the machine's own, with the suite replaced.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$here/.cache/emacs-30

is_30() { "$1" -Q --batch --eval '(kill-emacs (if (>= emacs-major-version 30) 0 1))' >/dev/null 2>&1 </dev/null; }

for candidate in "${EMACS30:-}" "${EMACS:-emacs}"; do
    if [ -n "$candidate" ] && is_30 "$candidate"; then
        command -v "$candidate"
        exit 0
    fi
done
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "Emacs 30 is needed: install it, or name one in EMACS30." >&2
    exit 1
fi

mkdir -p "$here/.cache"
exec 9>"$here/.cache/emacs-30.lock"
flock 9
if [ -x "$cache/emacs" ] && is_30 "$cache/emacs"; then
    printf '%s\n' "$cache/emacs"
    exit 0
fi

work=$(mktemp -d "$here/.cache/emacs-30.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/root"

# The machine's own line for its release, and the same with the backports suite.
# shellcheck disable=SC1091
codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
option=
[ ! -r "$keyring" ] || option="[signed-by=$keyring] "
# shellcheck disable=SC2016
apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
    while read -r uri release component; do
        case "$release $component" in
        "$codename main" | "stable main" | "oldstable main")
            printf 'deb %s%s %s main\n' "$option" "$uri" "$codename" "$option" "$uri" "$codename-backports"
            ;;
        esac
    done | sort -u >"$work/apt/sources.list"
if [ ! -s "$work/apt/sources.list" ]; then
    echo "No apt source for $codename found: install Emacs 30, or name one in EMACS30." >&2
    exit 1
fi

apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 "$@" </dev/null >&2
}
cd "$work/apt"
apt update
# The suite by name: backports never come by themselves.
apt download -t "$codename-backports" emacs-nox emacs-common emacs-bin-common emacs-el
apt download libtree-sitter0
for package in ./*.deb; do dpkg-deb -x "$package" "$work/root"; done
cd "$here"
# Whatever the packages' dates: what is compiled is not older than its source.
find "$work/root" -name '*.elc' -exec touch {} +

# The wrapper finds its files beside itself, so that the tree may be moved.
set -- "$work"/root/usr/share/emacs/[0-9]*
version=${1##*/}
# shellcheck disable=SC2016
loadpath=$(cd "$work/root" && find "usr/share/emacs/$version/lisp" -type d | sort |
    while read -r dir; do printf '$root/%s:' "$dir"; done)
set -- "$work/root/usr/libexec/emacs/$version"/*
archlib=usr/libexec/emacs/$version/${1##*/}
set -- "$work/root/$archlib"/*.pdmp
# Emacs looks for its dump here first; so does one that is started by its own name from within it.
ln -s "../../$archlib/${1##*/}" "$work/root/usr/bin/emacs-nox.pdmp"
cat >"$work/emacs" <<WRAPPER
#!/bin/sh
# Written by test/emacs-30.sh.
root=\$(cd "\$(dirname "\$0")/root" && pwd)
export EMACSLOADPATH="${loadpath%:}"
export EMACSDATA="\$root/usr/share/emacs/$version/etc" EMACSDOC="\$root/usr/share/emacs/$version/etc"
export EMACSPATH="\$root/$archlib"
export LD_LIBRARY_PATH="\$root/usr/lib/${archlib##*/}\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
# No native compilation in the background: its processes would not find their dump.
exec "\$root/usr/bin/emacs-nox" \\
    --eval '(setq native-comp-jit-compilation nil native-comp-enable-subr-trampolines nil)' "\$@"
WRAPPER
chmod 755 "$work/emacs"
if ! is_30 "$work/emacs"; then
    echo "The unpacked Emacs $version does not run:" >&2
    "$work/emacs" -Q --batch >&2 </dev/null || true
    exit 1
fi
rm -rf "$work/apt" "$cache"
chmod 755 "$work"
mv "$work" "$cache"
printf '%s\n' "$cache/emacs"
