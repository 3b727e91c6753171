#!/usr/bin/env bash
# Builds the virtual Pi: an arm64 Debian 13 (trixie) with systemd and a V4L2 camera, for QEMU.
#
#   machine.sh DEST          leaves DEST/kernel, DEST/initrd and DEST/disk.img
#
# Needs Debian 12 or later and root. The camera is the kernel's `vivid`. Userland comes from mmdebstrap, its
# scripts run by qemu-user; kernel and modules are unpacked here, for an emulated machine takes minutes
# for that. A folder that is complete is left as it is.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: machine.sh DEST" >&2
    exit 2
fi
mkdir -p "$1"
dest=$(realpath "$1")
suite=trixie
[ -e "$dest/disk.img" ] && exit 0

say() { echo "machine: $*" >&2; }

say "installing what builds and runs it"
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    cpio e2fsprogs kmod mmdebstrap qemu-system-arm qemu-user-static xz-utils > /dev/null
mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
[ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] ||
    tail -n 1 /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register

# The mirror that this machine uses already, with its key.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' |
    grep -E '/debian/?$' | sort -u | head -n 1)
key=/usr/share/keyrings/debian-archive-keyring.gpg

system=$dest/system
rm -rf "$system" "$dest/parts"
mkdir -p "$dest/parts"
say "unpacking $suite"
mmdebstrap --quiet --architectures=arm64 --variant=minbase --skip=check/qemu \
    --include=systemd-sysv,udev,dbus,libpam-systemd,kmod,login,procps,strace,psmisc \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' "$suite" "$system" "$mirror"

say "unpacking the kernel"
apt=$dest/parts/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/packages"
: > "$apt/status"
echo "deb [signed-by=$key] $mirror $suite main" > "$apt/sources.list"
options="-o Dir::Etc::sourcelist=$apt/sources.list -o Dir::Etc::sourceparts=- -o Dir::State::Lists=$apt/lists
    -o Dir::State::status=$apt/status -o Dir::Cache=$apt/cache -o APT::Architecture=arm64
    -o APT::Architectures::=arm64 -o APT::Sandbox::User=root"
# shellcheck disable=SC2086 # a list of options
(
    cd "$apt/packages"
    apt-get -qq $options update
    image=$(apt-cache $options depends linux-image-arm64 |
        sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    apt-get -qq $options download "$image" busybox-static
    for package in *.deb; do dpkg-deb --extract "$package" "$dest/parts/kernel"; done
)
version=$(basename "$dest"/parts/kernel/boot/vmlinuz-*)
version=${version#vmlinuz-}
cp "$dest/parts/kernel/boot/vmlinuz-$version" "$dest/kernel"
# Debian 13 has its modules below /usr; modprobe and depmod of Debian 12 look below /lib.
[ -e "$dest/parts/kernel/lib" ] || ln -s usr/lib "$dest/parts/kernel/lib"
depmod -b "$dest/parts/kernel" "$version"

# Prints the files of modules and of what they need, in the order of loading.
modules() {
    for module in "$@"; do
        modprobe -d "$dest/parts/kernel" -S "$version" --show-depends "$module" 2> /dev/null |
            awk '$1 == "insmod" { print $2 }'
    done | awk '!seen[$0]++'
}

# The disk keeps the modules of the camera, the loop device and input devices alone: all of them are 400 MB.
modules vivid loop autofs4 evdev uinput | while read -r file; do
    to=$system/usr/lib/modules/$version/${file#*/modules/"$version"/}
    mkdir -p "$(dirname "$to")"
    cp "$file" "$to"
done
cp "$dest/parts/kernel/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$system/usr/lib/modules/$version/"
depmod -b "$system" "$version"

say "making the initial RAM disk"
initrd=$dest/parts/initrd
mkdir -p "$initrd"/{bin,modules,proc,sys,dev,system}
cp "$dest/parts/kernel/usr/bin/busybox" "$initrd/bin/busybox"
modules virtio_pci virtio_blk ext4 | while read -r file; do
    name=$(basename "$file" .xz)
    case $file in
        *.xz) xz -dc "$file" > "$initrd/modules/$name" ;;
        *) cp "$file" "$initrd/modules/$name" ;;
    esac
    echo "$name" >> "$initrd/order"
done
cat > "$initrd/init" << 'INIT'
#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
$busybox mount -t devtmpfs dev /dev
for module in $($busybox cat /order); do $busybox insmod /modules/$module; done
while [ ! -b /dev/vda ]; do $busybox sleep 0.1; done
$busybox mount -t ext4 /dev/vda /system
$busybox mount --move /dev /system/dev
$busybox umount /sys /proc
exec $busybox switch_root /system "$(test "$instead" && echo "$instead" || echo /sbin/init)"
INIT
chmod +x "$initrd/init"
(cd "$initrd" && find . | cpio -o -H newc --quiet | gzip -1) > "$dest/initrd"

say "making the disk"
echo pi > "$system/etc/hostname"
# root logs in on the serial line without a password; nothing else is reachable.
sed -i 's/^root:[^:]*:/root::/' "$system/etc/shadow"
echo vivid > "$system/etc/modules-load.d/camera.conf"
echo 'options vivid n_devs=1 node_types=0x1' > "$system/etc/modprobe.d/camera.conf"
echo '/dev/vda / ext4 defaults 0 1' > "$system/etc/fstab"
# What is not there to be found missing for a minute at each start.
for unit in systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer; do
    ln -sf /dev/null "$system/etc/systemd/system/$unit"
done
rm -f "$dest/disk.part"
truncate -s 1G "$dest/disk.part"
mkfs.ext4 -q -F -d "$system" "$dest/disk.part"
rm -rf "$dest/parts" "$system"
mv "$dest/disk.part" "$dest/disk.img"
say "done: $(du -h "$dest/disk.img" | cut -f 1) of disk"
