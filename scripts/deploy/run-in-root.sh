#!/usr/bin/env bash
# Runs a program of another architecture with qemu-user in a chroot, in which this project is mounted at the same path.
# binfmt must be set up for such programs; scripts/build-aarch64.sh does that.
#   run-in-root.sh ROOT PROGRAM ARGUMENT…
set -euo pipefail
[ "$(id -u)" -eq 0 ] || exec sudo --preserve-env "$0" "$@"
project=$(cd "$(dirname "$0")/../.." && pwd)
root=$1 program=$(realpath "$2")
shift 2
export PATH=/usr/bin:/bin HOME=/tmp TMPDIR=/tmp LANG=C.UTF-8
# Debian's alternatives are not set up in the chroot, so their directories are listed.
export LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/blas:/usr/lib/aarch64-linux-gnu/lapack:/usr/lib/aarch64-linux-gnu/pulseaudio
# Own mount and process namespaces, which end with the program.
# shellcheck disable=SC2016 # the inner shell expands it
exec /usr/bin/unshare --mount --pid --fork --kill-child --propagation private /bin/bash -c '
  set -eu
  root=$1 project=$2 folder=$3
  shift 3
  mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root$project"
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  mount --bind "$project" "$root$project"
  exec /usr/sbin/chroot "$root" /usr/bin/env -C "$folder" "$@"' \
  run-in-root "$root" "$project" "$PWD" "$program" "$@"
