#!/usr/bin/env bash
# Runs a program of another architecture by qemu-user, in a root directory of its own, where this project lies under its
# own name. The kernel has to know by binfmt how to start such programs; scripts/build-aarch64.sh tells it.
#   run-in-root.sh ROOT PROGRAM ARGUMENT…
set -euo pipefail
[ "$(id -u)" -eq 0 ] || exec sudo --preserve-env "$0" "$@"
project=$(cd "$(dirname "$0")/../.." && pwd)
root=$1 program=$(realpath "$2")
shift 2
export PATH=/usr/bin:/bin HOME=/tmp TMPDIR=/tmp LANG=C.UTF-8
# Alternatives of Debian were never set up there: their folders are named.
export LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/blas:/usr/lib/aarch64-linux-gnu/lapack:/usr/lib/aarch64-linux-gnu/pulseaudio
# Mounts and processes of its own, which end with it.
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
