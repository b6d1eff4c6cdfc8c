#!/bin/sh
# Make sure that the programs which a part of this project calls are there.
#   test/deps.sh [build|demo|test|bench|guard|info|screenshots]        (default: build)
# On Debian and its relatives what is missing is installed, as root or through a sudo that does not
# ask; anybody else gets the one line to run.  Rust is not looked at here: the Makefile does.
# EMACS is the Emacs to use (default: emacs), DEMO_BACKEND the demo's back end.
set -eu
part=${1:-build}
emacs=${EMACS:-emacs}
programs="" packages=""

has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

# need PROGRAM PACKAGE: PACKAGE is missing unless PROGRAM is there.
need() {
    has "$1" || missing "$1" "$2"
}

missing() {
    programs="$programs $1"
    packages="$packages $2"
}

# mbsync without the mechanisms of SASL, which its package only recommends, knows LOGIN and no other.
need_mbsync() {
    need mbsync isync
    ! has apt-get || ls /usr/lib/*/sasl2/libplain.so >/dev/null 2>&1 || missing "SASL's mechanisms" libsasl2-modules
}

has_package_lint() {
    [ -n "$("$(dirname "$0")/lint/package-lint-dir.sh")" ]
}

case $part in
build | demo | test | bench | guard | info | screenshots) ;;
*)
    echo "usage: test/deps.sh [build|demo|test|bench|guard|info|screenshots]" >&2
    exit 2
    ;;
esac
need "$emacs" emacs-nox
need cc gcc
[ -e /usr/include/stdio.h ] || [ "$(uname)" != Linux ] || missing 'the C library headers' libc6-dev
need make make
# Cargo fetches the crates over TLS.
[ -e /etc/ssl/certs/ca-certificates.crt ] || ! has apt-get || missing 'the certificates of authorities' ca-certificates
case $part in
demo)
    need python3 python3
    need dovecot dovecot-imapd
    need_mbsync
    ;;
test)
    need python3 python3
    need dovecot dovecot-imapd
    # Makes certificates.
    need openssl openssl
    need_mbsync
    need offlineimap offlineimap3
    need tmux tmux
    need ssh openssh-client
    need sshd openssh-server
    need dbus-daemon dbus-daemon
    # Another machine's file system, for the tests.
    [ "$(uname)" != Linux ] || need bindfs bindfs
    # Networks of our own.
    [ "$(uname)" != Linux ] || need ip iproute2
    # Counts instructions.
    [ "$(uname)" != Linux ] || need valgrind valgrind
    need shellcheck shellcheck
    need makeinfo texinfo
    has_package_lint || missing package-lint elpa-package-lint
    ;;
info) need makeinfo texinfo ;;
guard)
    need python3 python3
    need valgrind valgrind
    ;;
screenshots)
    need python3 python3
    need_mbsync
    need dovecot dovecot-imapd
    need tmux tmux
    need openssl openssl
    need ssh openssh-client
    /usr/bin/python3 -c 'import PIL' 2>/dev/null || python3 -c 'import PIL' 2>/dev/null ||
        missing 'the imaging library of Python' python3-pil
    [ -e /usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf ] || missing 'DejaVu Sans Mono' fonts-dejavu-core
    ;;
bench)
    need python3 python3
    need inotifywait inotify-tools
    need emacsclient emacs-bin-common
    need_mbsync
    need offlineimap offlineimap3
    need dovecot dovecot-imapd
    need strace strace
    need ssh openssh-client
    need sshd openssh-server
    ;;
esac

if [ -n "$packages" ]; then
    if ! has apt-get; then
        echo "Missing:$programs.  Please install them with your system's package manager." >&2
        exit 1
    fi
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif has sudo && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        echo "Missing:$programs.  Please run this line, then try again:" >&2
        echo "sudo apt-get update && sudo apt-get install -y --no-install-recommends$packages" >&2
        exit 1
    fi
    echo "Installing:$packages" >&2
    # The package lists may be absent or stale: update when the first try fails.  A Dovecot or
    # sshd that is installed for the tests' private servers must not start as a service of the system.
    # shellcheck disable=SC2086,SC2016
    $as_root sh -c '
        set -eu
        export DEBIAN_FRONTEND=noninteractive
        policy=/usr/sbin/policy-rc.d
        case " $* " in
        *" dovecot-imapd "* | *" openssh-server "*)
            if [ ! -e $policy ]; then
                trap "rm -f $policy" EXIT
                printf "#!/bin/sh\nexit 101\n" >$policy
                chmod 755 $policy
            fi
            ;;
        esac
        install() { apt-get install -y --no-install-recommends "$@" </dev/null; }
        if ! install "$@" >/dev/null 2>&1; then
            apt-get update
            install "$@"
        fi
        case " $* " in
        *" dovecot-imapd "*)
            [ ! -d /run/systemd/system ] || systemctl disable --now dovecot.socket dovecot.service || true
            ;;
        esac
        case " $* " in
        *" openssh-server "*)
            [ ! -d /run/systemd/system ] || systemctl disable --now ssh.socket ssh.service || true
            ;;
        esac
    ' sh $packages >&2
fi

# Whatever Emacs it is, it must be able to load the module.
if ! "$emacs" -Q --batch --eval '(kill-emacs (if (and (>= emacs-major-version 28) module-file-suffix) 0 1))' </dev/null
then
    echo "$emacs is older than Emacs 28 or was built without support for modules." >&2
    echo "Please install another one, or name it: make EMACS=/path/to/emacs" >&2
    exit 1
fi
