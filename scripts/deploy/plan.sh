# shellcheck shell=bash disable=SC2154,SC2034
# Sourced by deploy.sh: decides what to do on this host, and what prevents it.

# Sets defaults for arguments that were not given.
decide() {
  if [ -z "$engine" ]; then
    engine=candle
    [ -z "${fact[gpu]:-}" ] || engine=vllm
  fi
  if [ -z "$model" ]; then
    model=demo
    [ "$engine" = candle ] || model=qwen3-vl-8b
  fi
  if [ "$engine" = vllm ] && ! [ -f "$root/systemd/models/$model.toml" ]; then
    usage_error "--engine vllm --model $model; profiles are: $(profiles)"
  fi
  decide_build
}

profiles() {
  local file
  for file in "$root"/systemd/models/*.toml; do basename "$file" .toml; done | tr '\n' ' '
}

# Copies a local build if it runs on the host; otherwise builds there.
decide_build() {
  build=there build_why='there is no local build'
  local directory=${binary:-$(built_for "${fact[arch]:-}")}
  if [ -n "$build_there" ]; then
    build_why='requested'
  elif [ -x "$directory/homereel" ]; then
    build_why=$(why_not_carried "$directory/homereel")
    [ -n "$build_why" ] || [ -n "$binary" ] || build_why=$(why_not_here "$directory/homereel")
    [ -n "$build_why" ] || build=carried
  fi
  [ -z "$binary" ] || [ "$build" = carried ] || die "--binary $binary can't run on $host: $build_why"
  build_from=$directory
}

# Prints the directory of a build for an architecture: cargo's, or that of scripts/build-aarch64.sh.
built_for() {
  local crossed=$root/target/$1-unknown-linux-gnu/release
  if [ "$1" != "$(uname -m)" ] && [ -x "$crossed/homereel" ]; then echo "$crossed"; else echo "$root/target/release"; fi
}

# why_not_here PROGRAM: prints why a build that runs on the host is still not the right one.
why_not_here() {
  [ "$engine" = candle ] && [ -n "${fact[gpu]:-}" ] || return 0
  program_cuda "$1" || echo "the local build is without CUDA, and $host has a GPU for candle"
}

# why_not_carried PROGRAM: prints why it does not run on the host; nothing if it does.
why_not_carried() {
  local machine needed soname
  machine=$(program_arch "$1")
  if [ "$machine" != "${fact[arch]}" ]; then
    echo "the local build is for $machine, $host is ${fact[arch]}"
    return
  fi
  needed=$(program_glibc "$1")
  if [ -n "$needed" ] && [ "$(printf '%s\n' "$needed" "${fact[glibc]:-0}" | sort -V | tail -n 1)" != "${fact[glibc]:-0}" ]; then
    echo "the local build needs glibc $needed, $host has ${fact[glibc]:-none}"
    return
  fi
  for soname in $(program_ffmpeg "$1"); do
    case " ${fact[ffmpeg]:-} ${fact[ffmpeg_apt]:-} " in
      *" $soname "* | *" ${soname/.so./} "*) ;;
      *) echo "the local build needs $soname, $host has another ffmpeg"; return ;;
    esac
  done
}

# Read from the ELF file with tools that every system has.
program_arch() {
  case $(od -An -j18 -N2 -tu1 "$1" | tr -d ' ') in
    620) echo x86_64 ;;
    1830) echo aarch64 ;;
    *) echo another ;;
  esac
}
program_cuda() { grep -qaE 'libcublas\.so\.[0-9]' "$1"; }
program_ffmpeg() { grep -aoE 'lib(avcodec|avformat|avutil|swscale|swresample)\.so\.[0-9]+' "$1" | sort -u; }
program_glibc() { grep -aoE 'GLIBC_2\.[0-9]+' "$1" | sort -uV | tail -n 1 | sed 's/GLIBC_//'; }

# Prints the disk space needed, in MiB.
disk_needed() {
  local need=2000
  [ "$build" = carried ] || need=$((need + 12000))
  [ "$engine" != vllm ] || need=$((need + 15000))
  case $model in
    qwen3-vl-2b) need=$((need + 6000)) ;;
    qwen3-vl-8b) need=$((need + 15000)) ;;
    qwen3-vl-30b-a3b) need=$((need + 40000)) ;;
  esac
  echo "$need"
}

show_plan() {
  local gpu=${fact[gpu]:-none}
  [ -z "${fact[gpu]:-}" ] || gpu+=" (driver ${fact[gpu_driver]:-unknown}, CUDA ${fact[gpu_cuda]:-unknown}, $(gpu_memory))"
  cat >&2 <<PLAN
    host      $target (${fact[hostname]:-?}), ${fact[os_name]:-unknown system}, ${fact[arch]:-?}, ${fact[processors]:-?} processors
    memory    $(number available_mib) of $(number memory_mib) MiB available, swap $(number swap_mib) MiB
    disk      $(number disk_var_mib) MiB free, $(disk_needed) needed
    gpu       $gpu
    installed ${fact[release]:-nothing}
    build     $([ "$build" = carried ] && echo "copied from $build_from" || echo "on $host ($build_why)")
    engine    $engine, model $model
    address   http://$listen
PLAN
}

gpu_memory() { [ -n "${fact[gpu_memory_mib]:-}" ] && echo "${fact[gpu_memory_mib]} MiB" || echo "unified memory"; }

# Prints everything that would not work, each with a remedy, and exits if there is any.
check_plan() {
  local reasons
  reasons=$(objections)
  [ -n "$reasons" ] || return 0
  printf 'error: this would not work, so nothing was changed on %s:\n' "$host" >&2
  printf '%s\n' "$reasons" | sed 's/^/  - /' >&2
  exit 1
}

objections() {
  supported_system || echo "${fact[os_name]:-this system} is not supported; Debian 12 or Ubuntu 24.04, or newer, would be"
  case ${fact[arch]:-} in
    x86_64 | aarch64) ;;
    *) echo "processor ${fact[arch]:-unknown}; x86_64 or aarch64 would fit" ;;
  esac
  [ "$(number systemd)" -ge 250 ] || echo "systemd ${fact[systemd]:-is not running}; 250 or newer is needed"
  [ "${fact[uid]:-}" = 0 ] || [ "${fact[sudo]:-none}" != none ] || echo "sudo is not installed; as root: apt install sudo && adduser $user sudo"
  [ "${fact[port]:-free}" != taken ] || echo "port $listen_port is taken by another program (find it there with ss -ltnp 'sport = :$listen_port'); stop it, or choose another port with --listen"
  [ -z "${fact[disabled]:-}" ] || echo "/etc/homereel/disabled is there: Homereel is disabled on purpose; remove the file and run this again"
  local need free
  need=$(disk_needed)
  free=$(number disk_var_mib)
  [ "$(number disk_opt_mib)" -ge "$free" ] || free=$(number disk_opt_mib)
  # What is already installed needs no more space.
  [ "$free" -ge "$need" ] || { [ -n "${fact[release]:-}" ] && [ "$free" -ge 2000 ]; } \
    || echo "$free MiB of disk are free and $need are needed; free some, or choose a smaller model"
  [ "$(number memory_mib)" -ge 1500 ] || echo "$(number memory_mib) MiB of memory; 1500 or more would fit"
  if [ "$engine" = vllm ] && [ "$model" != demo ]; then
    [ -n "${fact[gpu]:-}" ] || echo "--engine vllm needs an NVIDIA GPU and nvidia-smi finds none; install the driver (580 or newer), or use --engine candle"
    local cuda=${fact[gpu_cuda]:-}
    [ -z "${fact[gpu]:-}" ] || [ "${cuda%%.*}" -ge 13 ] 2>/dev/null || echo "the driver supports CUDA ${cuda:-unknown} and 13.0 is needed; update it to 580 or newer"
  fi
  local skew=$((EPOCHSECONDS - $(number now)))
  [ "${skew#-}" -le 3600 ] || echo "its clock is off by $skew s; run there: timedatectl set-ntp true"
}

supported_system() {
  local major=${fact[os_version]:-0}
  major=${major%%.*}
  [[ $major =~ ^[0-9]+$ ]] || return 1
  case ${fact[os_id]:-} in
    debian) [ "$major" -ge 12 ] ;;
    ubuntu) [ "$major" -ge 24 ] ;;
    *) return 1 ;;
  esac
}
