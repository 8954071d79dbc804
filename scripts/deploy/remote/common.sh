# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by root.sh: paths, settings, files that are replaced only if they differ, notes.

base=/opt/homereel
etc=/etc/homereel
data=/var/lib/homereel
vllm_home=/var/lib/homereel-vllm
backups=/var/backups/homereel
record=/var/lib/homereel-deploy
units=/etc/systemd/system
releases_kept=3

say() { printf '    %s\n' "$*"; }
# fail MESSAGE: fails the step; the message is its detail.
fail() { detail=$*; printf 'error: %s\n' "$*" >&2; exit 1; }

read_settings() {
  local line
  payload=$(readlink -f "$here/payload")
  while IFS= read -r line; do
    [[ $line =~ ^([a-z_]+)=(.*)$ ]] || continue
    printf -v "${BASH_REMATCH[1]}" '%s' "${BASH_REMATCH[2]}"
  done <"$here/settings"
  url_host=$listen_address
  [ "$url_host" != 0.0.0.0 ] || url_host=127.0.0.1
  [ "$url_host" != '[::]' ] || url_host='[::1]'
  url=http://$url_host:$listen_port
}

one_at_a_time() {
  exec 9>/run/homereel-deploy.lock
  flock -n 9 || fail "another deploy runs on this machine"
}

# put FILE TO MODE [OWNER]: copies FILE atomically if content, mode or owner differ.
put() {
  local from=$1 to=$2 mode=$3 owner=${4:-root:root}
  if cmp -s "$from" "$to" && [ "$(stat -c '%a %U:%G' "$to")" = "$mode $owner" ]; then return; fi
  install -D -m "$mode" -o "${owner%:*}" -g "${owner#*:}" "$from" "$to.new"
  mv -T "$to.new" "$to"
  changed=1
}

# put_text TO MODE OWNER: the same for standard input.
put_text() {
  local file
  file=$(mktemp)
  cat >"$file"
  put "$file" "$1" "$2" "$3"
  rm -f "$file"
}

# directory PATH MODE OWNER
directory() {
  if [ -d "$1" ] && [ "$(stat -c '%a %U:%G' "$1")" = "$2 $3" ]; then return; fi
  install -d -m "$2" -o "${3%:*}" -g "${3#*:}" "$1"
  changed=1
}

# Runs a command as the server's user with the unit's settings.
as_homereel() {
  local assignments=()
  mapfile -t assignments < <(grep -E '^[A-Z][A-Z0-9_]*=' "$etc/homereel.env")
  runuser -u homereel -- env "${assignments[@]}" HOME="$data" "$@"
}

# note TITLE [LINE…]: appends a dated entry to NOTES.md.
note() {
  local notes=$data/NOTES.md
  [ -d "$data" ] || return 0
  if ! [ -f "$notes" ]; then
    head_of_notes >"$notes"
  fi
  printf '\n## %s, %s\n' "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" "$1" >>"$notes"
  shift
  [ $# -eq 0 ] || printf '%s\n' "$@" >>"$notes"
  chown homereel:homereel "$notes"
  chmod 640 "$notes"
}

head_of_notes() {
  cat <<'HEAD'
# Notes of this machine

For operators. Every deploy and the memory guard append an entry. This file contains no secrets.
`sudo homereel notes` prints it; `sudo homereel doctor` checks the machine.

| where | what |
| --- | --- |
| `/opt/homereel/current` | the running release (a link into `releases/`, which keeps the last three) |
| `/etc/homereel/homereel.env` | settings of the server; then `systemctl restart homereel` (no connection is dropped) |
| `/etc/homereel/password` | the household's password, if it is set here; otherwise it was set through `sudo homereel password link` |
| `/etc/homereel/disabled` | while this file exists, all units stay stopped, across reboots |
| `/var/lib/homereel` | library and videos (never deleted by a deploy) |
| `/var/lib/homereel-vllm` | model weights of vLLM |
| `/var/backups/homereel` | daily backups of the library's database, the last fourteen |
| `homereel.service`, `.socket` | the server; `homereel-vllm@PROFILE` runs the model; `homereel-guard` stops the model before memory runs out |

To undo the last deploy: `scripts/deploy.sh USER@HOST --rollback`. To remove everything except the data: `--uninstall`.
HEAD
}

# note_deploy OUTCOME: appends a note about this deploy, from its records.
note_deploy() {
  local outcome=$1
  {
    printf 'Release %s (%s build), engine %s, model %s, http://%s.\n' \
      "$(basename "$(readlink "$base/current" 2>/dev/null || echo none)")" "$build" "$engine" "$model" "$listen"
    awk -F'\t' '$2 != "same" {printf "- %s %s%s\n", $1, $2, ($4 == "" ? "" : ": " $4)}' "$record/steps.tsv"
    [ ! -s "$record/versions" ] || { printf 'Versions: '; paste -sd';' "$record/versions" | sed 's/;/; /g'; }
  } >"$record/note"
  note "deploy $outcome" "$(cat "$record/note")"
}

# Collects the data of the report where the deploy's user can read it. It contains no secrets.
collect() {
  {
    echo "homereel $(cat "$base/current/VERSION" 2>/dev/null || echo none)"
    echo "ffmpeg $(ldconfig -p | sed -n 's/^[[:space:]]*\(libavcodec\.so\.[0-9]*\) .*/\1/p' | head -n 1)"
    echo "kernel $(uname -r)"
    echo "systemd $(systemctl --version | awk 'NR == 1 {print $2}')"
    [ ! -x "$base/vllm/bin/python3" ] || echo "vllm $(vllm_version)"
  } >"$record/versions"
  if [ -x "$base/current/bin/homereel" ] && [ -f "$etc/homereel.env" ]; then
    as_homereel "$base/current/bin/homereel" doctor --markdown >"$record/doctor.md" 2>/dev/null || true
  fi
  systemctl show -p Id,ActiveState,SubState,NRestarts,StatusText homereel.socket homereel.service homereel-guard.service \
    homereel-backup.timer "homereel-vllm@$model.service" >"$record/units" 2>/dev/null || true
  chmod -R go+rX "$record"
  give_notes
}

give_notes() { [ ! -f "$data/NOTES.md" ] || install -m 644 "$data/NOTES.md" "$record/NOTES.md"; }
