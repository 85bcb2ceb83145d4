#!/usr/bin/env bash
# Tries the README on a fresh Debian, as an ordinary user: sudo tools/try_debian.sh SUITE FOLDER
#
#   sudo tools/try_debian.sh bookworm /var/tmp/debian12     # Debian 12
#   sudo tools/try_debian.sh trixie /var/tmp/debian13       # Debian 13
#
# It makes a minimal root by debootstrap (kept for the next call), installs the packages of the
# README's own apt-get line, and runs `make demo` on a copy of the committed state. PIP_* variables
# are passed on; folders that they name (a local index) are given by BIND="/folder /other".
set -euo pipefail

[ $# -eq 2 ] || { sed -n '2,10s/^# \?//p' "$0"; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo 'try_debian: debootstrap and chroot need root' >&2; exit 2; }
suite=$1 root=$(realpath -m -- "$2")
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
packages=$(sed -n 's/^ *sudo apt-get install \(.*\)$/\1/p' "$checkout/README.md" | head -1)
[ -n "$packages" ] || { echo 'try_debian: README.md has no apt-get line' >&2; exit 2; }
mounts=(proc dev dev/shm)

# In reverse: what was mounted last goes first.
unmount() {
  local index
  for ((index = ${#mounts[@]} - 1; index >= 0; index--)); do
    mountpoint -q "$root/${mounts[index]}" && umount "$root/${mounts[index]}"
  done
  return 0
}
trap unmount EXIT

[ -x "$root/bin/bash" ] || debootstrap --variant=minbase --include=ca-certificates "$suite" "$root"
unmount
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
for folder in ${BIND:-}; do
  mkdir -p "$root/$folder"
  mount --bind "$folder" "$root/$folder"
  mounts+=("${folder#/}")
done
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
[ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/pip.conf"

inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
inside apt-get update -q
# shellcheck disable=SC2086 # a list of packages
inside DEBIAN_FRONTEND=noninteractive apt-get install -y -q $packages
inside id newcomer >/dev/null 2>&1 || inside useradd --create-home --home-dir /srv/newcomer --shell /bin/bash newcomer
home=$root/srv/newcomer
rm -rf "$home/decomr"
mkdir "$home/decomr"
git -C "$checkout" archive HEAD | tar -x -C "$home/decomr"
inside chown -R newcomer: /srv/newcomer/decomr

mapfile -t pip_settings < <(env | grep '^PIP_' || true)
inside su newcomer -c "cd ~/decomr && env $(printf '%q ' "${pip_settings[@]}") make demo"
echo "try_debian: make demo works on $suite with: $packages"
