# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by root.sh: places, settings, files that change only if they differ, notes.

base=/opt/homereel
etc=/etc/homereel
data=/var/lib/homereel
vllm_home=/var/lib/homereel-vllm
backups=/var/backups/homereel
record=/var/lib/homereel-deploy
units=/etc/systemd/system
releases_kept=3

say() { printf '    %s\n' "$*"; }
# fail WORDS: ends the step; the words are its detail.
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

# put FILE TO MODE [OWNER]: copies it, in one motion, if content or mode differ.
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

# As the server's user, with its settings, as the unit gives them.
as_homereel() {
  local assignments=()
  mapfile -t assignments < <(grep -E '^[A-Z][A-Z0-9_]*=' "$etc/homereel.env")
  runuser -u homereel -- env "${assignments[@]}" HOME="$data" "$@"
}

# note WORDS…: a dated entry of NOTES.md, for the next operator.
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

For the next operator, human or agent. Every deploy and the memory guard add to the end; nothing here is a secret.
`sudo homereel notes` shows this; `sudo homereel doctor` looks at everything.

| where | what |
| --- | --- |
| `/opt/homereel/current` | the running release (a link into `releases/`; the last three stay) |
| `/etc/homereel/homereel.env` | settings of the server; then `systemctl restart homereel` (no connection is dropped) |
| `/etc/homereel/password` | the household's password, if it is declared here; else it was set by `sudo homereel password link` |
| `/etc/homereel/disabled` | make this file to keep everything down, over reboots too |
| `/var/lib/homereel` | library and videos (never deleted by a deploy) |
| `/var/lib/homereel-vllm` | weights, vLLM's only |
| `/var/backups/homereel` | daily copies of the library's database, fourteen |
| `homereel.service`, `.socket` | the server; `homereel-vllm@PROFILE` the model; `homereel-guard` stops the model before memory runs out |

Undo the last deploy: `scripts/deploy.sh USER@HOST --rollback`. Take everything away but the data: `--uninstall`.
HEAD
}

# note_deploy OUTCOME: what a deploy did, from what was recorded.
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

# What the report is made of: left where the deploy's user may read it. Nothing of it is a secret.
collect() {
  {
    echo "homereel $(cat "$base/current/VERSION" 2>/dev/null || echo none)"
    echo "ffmpeg $(ldconfig -p | sed -n 's/^[[:space:]]*\(libavcodec\.so\.[0-9]*\) .*/\1/p' | head -n 1)"
    echo "kernel $(uname -r)"
    echo "systemd $(systemctl --version | awk 'NR == 1 {print $2}')"
    [ ! -x "$base/vllm/bin/python3" ] || echo "vllm $(vllm_version)"
  } >"$record/versions"
  if [ -x "$base/current/bin/homereel" ] && [ -f "$etc/homereel.env" ]; then
    as_homereel "$base/current/bin/homereel" doctor --json >"$record/doctor.json" 2>/dev/null || true
  fi
  systemctl show -p Id,ActiveState,SubState,NRestarts,StatusText homereel.socket homereel.service homereel-guard.service \
    homereel-backup.timer "homereel-vllm@$model.service" >"$record/units" 2>/dev/null || true
  chmod -R go+rX "$record"
  give_notes
}

give_notes() { [ ! -f "$data/NOTES.md" ] || install -m 644 "$data/NOTES.md" "$record/NOTES.md"; }
