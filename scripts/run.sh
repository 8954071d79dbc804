#!/usr/bin/env bash
# From a fresh Debian 12 or Ubuntu 24.04 machine (as root or with sudo) to a running server: installs missing
# packages, builds, starts Homereel with the demo model, adds two sample clips to an empty library, and prints
# the URL. Run it again after a change: it restarts the server and keeps the library.
#
#   scripts/run.sh           start (or restart) in the background
#   scripts/run.sh --stop    stop it
#
# HOMEREEL_LISTEN [default: 127.0.0.1:8080] is the address, HOMEREEL_DATA [default: ./data] the library's directory.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh

listen=${HOMEREEL_LISTEN:-127.0.0.1:8080}
data=${HOMEREEL_DATA:-$PWD/data}
url=http://$listen
pid_file=$data/run.pid
log=$data/run.log

# Stops the server that this script started, if it is still running, and waits for it to exit.
stop() {
  local pid
  pid=$(cat "$pid_file" 2>/dev/null) || return 0
  # The process id may have been reused: only a homereel process is ours.
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = homereel ]; then
    kill "$pid"
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$pid_file"
}

case ${1:-} in
  '') ;;
  --stop) stop; exit 0 ;;
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  *) echo "unknown argument '$1'; try --help" >&2; exit 2 ;;
esac

need_build_packages
need_rust
say "building (several minutes the first time)"
# With one test: so the features are those of scripts/test.sh, and neither script compiles what the other did.
cargo build --release --locked --workspace --bins --test cli

mkdir -p "$data"
stop
if curl -fsS -o /dev/null "$url/healthz" 2>/dev/null; then
  die "something else answers on $listen; set HOMEREEL_LISTEN to another address"
fi
say "starting the server with the demo model (log: $log)"
setsid target/release/homereel serve --listen "$listen" --data "$data" --model demo \
  >"$log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$pid_file"

# Ready means that the model is loaded, not merely that the port is open.
for _ in $(seq 300); do
  curl -fsS -o /dev/null "$url/readyz" 2>/dev/null && break
  kill -0 "$pid" 2>/dev/null || { tail -n 20 "$log" >&2; die "the server stopped"; }
  sleep 0.2
done
curl -fsS -o /dev/null "$url/readyz" || { tail -n 20 "$log" >&2; die "the server is not ready after 60 s"; }

if ! ls "$data"/samples/*.mp4 >/dev/null 2>&1; then
  say "drawing two sample clips"
  target/release/homereel-bench draw --out "$data/samples" --seed 1 --count 2 --codec h264 \
    --kind plain --size 640x360 --seconds 8 >/dev/null
fi
# A file with the same content is the same video, so a second run adds nothing.
for clip in "$data"/samples/*.mp4; do
  curl -fsS -o /dev/null -H 'Content-Type: video/mp4' --data-binary "@$clip" "$url/api/videos?name=sample-$(basename "$clip")"
done
say "ready; scripts/run.sh --stop stops it"
echo "$url"
