# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by root.sh: vLLM in an environment of its own, weights, the unit of a profile.

# Pinned, with what a Spark is known to need; newer ones are an operator's own try.
vllm_pin=0.28.0

vllm_version() { "$base/vllm/bin/python3" -c 'from importlib.metadata import version; print(version("vllm"))' 2>/dev/null; }

profile_value() {
  local python=python3
  [ ! -x "$base/vllm/bin/python3" ] || python=$base/vllm/bin/python3
  HOMEREEL_PROFILES=$etc/models:$new/models "$python" "$new/libexec/vllm_profile.py" "$model" "$1"
}

step_model() {
  [ "$engine" = vllm ] || { detail="$model, by candle"; return 0; }
  install_vllm
  fetch_weights
  # Reads units and helpers of `current`; the first time there is none yet.
  [ -e "$base/current" ] || point "$new"
  start_model
  detail="vLLM $(vllm_version), profile $model${detail:+, $detail}"
}

install_vllm() {
  local venv=$base/vllm
  if [ -n "$vllm_python" ]; then
    # An environment that lies on this machine already (a test, or an operator's own).
    [ "$(readlink "$venv" 2>/dev/null)" = "$vllm_python" ] || { rm -rf "$venv"; ln -sfn "$vllm_python" "$venv"; changed=1; }
    return
  fi
  [ "$(cat "$venv/.complete" 2>/dev/null)" = "$vllm_pin" ] && return
  say "installing vLLM $vllm_pin (several GB)"
  rm -rf "$venv" "$venv.partial"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check uv >"$record/vllm.log" 2>&1 || fail "uv: $(tail -n 2 "$record/vllm.log")"
  VIRTUAL_ENV=$venv UV_CACHE_DIR=/var/cache/homereel-uv "$venv/bin/uv" pip install -q "vllm==$vllm_pin" >>"$record/vllm.log" 2>&1 \
    || fail "vLLM can't be installed: $(tail -n 3 "$record/vllm.log")"
  rm -rf /var/cache/homereel-uv
  # A CUDA 12 wheel would start, load for minutes, and then miss libcudart.so.12.
  "$venv/bin/python3" -c 'import torch, sys; sys.exit(not (torch.version.cuda or "").startswith("13"))' \
    || fail "this vLLM brings a torch for another CUDA than 13, and only one for 13 runs on a GB10"
  echo "$vllm_pin" >"$venv/.complete"
  changed=1
}

# By our own program: it goes on where it stopped and checks every file's hash. The commit that came is pinned.
fetch_weights() {
  local id revision pin path
  id=$(profile_value id)
  [[ $id != /* ]] || return 0
  pin=$vllm_home/revisions/${id//\//--}
  revision=$(profile_value revision)
  [ -f "$pin" ] && [ -f "$pin.complete" ] && return
  say "fetching $id (it goes on where it stopped)"
  path=$(runuser -u homereel-vllm -- env HOME="$vllm_home" HF_HOME="$vllm_home/hf" "$new/bin/homereel" model pull "$id@${revision:-main}" \
    2>"$record/pull.log") || fail "the weights can't be fetched: $(tail -n 1 "$record/pull.log")"
  install -d -o homereel-vllm -g homereel-vllm -m 750 "$vllm_home/revisions"
  basename "$path" >"$pin"
  touch "$pin.complete"
  chown homereel-vllm: "$pin" "$pin.complete"
  changed=1 detail="$id at $(basename "$path")"
}

# One model at a time; its unit is ready when it told the truth.
start_model() {
  local unit=homereel-vllm@$model.service other
  put "$new/units/homereel-vllm@.service" "$units/homereel-vllm@.service" 644
  put "$new/units/homereel-model.slice" "$units/homereel-model.slice" 644
  systemctl daemon-reload
  for other in $(systemctl list-units --all --plain --no-legend 'homereel-vllm@*' | awk '{print $1}'); do
    [ "$other" = "$unit" ] || { systemctl disable -q --now "$other"; changed=1; }
  done
  systemctl is-active -q "$unit" && systemctl is-enabled -q "$unit" && return
  say "starting $model; the first start compiles kernels and takes minutes"
  systemctl reset-failed "$unit" 2>/dev/null || true
  systemctl enable -q "$unit"
  systemctl start "$unit" || fail "$unit does not get ready: $(journalctl -q -u "$unit" -n 3 --no-pager -o cat | tr '\n' ' ')"
  changed=1
}
