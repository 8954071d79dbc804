#!/usr/bin/env bash
# From a password to a running machine: puts Homereel on HOST (a DGX Spark, or any Debian 12 / Ubuntu 24.04 machine with
# systemd), tests and benches it there, and brings back report.md and NOTES.md. Run it again at any time: what is as it
# should be is left alone, and what was interrupted is finished.
#
#   scripts/deploy.sh USER@HOST [--engine candle|vllm] [--model MODEL] [--listen ADDRESS:PORT]
#   scripts/deploy.sh USER@HOST --status | --logs | --rollback | --uninstall [--purge]
#
#   --engine candle|vllm   what runs the model [default: vllm on a machine with an NVIDIA GPU, else candle]
#   --model MODEL          a profile of systemd/models (vllm); demo, a directory there or a hub id (candle)
#                          [default: qwen3-vl-8b on vllm, demo on candle]
#   --listen ADDRESS:PORT  where browsers reach it [default: 0.0.0.0:8080]
#   --ask                  ask for the password of USER on the terminal [the default, where it is needed]
#   --password-file FILE   read it from FILE instead; it is used for the first login and for sudo, and kept nowhere
#   --port PORT            of ssh [default: 22]
#   --fingerprint SHA256:… the host key must be this one [default: shown, asked about once, and pinned]
#   --yes                  do not ask about the host key
#   --binary DIRECTORY     carry this build (homereel, homereel-bench) over [default: target/release, or that of
#                          build-aarch64.sh, if it fits HOST; else it is built there]
#   --build-there          build on HOST in any case
#   --dry-run              tell what would be done, change nothing
#   --bench                bench again although nothing changed
#   --purge                with --uninstall: delete videos, library, weights and backups too
#
# What is kept on this machine (its own key, the pinned host key, reports): ~/.local/state/homereel/deploy/HOST,
# or $HOMEREEL_DEPLOY_STATE/HOST.
# shellcheck disable=SC2154 # the parts set them
set -euo pipefail
if [ "${BASH_VERSINFO[0]}" -lt 5 ]; then
  echo "error: this needs bash 5; on a Mac: brew install bash gnu-tar coreutils" >&2
  exit 1
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for part in say arguments connection facts plan release photograph report; do
  # shellcheck disable=SC1090 # each is checked by itself
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
  say "looking at $host"
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
  say "setting $host up"
  remote_root deploy || status=$?
  bring_back
  [ "$status" -ne 0 ] || verify || status=$?
  finish "$status"
  return "$status"
}

main "$@"
