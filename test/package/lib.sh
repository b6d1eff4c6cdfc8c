# shellcheck shell=bash
# What installs mailsync shares: which cargo it finds.  Sourced, from the top of the tree.

# cargo_is HOW TOP: `real' is the one that is installed; else what has been built here stands in for what it
# would build, by a program below the directory TOP.  The Emacs there has a home of its own, where no toolchain is.
cargo_is() {
    export CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"
    if [ "$1" = real ]; then
        # The crates need not be built again.
        CARGO_TARGET_DIR=$(realpath "${CARGO_TARGET_DIR:-target}")
        export CARGO_TARGET_DIR
    else
        mkdir "$2/bin"
        cp test/package/fake-cargo.sh "$2/bin/cargo"
        export MAILSYNC_BUILT=$PWD/lisp PATH="$2/bin:$PATH"
    fi
    unset CARGO
}
