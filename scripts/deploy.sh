#!/usr/bin/env bash
# Deploys Homereel to HOST (a DGX Spark, or any Debian 12 / Ubuntu 24.04 machine with systemd), tests and benchmarks it
# there, and brings back report.md and NOTES.md. Run it again at any time: it changes only what differs, and finishes an
# interrupted deploy.
#
#   scripts/deploy.sh USER@HOST [--engine candle|vllm] [--model MODEL] [--listen ADDRESS:PORT]
#   scripts/deploy.sh USER@HOST --status | --logs | --rollback | --uninstall [--purge]
#
#   --engine candle|vllm   what runs the model [default: vllm on a machine with an NVIDIA GPU, else candle]
#   --model MODEL          a profile of systemd/models (vllm); demo, a directory there or a hub id (candle)
#                          [default: qwen3-vl-8b on vllm, demo on candle]
#   --listen ADDRESS:PORT  address of the server [default: 0.0.0.0:8080]
#   --ask                  ask for USER's password on the terminal [default, if a password is needed]
#   --password-file FILE   read the password from FILE; it is used for the first login and for sudo, and not stored
#   --port PORT            port of ssh [default: 22]
#   --fingerprint SHA256:… expected host key [default: the key is shown, confirmed once, and pinned]
#   --yes                  do not ask about the host key
#   --binary DIRECTORY     copy this build (homereel, homereel-bench) to HOST [default: target/release or the build of
#                          build-aarch64.sh, if it runs on HOST; otherwise HOST builds it]
#   --build-there          build on HOST in any case
#   --dry-run              print the plan and change nothing
#   --bench                benchmark again although nothing changed
#   --purge                with --uninstall: also delete videos, library, weights and backups
#
# State on this machine (an SSH key, the pinned host key, reports): ~/.local/state/homereel/deploy/HOST,
# or $HOMEREEL_DEPLOY_STATE/HOST.
# shellcheck disable=SC2154 # set by the sourced parts
set -euo pipefail
if [ "${BASH_VERSINFO[0]}" -lt 5 ]; then
  echo "error: this needs bash 5; on a Mac: brew install bash gnu-tar coreutils" >&2
  exit 1
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for part in say arguments connection facts plan release photograph report; do
  # shellcheck disable=SC1090 # each part is checked on its own
  . "$root/scripts/deploy/$part.sh"
done

main() {
  parse "$@"
  open_state
  connect
  case $action in
    deploy) deploy ;;
    status) remote_root status ;;
    logs) remote_root logs ;;
    rollback) remote_root rollback ;;
    uninstall) remote_root uninstall "$purge" ;;
  esac
}

deploy() {
  say "inspecting $host"
  gather_facts
  decide
  show_plan
  check_plan
  if [ -n "$dry_run" ]; then
    say "dry run: nothing was changed"
    return
  fi
  authorize
  pack
  send
  local status=0
  say "setting up $host"
  remote_root deploy || status=$?
  bring_back
  [ "$status" -ne 0 ] || verify || status=$?
  finish "$status"
  return "$status"
}

main "$@"
