#!/usr/bin/env bash
# Makes this machine able to build gazed for Arm: 64 bits (Raspberry Pi 3 and later) or 32 (2 and later).
#
#   toolchain.sh DEST arm64  then: . DEST/env-arm64 && cargo build --target aarch64-unknown-linux-gnu
#   toolchain.sh DEST armhf  then: . DEST/env-armhf && cargo build --target armv7-unknown-linux-gnueabihf
#
# Needs Debian 12, root and a Rust toolchain with cargo. Linker and C compiler are Debian's packages. The
# standard library is the installed Rust's, if it has one for this target (`rustup target add …`); else
# for arm64 Debian's `rustc-web` is unpacked into DEST with its own (there is none for armhf). The result
# needs glibc 2.34: Raspberry Pi OS and Debian 12 or later. A folder that is complete is left as it is.
set -euo pipefail

case "${2-}" in
arm64) target=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu ;;
armhf) target=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf ;;
*)
    echo "usage: toolchain.sh DEST arm64|armhf" >&2
    exit 2
    ;;
esac
architecture=$2
mkdir -p "$1"
dest=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
[ -e "$dest/env-$architecture" ] && exit 0

say() { echo "toolchain: $*" >&2; }

say "installing the cross compiler for C and the linker"
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    "gcc-$gnu" "g++-$gnu" "libc6-dev-$architecture-cross" > /dev/null

compiler=
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    if [ "$architecture" = armhf ]; then
        say "the installed Rust has no standard library for $target: rustup target add $target"
        exit 1
    fi
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
name=${target//-/_}
cat > "$dest/env-$architecture.part" << WORDS
$compiler
export CARGO_TARGET_${name^^}_LINKER=$gnu-gcc
export CC_$name=$gnu-gcc
export CXX_$name=$gnu-g++
export AR_$name=$gnu-ar
WORDS
mv "$dest/env-$architecture.part" "$dest/env-$architecture"
