#!/usr/bin/env bash
# shellcheck disable=SC2154
# The one script that runs as root on the host. Each step changes only what differs and may be interrupted at any point:
# every file is replaced atomically. Each step is recorded for the report.
#   root.sh deploy | finish | status | logs | rollback | uninstall [purge]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Standard input is not read: it may contain a password.
exec </dev/null
[ "$(id -u)" = 0 ] || { echo "error: not root" >&2; exit 1; }
for part in common system service gate vllm release; do
  # shellcheck disable=SC1090 # each part is checked on its own
  . "$here/$part.sh"
done

steps=(packages users directories memory build release settings model units switch check schedule)

deploy() {
  read_settings
  one_at_a_time
  mkdir -p "$record"
  chmod 755 "$record"
  : >"$record/steps.tsv"
  # Remains after an interrupted deploy, so that the one that finishes the work adds a note even if it changes nothing.
  local resumed=''
  [ ! -e "$record/unfinished" ] || resumed=1
  touch "$record/unfinished"
  for step in "${steps[@]}"; do
    run_step "$step"
    # For the test of interruptions: simulates a lost connection.
    [ "$stop_after" != "$step" ] || { echo "stopped after $step, as requested" >&2; kill -9 $$; }
  done
  collect
  if [ -n "$resumed" ] || grep -q $'\tchanged\t' "$record/steps.tsv"; then
    note_deploy "succeeded${resumed:+, after an interrupted one}"
    give_notes
    rm -f "$record/unfinished"
    echo "changed: $(awk -F'\t' '$2 == "changed" {print $1}' "$record/steps.tsv" | tr '\n' ' ')"
  else
    rm -f "$record/unfinished"
    echo "nothing changed"
  fi
}

# run_step NAME: runs a step and records changed, same or failed, with its detail and duration.
run_step() {
  local began=$SECONDS status=0
  current_step=$1 changed='' detail=''
  # Not `if step_…`, which would disable `set -e` inside.
  trap 'step_failed $?' EXIT
  "step_$1"
  trap - EXIT
  record_step "$([ -n "$changed" ] && echo changed || echo same)" "$((SECONDS - began))"
  return "$status"
}

record_step() {
  printf '%s\t%s\t%s\t%s\n' "$current_step" "$1" "$2" "${detail//[$'\t\n']/ }" >>"$record/steps.tsv"
  printf '    %-12s %-8s %s\n' "$current_step" "$1" "$detail"
}

step_failed() {
  [ -n "$detail" ] || detail="exit status $1"
  record_step failed 0
  collect || true
  note_deploy "failed at $current_step" || true
  give_notes || true
  exit "${1:-1}"
}

case ${1:-} in
  deploy | finish | status | logs | rollback) "$1" ;;
  uninstall) uninstall "${2:-}" ;;
  *) echo "unknown command '${1:-}'" >&2; exit 2 ;;
esac
