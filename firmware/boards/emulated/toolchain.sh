#!/usr/bin/env bash
# Puts a compiler for bare-metal Arm into a folder of its own, and installs the emulator.
#
#   toolchain.sh DEST        then: . DEST/env
#                            and here: cargo run --release -Zbuild-std=core,alloc --target thumbv6m-none-eabi
#
# Needs Debian 12, root and a Rust toolchain with cargo. The compiler is Debian's own `rustc-web`,
# because it comes with the sources of `core` that fit it; it is unpacked into DEST (500 MB) and
# changes nothing about the Rust that is installed. A folder that is complete is left as it is.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: toolchain.sh DEST" >&2
    exit 2
fi
mkdir -p "$1"
dest=$(realpath "$1")
[ -e "$dest/env" ] && exit 0

say() { echo "toolchain: $*" >&2; }

say "looking for rustc-web"
apt-get -qq update
version=$(apt-cache madison rustc-web | awk -F '|' 'NR == 1 { gsub(/ /, "", $2); print $2 }')
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$(realpath "$0")")/Cargo.toml")
if [ -z "$version" ] || ! dpkg --compare-versions "$version" ge "$needed"; then
    say "this system offers rustc-web ${version:-not at all}, but $needed or newer is needed"
    exit 1
fi
series=$(echo "$version" | cut -d . -f 1,2)

say "fetching rustc-web $version and the sources of core"
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
# apt drops its rights to a user who must be able to write here.
chmod 755 "$packages"
(
    cd "$packages"
    apt-get -qq -o APT::Sandbox::User=root download \
        "rustc-web=$version" "libstd-rust-web-$series=$version" \
        "libstd-rust-web-dev=$version" "rust-web-src=$version"
)
for package in "$packages"/*.deb; do
    dpkg-deb --extract "$package" "$dest"
done

say "installing the emulator and the libraries that rustc-web needs"
libraries=$(apt-cache show "libstd-rust-web-$series=$version" | grep -o 'libllvm[0-9]*' | head -n 1)
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    qemu-system-arm "$libraries" > /dev/null

linker=$(find "$(rustc --print sysroot)/lib/rustlib" -name rust-lld -type f | head -n 1)
if [ -z "$linker" ]; then
    say "no rust-lld in $(rustc --print sysroot): install Rust with rustup"
    exit 1
fi

cat > "$dest/rustc" << EOF
#!/bin/sh
export LD_LIBRARY_PATH="$dest/usr/lib/$(uname -m)-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
exec "$dest/usr/bin/rustc" "\$@"
EOF
chmod +x "$dest/rustc"
"$dest/rustc" --version >&2

# Written last: it says that all the rest is there. RUSTC_BOOTSTRAP allows -Zbuild-std.
cat > "$dest/env.part" << EOF
export RUSTC="$dest/rustc"
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_THUMBV6M_NONE_EABI_LINKER="$linker"
EOF
mv "$dest/env.part" "$dest/env"
