# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by root.sh: vLLM in its own Python environment, model weights, the unit of a profile.

# Pinned to a version that is known to work on a DGX Spark.
vllm_pin=0.28.0

vllm_version() { "$base/vllm/bin/python3" -c 'from importlib.metadata import version; print(version("vllm"))' 2>/dev/null; }

profile_value() {
  local python=python3
  [ ! -x "$base/vllm/bin/python3" ] || python=$base/vllm/bin/python3
  HOMEREEL_PROFILES=$etc/models:$new/models "$python" "$new/libexec/vllm_profile.py" "$model" "$1"
}

step_model() {
  [ "$engine" = vllm ] || { detail="$model, with candle"; return 0; }
  install_vllm
  fetch_weights
  # The unit runs helpers of `current`, which does not exist before the first deploy.
  [ -e "$base/current" ] || point "$new"
  start_model
  detail="vLLM $(vllm_version), profile $model${detail:+, $detail}"
}

install_vllm() {
  local venv=$base/vllm
  if [ -n "$vllm_python" ]; then
    # An existing environment on this machine (used by the tests).
    [ "$(readlink "$venv" 2>/dev/null)" = "$vllm_python" ] || { rm -rf "$venv"; ln -sfn "$vllm_python" "$venv"; changed=1; }
    return
  fi
  [ "$(cat "$venv/.complete" 2>/dev/null)" = "$vllm_pin" ] && return
  say "installing vLLM $vllm_pin (several GB)"
  rm -rf "$venv" "$venv.partial"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check uv >"$record/vllm.log" 2>&1 || fail "uv: $(tail -n 2 "$record/vllm.log")"
  VIRTUAL_ENV=$venv UV_CACHE_DIR=/var/cache/homereel-uv "$venv/bin/uv" pip install -q "vllm==$vllm_pin" >>"$record/vllm.log" 2>&1 \
    || fail "failed to install vLLM: $(tail -n 3 "$record/vllm.log")"
  rm -rf /var/cache/homereel-uv
  # A wheel for CUDA 12 would load for minutes and then fail because libcudart.so.12 is missing.
  "$venv/bin/python3" -c 'import torch, sys; sys.exit(not (torch.version.cuda or "").startswith("13"))' \
    || fail "this vLLM includes a torch that is not built for CUDA 13, which a GB10 needs"
  echo "$vllm_pin" >"$venv/.complete"
  changed=1
}

# Downloads with `homereel model pull`, which resumes and verifies every file. The downloaded commit is pinned.
fetch_weights() {
  local id revision pin path
  id=$(profile_value id)
  [[ $id != /* ]] || return 0
  pin=$vllm_home/revisions/${id//\//--}
  revision=$(profile_value revision)
  [ -f "$pin" ] && [ -f "$pin.complete" ] && return
  say "downloading $id (an interrupted download is resumed)"
  path=$(runuser -u homereel-vllm -- env HOME="$vllm_home" HF_HOME="$vllm_home/hf" "$new/bin/homereel" model pull "$id@${revision:-main}" \
    2>"$record/pull.log") || fail "failed to download the weights: $(tail -n 1 "$record/pull.log")"
  install -d -o homereel-vllm -g homereel-vllm -m 750 "$vllm_home/revisions"
  basename "$path" >"$pin"
  touch "$pin.complete"
  chown homereel-vllm: "$pin" "$pin.complete"
  changed=1 detail="$id at $(basename "$path")"
}

# Starts one model, after stopping others; its unit is ready once it has answered correctly.
start_model() {
  local unit=homereel-vllm@$model.service other
  put "$new/units/homereel-vllm@.service" "$units/homereel-vllm@.service" 644
  put "$new/units/homereel-model.slice" "$units/homereel-model.slice" 644
  systemctl daemon-reload
  for other in $(systemctl list-units --all --plain --no-legend 'homereel-vllm@*' | awk '{print $1}'); do
    [ "$other" = "$unit" ] || { systemctl disable -q --now "$other"; changed=1; }
  done
  systemctl is-active -q "$unit" && systemctl is-enabled -q "$unit" && return
  say "starting $model (the first start compiles kernels and takes minutes)"
  systemctl reset-failed "$unit" 2>/dev/null || true
  systemctl enable -q "$unit"
  systemctl start "$unit" || fail "$unit is not ready: $(journalctl -q -u "$unit" -n 3 --no-pager -o cat | tr '\n' ' ')"
  changed=1
}
