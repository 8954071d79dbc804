#!/usr/bin/env bash
# Boots a machine to deploy to: Debian 12 from debootstrap, in systemd-nspawn with its own network namespace, with sshd and a
# user who has a password and may use sudo. It can reach only this machine. Needs root.
#
#   host.sh start     boots a fresh machine and prints its address
#   host.sh reboot    kills it and boots it again with its disk
#   host.sh stop      kills it and deletes its disk
#   host.sh run …     runs a command in it as root
#
# HOMEREEL_DEPLOY_CACHE [default: ~/.cache/homereel] keeps the base system: the first start takes two minutes, later ones
# seconds.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/dependencies.sh
. scripts/dependencies.sh

name=${HOMEREEL_DEPLOY_HOST:-hr-deploy}
cache=${HOMEREEL_DEPLOY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/homereel}
base=$cache/deploy-root
place=${HOMEREEL_DEPLOY_PLACE:-/var/tmp/$name}
group=/sys/fs/cgroup/memory/$name
address=10.231.77.2 ours=10.231.77.1
# shellcheck disable=SC2016 # contains characters that would have an effect if anything expanded it
user=op password='Pass wörd $(id) "1'
packages=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,curl,ca-certificates,iproute2,procps,python3
packages+=,libavcodec59,libavformat59,libavutil57,libswscale6,libswresample4,libavfilter8

# Creates the base system once. apt installs ffmpeg, because debootstrap cannot choose between alternative dependencies.
make_base() {
  [ -f "$base/.complete" ] && return
  need_packages debootstrap
  say "creating the Debian 12 base system in $base (once)"
  rm -rf "$base"
  mkdir -p "$base"
  debootstrap --variant=minbase --include="$packages" bookworm "$base" http://deb.debian.org/debian >"$cache/debootstrap.log" 2>&1 \
    || die "debootstrap failed: $(tail -n 3 "$cache/debootstrap.log")"
  chroot "$base" apt-get install -y --no-install-recommends -q ffmpeg python3 >>"$cache/debootstrap.log" 2>&1 || die "failed to install ffmpeg: $(tail -n 3 "$cache/debootstrap.log")"
  rm -f "$base"/var/cache/apt/archives/*.deb "$base"/etc/ssh/ssh_host_*
  touch "$base/.complete"
}

# Mounts a fresh disk on top of the base system.
make_disk() {
  mkdir -p "$place/upper" "$place/work" "$place/root"
  mount -t overlay "$name" -o "lowerdir=$base,upperdir=$place/upper,workdir=$place/work" "$place/root"
}

settle() {
  local disk=$place/root
  echo "$name" >"$disk/etc/hostname"
  rm -f "$disk/etc/machine-id"
  : >"$disk/etc/machine-id"
  printf '127.0.0.1 localhost %s\n::1 localhost\n' "$name" >"$disk/etc/hosts"
  chroot "$disk" useradd --create-home --shell /bin/bash --groups sudo "$user"
  printf '%s:%s\n' "$user" "$password" | chroot "$disk" chpasswd
  chroot "$disk" ssh-keygen -A >/dev/null
  mkdir -p "$disk/etc/ssh/sshd_config.d"
  printf 'PasswordAuthentication yes\nUseDNS no\n' >"$disk/etc/ssh/sshd_config.d/test.conf"
  # The address is set from outside, in the network namespace.
  chroot "$disk" systemctl -q mask systemd-networkd.service systemd-resolved.service systemd-timesyncd.service 2>/dev/null || true
}

network() {
  ip netns list | grep -qw "$name" && return
  ip netns add "$name"
  ip link add "$name-0" type veth peer name host0 netns "$name"
  ip addr add "$ours/30" dev "$name-0"
  ip link set "$name-0" up
  ip -n "$name" addr add "$address/30" dev host0
  ip -n "$name" link set host0 up
  ip -n "$name" link set lo up
}

boot() {
  mkdir -p /run/systemd/nspawn
  local bind=()
  [ -z "${HOMEREEL_DEPLOY_BIND:-}" ] || bind+=("--bind-ro=$HOMEREEL_DEPLOY_BIND")
  # Version 1 control groups are not available in a container: a small one is created outside and bound into it.
  if [ -d /sys/fs/cgroup/memory ]; then
    mkdir -p "$group"
    echo 1000M >"$group/memory.limit_in_bytes"
    bind+=("--bind-ro=$group:/srv/small-group")
  fi
  # Unlike usual containers, allow locking memory and Landlock.
  bind+=(--capability=CAP_IPC_LOCK "--system-call-filter=@memlock landlock_create_ruleset landlock_add_rule landlock_restrict_self")
  setsid systemd-nspawn -q --register=no --keep-unit --machine="$name" --directory="$place/root" \
    --network-namespace-path="/run/netns/$name" --resolv-conf=off --timezone=off "${bind[@]}" -b \
    >"$place/console" 2>&1 </dev/null &
  echo $! >"$place/pid"
  for _ in $(seq 300); do
    # Booted once systemd is running and sshd answers.
    if running 2>/dev/null && timeout 1 bash -c "exec 3<>/dev/tcp/$address/22 && read -r -t 1 line <&3 && [[ \$line == SSH* ]]" 2>/dev/null; then
      return 0
    fi
    kill -0 "$(cat "$place/pid")" 2>/dev/null || { tail -n 20 "$place/console" >&2; die "the host exited while booting"; }
    sleep 0.2
  done
  tail -n 20 "$place/console" >&2
  die "the host did not boot in time"
}

# Prints the process id of the host's pid 1.
leader() {
  local pid
  pid=$(cat "$place/pid" 2>/dev/null) && awk '{print $1}' "/proc/$pid/task/$pid/children" 2>/dev/null
}

run() { nsenter --target "$(leader)" --mount --uts --ipc --net --pid --cgroup --root --wdns=/ -- "$@"; }

running() {
  [ -n "$(leader)" ] || return 1
  case $(run systemctl is-system-running 2>/dev/null) in running | degraded) return 0 ;; esac
  return 1
}

halt() {
  local pid
  pid=$(cat "$place/pid" 2>/dev/null) || return 0
  # Killed without a shutdown, like a power cut.
  if grep -qs systemd-nspawn "/proc/$pid/comm"; then
    kill -KILL "$(leader)" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$place/pid"
}

stop() {
  halt
  mountpoint -q "$place/root" 2>/dev/null && umount "$place/root"
  ip netns del "$name" 2>/dev/null || true
  ip link del "$name-0" 2>/dev/null || true
  rm -rf "$place"
  rmdir "$group" 2>/dev/null || true
}

[ "$(id -u)" = 0 ] || die "the deploy tests need root to boot a machine"
case ${1:-} in
  start)
    need_packages systemd-container iproute2 openssh-client
    stop
    make_base
    make_disk
    settle
    network
    boot
    echo "$address" ;;
  reboot) halt; boot ;;
  stop) stop ;;
  run) shift; run "$@" ;;
  user) echo "$user" ;;
  password) echo "$password" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
esac
