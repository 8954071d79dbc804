#!/usr/bin/env bash
# A whole machine to deploy to, without one: Debian 12 by debootstrap, booted by systemd-nspawn in a network namespace of
# its own, with sshd and a user who has a password and may sudo. It reaches nothing but us. Needs root.
#
#   host.sh start     boots a fresh one; prints its address
#   host.sh reboot    turns it off hard and boots it again, with its disk
#   host.sh stop      ends it and forgets its disk
#   host.sh run …     runs a command in it as root
#
# HOMEREEL_DEPLOY_CACHE (~/.cache/homereel) keeps the bare system: the first start takes two minutes, the others seconds.
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
# shellcheck disable=SC2016 # a password that would run if anything expanded it
user=op password='Pass wörd $(id) "1'
packages=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,curl,ca-certificates,iproute2,procps,python3
packages+=,libavcodec59,libavformat59,libavutil57,libswscale6,libswresample4,libavfilter8

# The bare system, made once. ffmpeg comes by apt: debootstrap can't choose between alternatives of its dependencies.
make_base() {
  [ -f "$base/.complete" ] && return
  need_packages debootstrap
  say "making a Debian 12 to deploy to, in $base (once)"
  rm -rf "$base"
  mkdir -p "$base"
  debootstrap --variant=minbase --include="$packages" bookworm "$base" http://deb.debian.org/debian >"$cache/debootstrap.log" 2>&1 \
    || die "debootstrap failed: $(tail -n 3 "$cache/debootstrap.log")"
  chroot "$base" apt-get install -y --no-install-recommends -q ffmpeg python3 >>"$cache/debootstrap.log" 2>&1 || die "no ffmpeg: $(tail -n 3 "$cache/debootstrap.log")"
  rm -f "$base"/var/cache/apt/archives/*.deb "$base"/etc/ssh/ssh_host_*
  touch "$base/.complete"
}

# A disk of its own on top of the bare system.
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
  # The address is set from outside, by the namespace.
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
  # Control groups of version 1 are not handed on to a container: one with little memory is made outside, seen inside.
  if [ -d /sys/fs/cgroup/memory ]; then
    mkdir -p "$group"
    echo 1000M >"$group/memory.limit_in_bytes"
    bind+=("--bind-ro=$group:/srv/small-group")
  fi
  # Like a machine, and unlike a container: memory can be locked, and Landlock is there.
  bind+=(--capability=CAP_IPC_LOCK "--system-call-filter=@memlock landlock_create_ruleset landlock_add_rule landlock_restrict_self")
  setsid systemd-nspawn -q --register=no --keep-unit --machine="$name" --directory="$place/root" \
    --network-namespace-path="/run/netns/$name" --resolv-conf=off --timezone=off "${bind[@]}" -b \
    >"$place/console" 2>&1 </dev/null &
  echo $! >"$place/pid"
  for _ in $(seq 300); do
    # systemd says that it is up, then sshd answers.
    if running 2>/dev/null && timeout 1 bash -c "exec 3<>/dev/tcp/$address/22 && read -r -t 1 line <&3 && [[ \$line == SSH* ]]" 2>/dev/null; then
      return 0
    fi
    kill -0 "$(cat "$place/pid")" 2>/dev/null || { tail -n 20 "$place/console" >&2; die "the host ended while it booted"; }
    sleep 0.2
  done
  tail -n 20 "$place/console" >&2
  die "the host does not boot"
}

# The process that is pid 1 inside.
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
  # Hard, as a power cut: nobody inside is asked.
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

[ "$(id -u)" = 0 ] || die "tests of the deploy need root: they boot a machine"
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
