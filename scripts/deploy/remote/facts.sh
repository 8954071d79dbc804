#!/bin/sh
# Prints facts about the host, one KEY=VALUE per line. Needs no privileges and changes nothing. Runs on the host.
# Usage: facts.sh PORT
port=$1
fact() { printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr -d '\r' | head -n 1)"; }
mib_free() { df -Pm "$1" 2>/dev/null | awk 'NR == 2 {print $4}'; }
meminfo() { awk -v name="$1:" '$1 == name {print int($2 / 1024)}' /proc/meminfo; }
release() { sed -n "s/^$1=//p" /etc/os-release | tr -d '"'; }

fact arch "$(uname -m)"
fact kernel "$(uname -r)"
fact os_id "$(release ID)"
fact os_version "$(release VERSION_ID)"
fact os_name "$(release PRETTY_NAME)"
[ -d /run/systemd/system ] && fact systemd "$(systemctl --version | awk 'NR == 1 {print $2}')"
fact hostname "$(hostname)"
fact processors "$(getconf _NPROCESSORS_ONLN)"
fact memory_mib "$(meminfo MemTotal)"
fact available_mib "$(meminfo MemAvailable)"
fact swap_mib "$(meminfo SwapTotal)"
fact disk_opt_mib "$(mib_free /opt || mib_free /)"
fact disk_var_mib "$(mib_free /var/lib)"
fact now "$(date +%s)"
fact uid "$(id -u)"
fact sudo "$(if sudo -n true 2>/dev/null; then echo free; elif command -v sudo >/dev/null; then echo password; else echo none; fi)"
if command -v nvidia-smi >/dev/null; then
  line=$(nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader,nounits 2>/dev/null | head -n 1)
  field() { printf '%s' "$line" | cut -d, -f"$1" | sed 's/^ *//;s/ *$//;s/^\[N\/A\]$//;s/^N\/A$//;s/^\[Not Supported\]$//'; }
  fact gpu "$(field 1)"
  fact gpu_driver "$(field 2)"
  fact gpu_compute "$(field 3)"
  fact gpu_memory_mib "$(field 4)"
  fact gpu_cuda "$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9.]*\).*/\1/p')"
fi
# Who uses the port: nobody, Homereel (systemd's socket or the server), or another program.
if command -v ss >/dev/null && [ -n "$(ss -ltnH "sport = :$port" 2>/dev/null)" ]; then
  if [ "$(curl -fsS --max-time 5 "http://127.0.0.1:$port/healthz" 2>/dev/null)" = ok ]; then fact port ours
  elif systemctl is-active -q homereel.socket 2>/dev/null; then fact port ours
  else fact port taken; fi
else
  fact port free
fi
[ -e /etc/homereel/disabled ] && fact disabled yes
fact release "$(readlink /opt/homereel/current 2>/dev/null | sed 's/.*\///')"
# ffmpeg libraries that a copied build may need: installed, or available from the distribution.
fact ffmpeg "$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | sed -n 's/^[[:space:]]*\(lib\(avcodec\|avformat\|avutil\|swscale\|swresample\)\.so\.[0-9]*\) .*/\1/p' | sort -u | tr '\n' ' ')"
fact ffmpeg_apt "$(apt-cache --names-only search '^lib(avcodec|avformat|avutil|swscale|swresample)[0-9]+$' 2>/dev/null | cut -d' ' -f1 | sort -u | tr '\n' ' ')"
fact glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)"
