#!/bin/bash
# dist.sh DIRECTORY: make mailsync-VERSION.tar.xz there, from which mailsync builds without a network: this
# tree's files, the crates of Cargo.lock in vendor/, and the configuration that has cargo look there.
# The same tree makes the same bytes: names are sorted, owners nobody, times those of SOURCE_DATE_EPOCH, or of
# the last commit, or (outside of a repository) of NEWS.org's newest entry.
set -eu
out=$(realpath "$1")
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=mailsync-$version
top=$(mktemp -d "${TMPDIR:-/tmp}/mailsync-dist.XXXXXX")
trap 'rm -rf "$top"' EXIT
umask 022

epoch=${SOURCE_DATE_EPOCH:-}
[ -n "$epoch" ] || [ ! -e .git ] || epoch=$(git log -1 --format=%ct 2>/dev/null) || epoch=
[ -n "$epoch" ] || epoch=$(date -u +%s -d "$(sed -n 's/^\* \([0-9-]*\), version .*/\1/p' NEWS.org | head -n 1)")

mkdir "$top/$name"
test/package/sources.sh | tar -c --null -T - | tar -x -C "$top/$name"
cd "$top/$name"
# Its own word on what to configure would name the registry of this machine.
"$cargo" vendor --quiet --locked --versioned-dirs vendor >/dev/null
# Half of it is what only Windows would need, for which there is no mailsync.  Cargo wants to see that these crates
# are there; that nothing is in them it learns when it builds one.
for crate in vendor/windows*; do
    find "$crate" -mindepth 1 -maxdepth 1 ! -name Cargo.toml ! -name .cargo-checksum.json ! -name 'license*' -exec rm -r {} +
    mkdir "$crate/src"
    : >"$crate/src/lib.rs"
    : >"$crate/build.rs"
    sed -i 's/"files":{[^}]*}/"files":{}/' "$crate/.cargo-checksum.json"
done
mkdir -p .cargo
cat >.cargo/config.toml <<'CONFIG'
# The crates are in this tarball: nothing comes from the network.
[source.crates-io]
replace-with = "vendored-sources"

[source.vendored-sources]
directory = "vendor"
CONFIG
cd ..
mkdir -p "$out"
tar -c --format=ustar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s "$name" |
    xz -T2 --block-size=16MiB >"$out/$name.tar.xz.tmp"
mv -f "$out/$name.tar.xz.tmp" "$out/$name.tar.xz"
printf '%s\n' "$out/$name.tar.xz"
