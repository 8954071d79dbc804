# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by root.sh: build, release, rollback, uninstall.

# Builds as the deploy's user in a directory that is kept, so the next build is short.
step_build() {
  [ "$build" = there ] || { detail='built locally'; return 0; }
  local home sum
  home=$(getent passwd "$user" | cut -d: -f6)
  sum=$(cd "$payload/source" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
  built=$home/.cache/homereel-build
  if [ "$(cat "$built/release.from" 2>/dev/null)" = "$sum" ] && [ -d "$built/release" ]; then
    detail='already built'
    return 0
  fi
  say "building on this machine, 5 to 30 minutes the first time (log: $built/build.log)"
  install -d -m 755 -o "$user" -g "$(id -gn "$user")" "$home/.cache" "$built"
  install -m 755 "$here/build.sh" "$built/build.sh"
  runuser -u "$user" -- bash "$built/build.sh" "$payload/source" "$built" "$sha" >"$built/build.log" 2>&1 \
    || fail "the build failed: $(tail -n 5 "$built/build.log"); full log: $built/build.log"
  echo "$sum" >"$built/release.from"
  changed=1 detail="built $sha"
}

# Installs the release beside the others, atomically.
step_release() {
  local from=$payload/release name
  [ "$build" = carried ] || from=$(getent passwd "$user" | cut -d: -f6)/.cache/homereel-build/release
  rm -rf "$base"/releases/*.partial
  "$from/bin/homereel" --version >/dev/null 2>&1 || fail "the program does not run here: $("$from/bin/homereel" --version 2>&1 | head -n 2)"
  for name in "$base"/releases/*; do
    if cmp -s "$from/PAYLOAD" "$name/PAYLOAD"; then
      new=$name detail="$(basename "$name") is already installed"
      return 0
    fi
  done
  new=$base/releases/$(date -u +%Y%m%dT%H%M%SZ)-$sha
  cp -r "$from" "$new.partial"
  chown -R root:root "$new.partial"
  chmod -R u=rwX,go=rX "$new.partial"
  sync -f "$new.partial"
  mv -T "$new.partial" "$new"
  changed=1 detail=$(basename "$new")
}

# point RELEASE: makes `current` point to RELEASE, atomically.
point() {
  ln -sfn "$1" "$base/current.new"
  mv -T "$base/current.new" "$base/current"
}

# Switches to the new release; if it does not answer correctly, rolls back to the previous one and reports why.
step_switch() {
  local before want
  before=$(readlink "$base/current" 2>/dev/null || true)
  want=$(applied_sum "$new")
  if [ "$before" = "$new" ] && [ -f "$new/.good" ] && [ "$(cat "$record/applied" 2>/dev/null)" = "$want" ] \
    && systemctl is-active -q homereel.service; then
    detail="$(basename "$new") runs"
    return 0
  fi
  changed=1
  rm -f "$record/applied"
  point "$new"
  install_units "$new"
  install -m 755 "$new/libexec/homereel-command" /usr/local/bin/homereel
  install -D -m 644 -t /usr/local/share/man/man1 "$new"/share/man/man1/*.1 2>/dev/null || true
  start_services
  if reason=$(gate 2>&1); then
    touch "$new/.good"
    echo "$want" >"$record/applied"
    detail="$(basename "$new"): $reason"
    prune
    return 0
  fi
  go_back "$before" "$reason"
}

# go_back RELEASE REASON: rolls back; always fails.
go_back() {
  local to=$1 why=${2//$'\n'/ } tail
  tail=$(journalctl -q -u homereel.service -n 15 --no-pager -o cat 2>/dev/null || true)
  if [ -z "$to" ] || [ "$to" = "$new" ] || ! [ -f "$to/.good" ]; then to=$(last_good "$new"); fi
  if [ -z "$to" ]; then
    # There is no previous release, so nothing is left running or restarting.
    systemctl disable -q --now homereel.service homereel.socket homereel-guard.service 2>/dev/null || true
    note "the first release does not answer" "$why" '' '```' "$tail" '```'
    fail "$(basename "$new") does not answer ($why), and there is no previous release; see sudo journalctl -u homereel"
  fi
  [ ! -f "$etc/homereel.env.before" ] || cp -p "$etc/homereel.env.before" "$etc/homereel.env"
  point "$to"
  install_units "$to"
  start_services
  local outcome="it answers again"
  gate >/dev/null 2>&1 || outcome="IT DOES NOT ANSWER EITHER"
  note "rolled back from $(basename "$new") to $(basename "$to")" "Reason: $why" "$outcome" '' '```' "$tail" '```'
  fail "$(basename "$new") does not answer correctly ($why); rolled back to $(basename "$to"): $outcome"
}

# last_good [EXCEPT]: prints the newest release that has answered correctly before, other than EXCEPT.
last_good() {
  local name found=''
  for name in "$base"/releases/*; do
    if [ -f "$name/.good" ] && [ "$name" != "${1:-}" ]; then found=$name; fi
  done
  echo "$found"
}

prune() {
  local name names=()
  for name in "$base"/releases/*; do
    [ "$name" = "$(readlink "$base/current")" ] || names+=("$name")
  done
  local spare=$((${#names[@]} - releases_kept + 1))
  for name in "${names[@]:0:$((spare > 0 ? spare : 0))}"; do rm -rf "$name"; done
}

# A hash of everything that the running server depends on.
applied_sum() {
  { cat "$1/PAYLOAD" "$etc/homereel.env" "$etc/guard.env" "$units/homereel.socket.d/listen.conf" \
    "$units/homereel.service.d/engine.conf" 2>/dev/null || true; } | sha256sum | cut -d' ' -f1
}

rollback() {
  local now to
  read_installed
  one_at_a_time
  now=$(readlink "$base/current" 2>/dev/null) || { echo "nothing is installed here" >&2; exit 1; }
  to=$(last_good "$now")
  [ -n "$to" ] || { echo "there is no release to roll back to from $(basename "$now")" >&2; exit 1; }
  point "$to"
  install_units "$to"
  start_services
  local said
  if said=$(gate 2>&1); then
    # Automatic rollbacks must not return to the release that was just left.
    rm -f "$now/.good" "$record/applied"
    note "rolled back on request from $(basename "$now") to $(basename "$to")" "$said"
    echo "$(basename "$to") runs: $said"
  else
    point "$now"; install_units "$now"; start_services
    note "failed to roll back to $(basename "$to")" "$said"
    echo "$(basename "$to") does not answer ($said); $(basename "$now") keeps running" >&2
    exit 1
  fi
}

# Removes what a deploy installed. Videos, library, weights and backups stay, unless `purge` is given.
uninstall() {
  read_installed
  one_at_a_time
  local unit
  for unit in homereel-backup.timer homereel-backup.service homereel-guard.service homereel.service homereel.socket; do
    systemctl disable --now "$unit" >/dev/null 2>&1 || true
  done
  systemctl list-units --all --plain --no-legend 'homereel-vllm@*' | awk '{print $1}' | while read -r unit; do
    systemctl disable --now "$unit" >/dev/null 2>&1 || true
  done
  rm -rf "$units"/homereel* "$units"/{ssh.service.d,user.slice.d,system.slice.d}/50-homereel.conf \
    /etc/systemd/journald.conf.d/50-homereel.conf /etc/sysctl.d/50-homereel.conf /usr/local/bin/homereel \
    /usr/local/share/man/man1/homereel*.1 "$base" "$record"
  rmdir "$units"/{ssh.service.d,user.slice.d,system.slice.d} 2>/dev/null || true
  systemctl daemon-reload
  systemctl reset-failed 'homereel*' 2>/dev/null || true
  if [ "${1:-}" = purge ]; then
    rm -rf "$data" "$vllm_home" "$backups" "$etc" /var/cache/homereel /var/cache/homereel-vllm
    userdel homereel 2>/dev/null || true
    userdel homereel-vllm 2>/dev/null || true
    echo "Homereel was removed, including all videos"
  else
    note "uninstalled" "Programs and units were removed. Library and videos ($data), weights ($vllm_home), backups ($backups) and settings ($etc) were kept."
    echo "Homereel was removed; videos, library, weights, backups and settings were kept in $data, $vllm_home, $backups, $etc"
  fi
}
