#!/usr/bin/env bash
# shellcheck disable=SC2154
# The one script that runs as root on the host. Every step leaves alone what is as it should be, and may be interrupted at
# any point: nothing that is looked at is ever half written. What it does is recorded, line by line, for the report.
#   root.sh deploy | finish | status | logs | rollback | uninstall [purge]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Nothing is read from standard input: a password may be waiting there.
exec </dev/null
[ "$(id -u)" = 0 ] || { echo "error: not root" >&2; exit 1; }
for part in common system service gate vllm release; do
  # shellcheck disable=SC1090 # each is checked by itself
  . "$here/$part.sh"
done

steps=(packages users directories memory build release settings model units switch check schedule)

deploy() {
  read_settings
  one_at_a_time
  mkdir -p "$record"
  chmod 755 "$record"
  : >"$record/steps.tsv"
  # Stays where a deploy is interrupted: the one that ends the work tells it in the notes, even if nothing was left to do.
  local resumed=''
  [ ! -e "$record/unfinished" ] || resumed=1
  touch "$record/unfinished"
  for step in "${steps[@]}"; do
    run_step "$step"
    # For the test of interruptions: as if the connection broke here.
    [ "$stop_after" != "$step" ] || { echo "stopped after $step, as asked" >&2; kill -9 $$; }
  done
  collect
  if [ -n "$resumed" ] || grep -q $'\tchanged\t' "$record/steps.tsv"; then
    note_deploy "went well${resumed:+, after one that did not end}"
    give_notes
    rm -f "$record/unfinished"
    echo "changed: $(awk -F'\t' '$2 == "changed" {print $1}' "$record/steps.tsv" | tr '\n' ' ')"
  else
    rm -f "$record/unfinished"
    echo "nothing changed"
  fi
}

# run_step NAME: records changed, same or failed, with a detail and the seconds.
run_step() {
  local began=$SECONDS status=0
  current_step=$1 changed='' detail=''
  # Not `if step_…`: that would switch `set -e` off inside.
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
