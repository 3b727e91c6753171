#!/usr/bin/env bash
# Makes this machine able to build gazed for 64-bit Arm (Raspberry Pi 3 and later).
#
#   toolchain.sh DEST        then: . DEST/env-arm64 && cargo build --target aarch64-unknown-linux-gnu
#
# Needs Debian 12, root and a Rust toolchain with cargo. Linker and C compiler are Debian's packages. The
# standard library is the installed Rust's, if it has one for this target (`rustup target add
# aarch64-unknown-linux-gnu`); else Debian's `rustc-web` is unpacked into DEST with its own. The result
# needs glibc 2.34: Raspberry Pi OS and Debian 12 or later. A folder that is complete is left as it is.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: toolchain.sh DEST" >&2
    exit 2
fi
mkdir -p "$1"
dest=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
target=aarch64-unknown-linux-gnu
[ -e "$dest/env-arm64" ] && exit 0

say() { echo "toolchain: $*" >&2; }

say "installing the cross compiler for C and the linker"
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross > /dev/null

compiler=
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    "$here/../../firmware/boards/emulated/toolchain.sh" "$dest"
    version=$(apt-cache madison rustc-web | awk -F '|' 'NR == 1 { gsub(/ /, "", $2); print $2 }')
    say "fetching the standard library of rustc-web $version for arm64"
    # apt's lists for the other architecture, in a folder of their own: this machine stays as it is.
    apt=$(mktemp -d)
    trap 'rm -rf "$apt"' EXIT
    chmod 755 "$apt"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/packages"
    : > "$apt/status"
    foreign="-o Dir::State::Lists=$apt/lists -o Dir::State::status=$apt/status -o Dir::Cache=$apt/cache
        -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root"
    # shellcheck disable=SC2086 # a list of options
    (
        cd "$apt/packages"
        apt-get -qq $foreign update
        apt-get -qq $foreign download "libstd-rust-web-dev:arm64=$version"
    )
    dpkg-deb --extract "$apt"/packages/*.deb "$dest"
    compiler="export RUSTC=\"$dest/rustc\""
fi

# Written last: it says that all the rest is there.
cat > "$dest/env-arm64.part" << WORDS
$compiler
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
WORDS
mv "$dest/env-arm64.part" "$dest/env-arm64"
