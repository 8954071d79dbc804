#!/usr/bin/env bash
# Tests scripts/deploy.sh on a booted machine (host.sh): every refusal and interruption, a successful deploy, and then a second
# run, reboot, kill -9, a server that hangs, /etc/homereel/disabled, backup, a broken release, rollback, memory pressure,
# uninstall. Every deploy is traced (bash -x), and no trace may contain a secret. Needs root.
#
#   HOMEREEL_PROFILE=release    cargo's profile: the programs under test are in target/PROFILE
#
#   run.sh [PART…]     parts, in this order: lint refusals interruptions green again restart kill hang disabled backup reboot
#                      broken guard end
# shellcheck disable=SC2016 # single-quoted text is expanded on the host
set -Eeuo pipefail
trap 'printf "FAILED in line %s: %s\n" "$LINENO" "$BASH_COMMAND" >&2' ERR
cd "$(dirname "$0")/../.."
export HOMEREEL_DEPLOY_STATE=${HOMEREEL_DEPLOY_STATE:-/var/tmp/hr-deploy-state}
host=10.231.77.2 user=op port=8080
url=http://$host:$port
state=$HOMEREEL_DEPLOY_STATE/$host
here=tests/deploy
programs=target/${HOMEREEL_PROFILE:-release}
scratch=$(mktemp -d)
all=(lint refusals interruptions green again restart kill hang disabled backup reboot broken guard end)

cleanup() {
  local status=$?
  [ -z "${sampler:-}" ] || kill "$sampler" 2>/dev/null || true
  [ -n "${HOMEREEL_DEPLOY_KEEP:-}" ] || $here/host.sh stop
  rm -rf "$scratch"
  exit "$status"
}
trap cleanup EXIT

section() { printf '\n--- %s (%s s)\n' "$*" "$SECONDS"; }
flunk() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
inside() { $here/host.sh run "$@"; }
# grep -q at the end of a pipe would end it early, which pipefail takes for a failure, and `!` for a success.
found() { grep "$@" >/dev/null; }
# Deploys with a trace, as an operator who looks for an error would. Of two --binary the last one counts.
deploy() {
  BASH_XTRACEFD=8 bash -x scripts/deploy.sh "$user@$host" --password-file "$scratch/password" --yes --binary "$programs" "$@" \
    >"$scratch/said" 2>&1 8>>"$scratch/trace"
}
# refused MESSAGE ARGUMENT…: the deploy must fail with this message and leave nothing behind.
refused() {
  local message=$1
  shift
  if deploy "$@"; then flunk "deployed although: $message"; fi
  grep -qF -- "$message" "$scratch/said" || { cat "$scratch/said"; flunk "no message '$message'"; }
  nothing_there
}
nothing_there() {
  inside sh -c '! [ -e /opt/homereel ] && ! [ -e /etc/homereel ] && ! id homereel >/dev/null 2>&1 && ! ls /etc/systemd/system/homereel* >/dev/null 2>&1' \
    || flunk "something was left behind"
}
well() { deploy "$@" || { cat "$scratch/said"; flunk "deploy.sh $*"; }; }
ready() { curl -fsS --max-time 5 -o /dev/null "$url/readyz" 2>/dev/null; }
until_ready() { for _ in $(seq 300); do ready && return; sleep 0.2; done; flunk "not ready: $(inside journalctl -u homereel -n 20 --no-pager -q)"; }
# An API key for the rest of the run.
key() {
  [ -s "$scratch/header" ] || printf 'Authorization: Bearer %s\n' "$(inside homereel keys add test --role admin 2>/dev/null)" >"$scratch/header"
}
api() { curl -fsS --max-time 60 -H "@$scratch/header" "$@"; }
ask() {
  api "$url/v1/chat/completions" -H 'Content-Type: application/json' -d "{\"temperature\": 0, \"messages\": [{\"role\": \"user\", \"content\": [
    {\"type\": \"video_url\", \"video_url\": {\"url\": \"homereel:$1\"}}, {\"type\": \"text\", \"text\": \"What color is the object?\"}]}]}" \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["choices"][0]["message"]["content"])'
}
upload() { api -H 'Content-Type: video/mp4' --data-binary "@$1" "$url/api/videos?name=$(basename "$1")" | python3 -c 'import json, sys; print(json.load(sys.stdin)["videos"][0]["id"])'; }
job_state() { api "$url/api/videos/$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["jobs"][0]["state"])'; }
until_read() { for _ in $(seq 300); do [ "$(job_state "$1")" = "done" ] && return; sleep 0.2; done; flunk "the clip was not processed: $(job_state "$1")"; }

# Searches every command line and environment for the password, here and on the host (they share a kernel), in the background.
watch_for_password() {
  python3 - "$scratch/password" "$scratch/seen" <<'PY' &
import os, sys, time
secret = open(sys.argv[1], "rb").read().strip()
while True:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                if secret in open(f"/proc/{pid}/{name}", "rb").read():
                    open(sys.argv[2], "a").write(f"{name} {open(f'/proc/{pid}/comm').read()}")
            except OSError:
                pass
    time.sleep(0.02)
PY
  sampler=$!
}

part_lint() {
  shellcheck -x -P SCRIPTDIR scripts/deploy.sh scripts/deploy/*.sh scripts/deploy/remote/*.sh tests/deploy/*.sh \
    systemd/libexec/{drop-caches,vllm-memory,vllm-gate,backup,homereel-command}
  bats $here/functions.bats
}

part_refusals() {
  printf 'another password\n' >"$scratch/wrong"
  if scripts/deploy.sh $user@$host --password-file "$scratch/wrong" --yes >"$scratch/said" 2>&1; then flunk "a wrong password"; fi
  grep -q "refused the password of $user" "$scratch/said" || { cat "$scratch/said"; flunk "a wrong password"; }
  nothing_there
  well --dry-run
  grep -q 'nothing was changed' "$scratch/said" || flunk "the dry run"
  nothing_there

  inside sh -c 'cp /etc/os-release /os.before; sed -i "s/^ID=.*/ID=fedora/;s/^PRETTY_NAME=.*/PRETTY_NAME=\"Fedora 43\"/" /etc/os-release'
  refused 'Fedora 43 is not supported'
  inside sh -c 'cat /os.before >/etc/os-release'

  inside systemd-run -q --unit=squatter python3 -m http.server $port
  sleep 1
  refused "port $port is taken by another program"
  inside systemctl stop squatter

  inside mount -t tmpfs -o size=300m tmpfs /opt
  refused '300 MiB of disk are free'
  inside umount /opt

  inside deluser -q $user sudo >/dev/null
  refused "$user may not use sudo"
  inside adduser -q $user sudo >/dev/null

  cp "$state/known_hosts" "$scratch/pinned"
  ssh-keygen -q -t ed25519 -N '' -f "$scratch/other"
  printf '%s %s\n' $host "$(cut -d' ' -f1,2 "$scratch/other.pub")" >"$state/known_hosts"
  refused 'is not the one that was pinned'
  cp "$scratch/pinned" "$state/known_hosts"
}

part_interruptions() {
  local step
  for step in packages users directories memory build release settings model units switch check schedule; do
    if HOMEREEL_DEPLOY_STOP_AFTER=$step deploy; then flunk "not interrupted after $step"; fi
    grep -q "stopped after $step" "$scratch/said" || { cat "$scratch/said"; flunk "interrupted after $step"; }
  done
}

part_green() {
  well
  cat "$scratch/said"
  local link cookie id
  link=$(grep -oE "http://$host:$port/login\?once=[A-Za-z0-9_-]+" "$scratch/said") || flunk "no link to set a password"
  # Without a login, only the login page is accessible.
  [ "$(curl -sS -o /dev/null -w '%{http_code}' "$url/api/videos")" = 401 ] || flunk "no login is required"
  # The one-time link sets the password, which gives access to the pages.
  cookie=$(curl -fsS -o /dev/null -D - --data-urlencode "once=${link##*=}" --data-urlencode 'password=a household of four' \
    --data-urlencode 'repeat=a household of four' "$url/login" | sed -n 's/^set-cookie: \([^;]*\);.*/\1/Ip')
  [ -n "$cookie" ] || flunk "the link did not set a password"
  curl -fsS -H "Cookie: $cookie" "$url/" | found 'No videos yet' || flunk "no page behind the password"
  key
  id=$(upload systemd/share/check.mp4)
  [[ $(ask "$id") == Yellow* ]] || flunk "the answer is '$(ask "$id")'"
  until_read "$id"
  echo "$id" >"$scratch/id"
  [ -z "$(inside systemctl --failed --no-legend)" ] || flunk "$(inside systemctl --failed --no-legend)"
  inside systemctl is-active -q homereel.service homereel.socket homereel-guard.service homereel-backup.timer || flunk "a unit does not run"
  # The hardened unit must not prevent the worker's sandbox.
  inside journalctl -q -u homereel --no-pager | grep -iE 'jail|sandbox|landlock|seccomp' | grep -i 'lacks\|missing' && flunk "the sandbox is incomplete"
  inside test -s /usr/local/share/man/man1/homereel-check.1 || flunk "no man pages"
  inside homereel doctor --json | python3 -c '
import json, sys
checks = {c["name"]: c for c in json.load(sys.stdin)["checks"]}
sandbox = checks["sandbox"]
assert sandbox["state"] == "ok", sandbox
assert checks["password"]["state"] == "ok", checks["password"]'
  inside sh -c 'cd /etc/systemd/system && systemd-analyze verify homereel.service homereel.socket homereel-guard.service homereel-backup.service homereel-backup.timer homereel-vllm@demo.service 2>&1; true' \
    | { grep -v 'vllm/bin/python3' || true; } | tee "$scratch/verify"
  [ ! -s "$scratch/verify" ] || flunk "systemd-analyze verify"
  check_report
}

# The report and the notes exist and match what happened.
check_report() {
  local file
  for file in report.md NOTES.md; do [ -s "$state/$file" ] || flunk "no $file"; done
  grep -q 'All checks passed' "$state/report.md" || flunk "report.md: $(cat "$state/report.md")"
  grep -q "| switch | changed" "$state/report.md" || found "| switch | same" "$state/report.md" || flunk "no switch in the report"
  grep -q 'from here: a question about the check clip | passed' "$state/report.md" || flunk "no question in the report"
  grep -qE 'Output token throughput|tok/s|tokens/s' "$state/report.md" || flunk "no benchmark in the report"
  if command -v chromium >/dev/null; then [ -s "$state/page.png" ] || flunk "no screenshot of /system"; fi
  grep -qE 'memory.* [0-9.]+ GB/s' "$state/report.md" || flunk "no memory bandwidth in the report"
  grep -q 'deploy succeeded' "$state/NOTES.md" || flunk "NOTES.md: $(cat "$state/NOTES.md")"
  [ "$(inside homereel notes)" = "$(cat "$state/NOTES.md")" ] || flunk "homereel notes prints something else"
  no_secrets
}

no_secrets() {
  # The pattern is read from a file, because the search's own arguments would contain it.
  local secret=$scratch/password
  [ ! -e "$scratch/seen" ] || flunk "the password was seen in: $(cat "$scratch/seen")"
  ! grep -rqFf "$secret" "$state" "$scratch/said" || flunk "the password is stored on this machine"
  ! inside journalctl -q --no-pager | found -Ff "$secret" || flunk "the password is in the journal"
  ! inside sh -c 'cat /var/lib/homereel/NOTES.md /var/log/*.log /home/*/.bash_history 2>/dev/null' | found -Ff "$secret" || flunk "the password is stored on the host"
  ! inside journalctl -q --no-pager | found -E 'once=|hr_[A-Za-z0-9_-]{20}' || flunk "a link or a key is in the journal"
  # The trace must not be empty.
  grep -q 'install_key' "$scratch/trace" || flunk "nothing was traced"
  # A trace may escape characters beyond ASCII, so the ASCII prefix is searched for too.
  ! grep -qFf "$secret" -e "$(grep -o '^[ -~]*' "$secret")" "$scratch/trace" || flunk "the password is in the trace"
  ! grep -qE 'once=[A-Za-z0-9_-]{20}|hr_[A-Za-z0-9_-]{20}' "$scratch/trace" || flunk "a link or a key is in the trace"
  ! grep -rqE 'once=|hr_[A-Za-z0-9_-]{20}' "$state" || flunk "a link or a key is in the report"
  inside sh -c '[ -z "$(find / -xdev -name "*homereel-deploy.*" -path "/home/*" 2>/dev/null)" ]' || flunk "scripts were left behind"
}

part_again() {
  local before
  before=$(inside sh -c 'sha256sum /var/lib/homereel/NOTES.md; readlink /opt/homereel/current; systemctl show -p MainPID homereel')
  well
  grep -q 'nothing changed' "$scratch/said" || { cat "$scratch/said"; flunk "a second run changed something"; }
  [ "$before" = "$(inside sh -c 'sha256sum /var/lib/homereel/NOTES.md; readlink /opt/homereel/current; systemctl show -p MainPID homereel')" ] || flunk "a second run modified something"
}

# Connections wait in systemd's socket while the server restarts.
part_restart() {
  local n=0
  inside systemctl restart --no-block homereel.service
  while [ $n -lt 30 ]; do
    curl -sS --max-time 30 -o /dev/null "$url/healthz" || flunk "connection $n was dropped during a restart"
    n=$((n + 1))
    sleep 0.1
  done
  until_ready
}

part_kill() {
  local id pid
  "$programs/homereel-bench" draw --out "$scratch/clips" --seed 9200001 --kind plain --codec h264 --seconds 12 --size 640x360 >/dev/null
  id=$(upload "$scratch/clips/9200001.mp4")
  pid=$(inside systemctl show -p MainPID --value homereel)
  inside kill -9 "$pid"
  sleep 1
  until_ready
  [ "$pid" != "$(inside systemctl show -p MainPID --value homereel)" ] || flunk "not killed"
  until_read "$id"
}

# systemd's watchdog restarts a server that hangs; here after 3 s instead of 60, to keep the test short.
part_hang() {
  local pid
  inside sh -c 'mkdir -p /run/systemd/system/homereel.service.d
    printf "[Service]\nWatchdogSec=3\n" >/run/systemd/system/homereel.service.d/test.conf
    systemctl daemon-reload; systemctl restart homereel.service'
  until_ready
  pid=$(inside systemctl show -p MainPID --value homereel)
  inside kill -STOP "$pid"
  for _ in $(seq 100); do [ "$pid" = "$(inside systemctl show -p MainPID --value homereel)" ] || break; sleep 0.2; done
  until_ready
  [ "$pid" != "$(inside systemctl show -p MainPID --value homereel)" ] || flunk "the hanging server was not restarted"
  inside journalctl -q -u homereel --no-pager | found -i 'watchdog' || flunk "it was not the watchdog"
  inside sh -c 'rm -r /run/systemd/system/homereel.service.d; systemctl daemon-reload; systemctl restart homereel.service'
  until_ready
}

# /etc/homereel/disabled keeps all units stopped, also when they are started, and prevents a deploy.
part_disabled() {
  inside touch /etc/homereel/disabled
  inside systemctl stop homereel.socket homereel.service homereel-guard.service
  inside systemctl start homereel.socket homereel.service homereel-guard.service
  ! inside systemctl is-active homereel.socket homereel.service homereel-guard.service | found -x active || flunk "a unit runs although Homereel is disabled"
  if deploy; then flunk "deployed although Homereel is disabled"; fi
  grep -q 'disabled is there' "$scratch/said" || { cat "$scratch/said"; flunk "no message about the disabled file"; }
  inside rm /etc/homereel/disabled
  inside systemctl start homereel.socket homereel.service homereel-guard.service
  until_ready
}

part_backup() {
  inside systemctl start homereel-backup.service
  inside python3 - <<'PY' || flunk "no readable backup"
import glob, os, sqlite3
(copy,) = glob.glob("/var/backups/homereel/homereel-*.db")
assert os.stat(copy).st_mode & 0o077 == 0, oct(os.stat(copy).st_mode)
library = sqlite3.connect(copy)
assert library.execute("PRAGMA integrity_check").fetchone() == ("ok",)
assert library.execute("SELECT count(*) FROM videos").fetchone()[0] >= 1
PY
}

part_reboot() {
  local id
  id=$(cat "$scratch/id")
  $here/host.sh reboot
  until_ready
  [[ $(ask "$id") == Yellow* ]] || flunk "the answer after the reboot is '$(ask "$id")'"
  [ "$(job_state "$id")" = "done" ] || flunk "the library changed"
}

part_broken() {
  local good
  good=$(inside readlink /opt/homereel/current)
  mkdir "$scratch/broken"
  # Exits successfully, whatever the arguments.
  cp /bin/true "$scratch/broken/homereel"
  cp "$programs/homereel-bench" "$scratch/broken/"
  if deploy --binary "$scratch/broken"; then flunk "a broken release was deployed"; fi
  grep -q 'it answers again' "$scratch/said" || { cat "$scratch/said"; flunk "no rollback"; }
  [ "$(inside readlink /opt/homereel/current)" = "$good" ] || flunk "not rolled back"
  until_ready
  [[ $(ask "$(cat "$scratch/id")") == Yellow* ]] || flunk "it does not answer after the rollback"
  inside homereel notes | found 'Reason: ' || flunk "no reason in the notes"
  grep -q 'switch | \*\*failed\*\*' "$state/report.md" || flunk "the report does not contain the failure"
  # A good new release, then a rollback on request.
  mkdir "$scratch/newer"
  objcopy --add-section .note.newer="$here/run.sh" "$programs/homereel" "$scratch/newer/homereel"
  cp "$programs/homereel-bench" "$scratch/newer/"
  well --binary "$scratch/newer"
  [ "$(inside readlink /opt/homereel/current)" != "$good" ] || flunk "the newer release does not run"
  well --rollback
  [ "$(inside readlink /opt/homereel/current)" = "$good" ] || flunk "--rollback"
  until_ready
}

# A model that exhausts memory in a small control group: the guard stops it soon after the floor is crossed, before the kernel
# kills it.
part_guard() {
  inside sh -c 'cat >/etc/systemd/system/homereel-vllm@hog.service' <<'UNIT'
[Service]
ExecStart=/usr/bin/python3 -c "import time; hog = []\nwhile True: hog.append(b'x' * (4 << 20)); time.sleep(0.04)"
UNIT
  inside systemctl daemon-reload
  inside systemctl start homereel-vllm@hog.service
  local group
  group=$(small_group)
  inside systemd-run -q --unit=guard-test -p Type=exec /opt/homereel/current/bin/homereel guard --floor-mib 400 \
    --unit 'homereel-vllm@hog.service' --notes /var/lib/homereel/NOTES.md --cgroup "$group"
  for _ in $(seq 150); do
    ! inside homereel notes | found 'Memory guard:' || break
    sleep 0.2
  done
  inside systemctl stop guard-test || true
  ! inside systemctl is-active -q homereel-vllm@hog.service || flunk "the hog is still running"
  [ "$(inside systemctl show -p Result --value homereel-vllm@hog.service)" != oom-kill ] || flunk "the kernel killed the hog before the guard stopped it"
  inside homereel notes | tail -n 2
  inside homereel notes | found -E 'Memory guard: homereel-vllm@hog.service (stopped|killed) with 3[0-9][0-9] MiB available' \
    || flunk "the guard was late or did nothing: $(inside journalctl -u guard-test -n 5 --no-pager -q)"
  ready || flunk "the server did not keep running"
}

# Moves the hog into a control group of 1000 MiB and prints its path on the host.
small_group() {
  local own
  own=$(inside sh -c 'd=/sys/fs/cgroup$(systemctl show -p ControlGroup --value homereel-vllm@hog.service); [ ! -e "$d/memory.max" ] || echo "$d"')
  if [ -n "$own" ]; then
    inside systemctl set-property --runtime homereel-vllm@hog.service MemoryMax=1000M
    echo "$own"
  else
    pgrep -f 'python3 -c import time; hog' >/sys/fs/cgroup/memory/hr-deploy/cgroup.procs
    echo /srv/small-group
  fi
}

part_end() {
  well --status
  grep -q 'ready' "$scratch/said" || flunk "--status: $(cat "$scratch/said")"
  well --logs
  well --uninstall
  inside sh -c '! [ -e /opt/homereel ] && ! ls /etc/systemd/system/homereel* >/dev/null 2>&1 && ! ls /usr/local/share/man/man1/homereel* >/dev/null 2>&1 && [ -s /var/lib/homereel/homereel.db ]' || flunk "--uninstall"
  # The data is kept, and a new deploy uses it.
  well
  until_ready
  [[ $(ask "$(cat "$scratch/id")") == Yellow* ]] || flunk "the library did not survive"
  well --uninstall --purge
  nothing_there
  no_secrets
}

$here/host.sh password >"$scratch/password"
[ $# -gt 0 ] || set -- "${all[@]}"
if [ "$*" != lint ]; then
  rm -rf "$HOMEREEL_DEPLOY_STATE"
  section "booting a machine"
  $here/host.sh start
  watch_for_password
fi
for part in "$@"; do
  section "$part"
  "part_$part"
done
echo
echo "deploy: $# parts in $SECONDS s"
