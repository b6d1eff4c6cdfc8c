#!/bin/bash
# Does what README.org says to type work on a machine that has nothing?
#   test/package/fresh.sh [SUITE...]          (default: bookworm trixie)
# For each: an empty Debian below a temporary directory, of the mirror that this machine's apt has; the Rust
# toolchain of this machine, and the crates that it has fetched; this tree.  There README's lines are typed as they
# are written: those that install what is needed, `make', and `make demo' without a terminal.
# Needs root and 3 GB; everything is mounted in a namespace of its own, and gone with it.  FRESH_LOG is a directory
# for what was printed (default: none is kept unless something fails).
set -eu
if [ "${FRESH_INSIDE:-}" != yes ]; then
    cd "$(dirname "$0")/../.."
    if [ "$(id -u)" -ne 0 ]; then
        echo 'skip  test/package/fresh.sh needs root'
        exit 0
    fi
    [ $# -gt 0 ] || set -- bookworm trixie
    # No process and no mount survives the one that is started here.
    FRESH_INSIDE=yes exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
        "$PWD/test/package/fresh.sh" "$@"
fi
PATH=$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin
top=$(mktemp -d "${TMPDIR:-/var/tmp}/mailsync-fresh.XXXXXX")
# What is mounted there goes first: what is below is this machine's.
clean() {
    cd /
    awk -v top="$top/" 'index($2, top) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r place; do
        umount "$place" || umount -l "$place"
    done
    if grep -qF " $top/" /proc/self/mounts; then
        echo "still mounted, and left: $top"
    else
        rm -rf --one-file-system "$top"
    fi
}
trap clean EXIT
trap 'exit 143' TERM INT

# The mirror for Debian itself.
# shellcheck disable=SC1091
codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
# shellcheck disable=SC2016
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' 2>/dev/null |
    awk -v suite="$codename" '$2 == suite && $3 == "main" { print $1; exit }')
if [ -z "$mirror" ]; then
    echo 'skip  no Debian mirror is known here'
    exit 0
fi
if command -v debootstrap >/dev/null; then
    debootstrap=debootstrap
else
    # A script and its data: it need not be installed.
    mkdir "$top/deb"
    (cd "$top/deb" && apt-get -q -o APT::Sandbox::User=root download debootstrap >/dev/null && dpkg-deb -x ./*.deb .) || {
        echo 'skip  debootstrap is not to be had'
        exit 0
    }
    export DEBOOTSTRAP_DIR="$top/deb/usr/share/debootstrap"
    debootstrap="$top/deb/usr/sbin/debootstrap"
fi
sysroot=$(rustc --print sysroot)
registry=${CARGO_HOME:-$HOME/.cargo}/registry

# The lines of a block of README.org: the first `sh' one after the line that begins so.
lines() {
    awk -v after="$1" 'index($0, after) == 1 { on = 1 }
        on && /^#\+end_src/ { exit }
        copying { sub(/^  /, ""); print }
        on && /^#\+begin_src sh/ { copying = 1 }' README.org
}

failed=0 passed=0
step() {
    local what=$1 began=$SECONDS
    shift
    if "$@" >>"$log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        printf 'ok    %4ds  %s, %s\n' $((SECONDS - began)) "$suite" "$what"
    else
        failed=$((failed + 1))
        printf 'FAIL  %4ds  %s, %s\n' $((SECONDS - began)) "$suite" "$what"
        tail -n 40 "$log" | sed 's/^/    | /'
        return 1
    fi
}

# As root in the new system, as from a login: nothing of this one's environment but the way to the network.
inside() {
    local variable set=()
    for variable in http_proxy https_proxy no_proxy; do
        [ -z "${!variable:-}" ] || set+=("$variable=${!variable}")
    done
    chroot "$root" /usr/bin/env -i HOME=/root USER=root TERM=dumb LANG=C.UTF-8 "${set[@]}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/rust/bin \
        bash -euc "cd /root/mailsync; $1"
}

try() {
    step 'an empty system' "$debootstrap" --variant=minbase "$suite" "$root" "$mirror" || return 0
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    # A host name and the way to the network, and no more of this machine.
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    mkdir -p "$root/opt/rust" "$root/root/.cargo/registry" "$root/root/mailsync"
    mount --bind "$sysroot" "$root/opt/rust"
    mount -o remount,bind,ro "$root/opt/rust"
    for part in cache index; do
        [ ! -d "$registry/$part" ] || cp -r "$registry/$part" "$root/root/.cargo/registry/"
    done
    test/package/sources.sh | tar -c --null -T - | tar -x --no-same-owner -C "$root/root/mailsync"
    step 'what README says to install' inside "apt-get update; $(lines 'On Debian this line') </dev/null" || return 0
    step 'make' inside "$(lines 'In a checkout')" || return 0
    step 'the module loads' inside 'emacs -Q --batch -L lisp --eval "(progn (require (quote mailsync)) (mailsync-module-load))"'
    step 'make demo' inside "export DEBIAN_FRONTEND=noninteractive; $(lines '* Try it') </dev/null" || return 0
    step 'make install' inside 'make install && mailsync-watch --version' || return 0
}

for suite; do
    root=$top/$suite
    log=$top/$suite.log
    : >"$log"
    # Not every mirror has every release.
    if ! /usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file "${mirror%/}/dists/$suite/InRelease" \
        "$top/Release" >>"$log" 2>&1; then
        echo "skip  the mirror of this machine has no $suite"
        continue
    fi
    try
    [ -z "${FRESH_LOG:-}" ] || cp "$log" "$FRESH_LOG/"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
