# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by root.sh: packages, users, directories, and protection of ssh under memory pressure.

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

step_packages() {
  local wanted=(curl ca-certificates ffmpeg util-linux iproute2) missing=() name soname
  if [ "$build" = carried ]; then
    # ldd lists the ffmpeg libraries that the program needs; Debian names the packages after them.
    while read -r soname; do wanted+=("${soname/.so./}"); done \
      < <(ldd "$payload/release/bin/homereel" | sed -n 's/^[[:space:]]*\(lib\(av\|sw\)[a-z]*\.so\.[0-9]*\) .*/\1/p')
  else
    wanted+=(build-essential pkg-config clang libclang-dev git libavcodec-dev libavformat-dev libavutil-dev
      libavdevice-dev libavfilter-dev libswscale-dev libswresample-dev)
  fi
  # vLLM compiles kernels at its first start and needs Python.h and ninja for that.
  [ "$engine" != vllm ] || wanted+=(python3 python3-venv python3-dev ninja-build build-essential)
  for name in "${wanted[@]}"; do installed "$name" || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends -q "${missing[@]}")
  # Finishes an interrupted dpkg first. An outdated package list is the usual cause of a failed install.
  dpkg --configure -a >/dev/null 2>&1 || true
  if ! "${install[@]}" >"$record/apt.log" 2>&1; then
    apt-get -o DPkg::Lock::Timeout=300 update -q >>"$record/apt.log" 2>&1 || true
    "${install[@]}" >>"$record/apt.log" 2>&1 || fail "apt-get failed to install ${missing[*]}: $(tail -n 3 "$record/apt.log")"
  fi
  changed=1 detail="installed ${missing[*]}"
}

step_users() {
  local name
  for name in homereel-vllm homereel; do
    id "$name" >/dev/null 2>&1 && continue
    local home=$data
    [ "$name" = homereel ] || home=$vllm_home
    useradd --system --user-group --no-create-home --home-dir "$home" --shell /usr/sbin/nologin "$name"
    changed=1
  done
  # The server reads the configuration and tokenizer of the checkpoint that vLLM serves.
  id -nG homereel | tr ' ' '\n' | grep -qx homereel-vllm || { usermod -aG homereel-vllm homereel; changed=1; }
  # GPU devices belong to root on some systems and to these groups on others.
  for name in video render; do
    getent group "$name" >/dev/null || continue
    id -nG homereel-vllm | tr ' ' '\n' | grep -qx "$name" || { usermod -aG "$name" homereel-vllm; changed=1; }
  done
}

step_directories() {
  directory "$base" 755 root:root
  directory "$base/releases" 755 root:root
  directory "$etc" 755 root:root
  directory "$etc/models" 755 root:root
  directory "$data" 700 homereel:homereel
  directory "$vllm_home" 750 homereel-vllm:homereel-vllm
  directory "$backups" 700 homereel:homereel
  # Empty: the password is set through a one-time link.
  [ -f "$etc/password" ] || put_text "$etc/password" 600 root:root </dev/null
}

# Protects ssh and the operator's shell under memory pressure, and limits the journal's size.
step_memory() {
  local from
  from=$(sources)/drop-ins
  put "$from/ssh.conf" "$units/ssh.service.d/50-homereel.conf" 644
  put "$from/user-slice.conf" "$units/user.slice.d/50-homereel.conf" 644
  put "$from/system-slice.conf" "$units/system.slice.d/50-homereel.conf" 644
  put "$from/sysctl.conf" /etc/sysctl.d/50-homereel.conf 644
  local before=$changed
  put "$from/journald.conf" /etc/systemd/journald.conf.d/50-homereel.conf 644
  [ -n "$changed" ] || return 0
  systemctl daemon-reload
  sysctl -q -p /etc/sysctl.d/50-homereel.conf 2>/dev/null || say "failed to set vm.swappiness (a container?)"
  [ "$before" = "$changed" ] || systemctl try-restart systemd-journald.service || true
}

# Prints where units and helpers are before the release is installed.
sources() { if [ "$build" = carried ]; then echo "$payload/release"; else echo "$payload/source/systemd"; fi; }
