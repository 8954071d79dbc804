#!/bin/sh
# What a machine is, without rights and without changing anything: a line KEY=VALUE for each fact. Runs on the host.
# Usage: facts.sh PORT
port=$1
tell() { printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr -d '\r' | head -n 1)"; }
mib_free() { df -Pm "$1" 2>/dev/null | awk 'NR == 2 {print $4}'; }
meminfo() { awk -v name="$1:" '$1 == name {print int($2 / 1024)}' /proc/meminfo; }
release() { sed -n "s/^$1=//p" /etc/os-release | tr -d '"'; }

tell arch "$(uname -m)"
tell kernel "$(uname -r)"
tell os_id "$(release ID)"
tell os_version "$(release VERSION_ID)"
tell os_name "$(release PRETTY_NAME)"
[ -d /run/systemd/system ] && tell systemd "$(systemctl --version | awk 'NR == 1 {print $2}')"
tell hostname "$(hostname)"
tell processors "$(getconf _NPROCESSORS_ONLN)"
tell memory_mib "$(meminfo MemTotal)"
tell available_mib "$(meminfo MemAvailable)"
tell swap_mib "$(meminfo SwapTotal)"
tell disk_opt_mib "$(mib_free /opt || mib_free /)"
tell disk_var_mib "$(mib_free /var/lib)"
tell now "$(date +%s)"
tell uid "$(id -u)"
tell sudo "$(if sudo -n true 2>/dev/null; then echo free; elif command -v sudo >/dev/null; then echo password; else echo none; fi)"
if command -v nvidia-smi >/dev/null; then
  line=$(nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader,nounits 2>/dev/null | head -n 1)
  field() { printf '%s' "$line" | cut -d, -f"$1" | sed 's/^ *//;s/ *$//;s/^\[N\/A\]$//;s/^N\/A$//;s/^\[Not Supported\]$//'; }
  tell gpu "$(field 1)"
  tell gpu_driver "$(field 2)"
  tell gpu_compute "$(field 3)"
  tell gpu_memory_mib "$(field 4)"
  tell gpu_cuda "$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9.]*\).*/\1/p')"
fi
# Who has the port: nobody, ours (systemd's socket or the server), or another program.
if command -v ss >/dev/null && [ -n "$(ss -ltnH "sport = :$port" 2>/dev/null)" ]; then
  if [ "$(curl -fsS --max-time 5 "http://127.0.0.1:$port/healthz" 2>/dev/null)" = ok ]; then tell port ours
  elif systemctl is-active -q homereel.socket 2>/dev/null; then tell port ours
  else tell port taken; fi
else
  tell port free
fi
[ -e /etc/homereel/disabled ] && tell disabled yes
tell release "$(readlink /opt/homereel/current 2>/dev/null | sed 's/.*\///')"
# Libraries of ffmpeg that a carried-over build may need: there, or to be had from the distribution.
tell ffmpeg "$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | sed -n 's/^[[:space:]]*\(lib\(avcodec\|avformat\|avutil\|swscale\|swresample\)\.so\.[0-9]*\) .*/\1/p' | sort -u | tr '\n' ' ')"
tell ffmpeg_apt "$(apt-cache --names-only search '^lib(avcodec|avformat|avutil|swscale|swresample)[0-9]+$' 2>/dev/null | cut -d' ' -f1 | sort -u | tr '\n' ' ')"
tell glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)"
