# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by root.sh: verifies the running server. An open port is not enough; the answer about the test clip must be correct.

# gate: succeeds if the server is ready and answers correctly; otherwise prints the reason on one line.
gate() {
  local patience=${HOMEREEL_GATE_SECONDS:-120} began=$SECONDS said
  [ "$engine" != vllm ] || patience=1800
  until said=$(curl -s --max-time 5 -o /dev/null -w '%{http_code}' "$url/readyz") && [ "$said" = 200 ]; do
    if systemctl is-failed -q homereel.service; then
      echo "homereel.service failed: $(journalctl -q -u homereel.service -n 1 --no-pager -o cat -p 6 | head -n 1)"
      return 1
    fi
    if [ $((SECONDS - began)) -ge "$patience" ] || restarts_in_vain; then
      [ "$said" != 000 ] || said='no answer'
      echo "not ready after $((SECONDS - began)) s ($said): $(last_words)"
      return 1
    fi
    sleep 0.5
  done
  answer_check
}

# Succeeds if systemd has restarted the server twice since the switch: waiting longer does not help.
restarts_in_vain() { [ "$(systemctl show -p NRestarts --value homereel.service)" -ge 2 ]; }

last_words() { journalctl -q -u homereel.service -n 40 --no-pager -o cat | grep -iE 'error|exit|fail' | tail -n 1; }

# Asks the running server about the check clip, with an API key that exists only for this.
answer_check() {
  local -; set +x # keeps the key out of a trace; the same below
  local key said status=0 name=deploy-check-$$
  key=$(as_homereel "$base/current/bin/homereel" keys add "$name" 2>/dev/null) || { echo "failed to create an API key"; return 1; }
  # Through the environment of that process, which only its user can read.
  said=$(HOMEREEL_API_KEY=$key runuser -u homereel -- "$base/current/bin/homereel" check "$url" 2>&1) || status=$?
  as_homereel "$base/current/bin/homereel" keys revoke "$name" >/dev/null 2>&1 || true
  tail -n 1 <<<"$said"
  return "$status"
}

# After the switch: doctor, the login, and the benchmark, on the running server.
step_check() {
  local code
  as_homereel "$base/current/bin/homereel" doctor --markdown >"$record/doctor.md" 2>"$record/doctor.err" \
    || fail "$(tail -n 1 "$record/doctor.err"); \`sudo homereel doctor\` reports what to do"
  code=$(curl -sS --max-time 10 -o /dev/null -w '%{http_code}' "$url/api/videos")
  case $listen_address in
    127.* | '[::1]') ;;
    *) [ "$code" = 401 ] || fail "$url/api/videos answers $code without a login; 401 was expected" ;;
  esac
  if [ "$(cat "$record/benched" 2>/dev/null)" != "$(cat "$record/applied")" ] || [ -n "$bench" ]; then
    bench_it
    changed=1
  fi
  left_key
  detail="doctor reports no failure; requests without a login get $code$([ -z "$changed" ] || echo '; benchmarked')"
}

# A short benchmark of this machine as configured.
bench_it() {
  local -; set +x
  local key name=deploy-bench-$$ status=0 probe=(--result-filename "$data/probe.json")
  rm -f "$record"/bench*.json "$record/bench.md" "$record"/probe.{json,log}
  [ -z "$(active_gb)" ] || probe+=(--active-gb "$(active_gb)")
  # The machine's limits, while the server is idle.
  timeout 300 runuser -u homereel -- env -C "$data" "$base/current/bin/homereel-bench" probe "${probe[@]}" \
    >"$record/probe.err" 2>&1 && mv "$record/probe.err" "$record/probe.log" \
    || say "failed to measure the machine's limits: $(tail -n 1 "$record/probe.err")"
  mv "$data/probe.json" "$record/" 2>/dev/null || true
  key=$(as_homereel "$base/current/bin/homereel" keys add "$name" 2>/dev/null)
  HOMEREEL_BENCH_KEY=$key runuser -u homereel -- env -C "$data" "$base/current/bin/homereel-bench" serve --base-url "$url" \
    --api-key-env HOMEREEL_BENCH_KEY --num-prompts 8 --max-concurrency 1,4 --clip-seconds 6 \
    --clip-size 320x240 --clip-fps 15 --clip-codec h264 --random-output-len 48 --result-filename "$data/bench.json" \
    >"$record/bench.log" 2>&1 || status=$?
  as_homereel "$base/current/bin/homereel" keys revoke "$name" >/dev/null 2>&1 || true
  mv "$data"/bench*.json "$record/" 2>/dev/null || true
  if [ "$status" -ne 0 ]; then
    say "the benchmark failed: $(tail -n 1 "$record/bench.log")"
    echo "The benchmark failed: $(tail -n 1 "$record/bench.log")" >"$record/bench.md"
    return 0
  fi
  (cd "$record" && "$base/current/bin/homereel-bench" report bench*.json --out bench.md >/dev/null 2>&1) || true
  cp "$record/applied" "$record/benched"
}

# Gigabytes of weights that each token of a stream reads; nothing for other models.
active_gb() {
  case $model in
    qwen3-vl-2b | *Qwen3-VL-2B-Instruct) echo 3.4 ;;
    qwen3-vl-8b) echo 8.2 ;;
    qwen3-vl-30b-a3b) echo 3.6 ;;
  esac
}

# Creates a key for the check from the operator's machine; `finish` revokes it.
left_key() {
  as_homereel "$base/current/bin/homereel" keys revoke deploy-operator >/dev/null 2>&1 || true
  as_homereel "$base/current/bin/homereel" keys add deploy-operator --role admin 2>/dev/null >"$here/key"
  chown "$user" "$here/key"
  chmod 400 "$here/key"
}

# Ends a deploy: revokes its key, and prints a one-time link if no password is set yet.
finish() {
  local -; set +x
  read_installed
  as_homereel "$base/current/bin/homereel" keys revoke deploy-operator >/dev/null 2>&1 || true
  rm -f "$here/key"
  case $listen_address in
    127.* | '[::1]') ;; # needs no login
    *) as_homereel "$base/current/bin/homereel" password link --if-unset 2>/dev/null ;;
  esac
}
