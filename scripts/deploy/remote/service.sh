# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by root.sh: settings, units, service start, status, logs.

# set_value FILE NAME VALUE: sets one line NAME=VALUE and keeps all other lines.
set_value() {
  local file=$1 name=$2 value=$3 line="$2=$3"
  if grep -qxF -- "$line" "$file"; then return; fi
  local new
  new=$(awk -v name="$name" -v line="$line" '
    index($0, name "=") == 1 { if (!done) print line; done = 1; next } { print } END { if (!done) print line }' "$file")
  printf '%s\n' "$new" | put_text "$file" 644 root:root
}

step_settings() {
  local env=$etc/homereel.env
  if [ -f "$env" ]; then cp -p "$env" "$env.before"; else put "$(sources)/homereel.env.sample" "$env" 644; fi
  set_value "$env" HOMEREEL_LISTEN "$listen"
  set_value "$env" HOMEREEL_DATA "$data"
  set_value "$env" HOMEREEL_ENGINE "$engine"
  if [ "$engine" = vllm ]; then
    set_value "$env" HOMEREEL_VLLM_URL "http://127.0.0.1:$(profile_value port)"
    set_value "$env" HF_HOME "$vllm_home/hf"
    set_value "$env" HF_HUB_OFFLINE 1
    # vLLM determines the checkpoint; candle's setting would contradict it.
    sed -i '/^HOMEREEL_MODEL=/d; /^HOMEREEL_DEVICE=/d' "$env"
  else
    set_value "$env" HOMEREEL_MODEL "$model"
    sed -i '/^HOMEREEL_VLLM_URL=/d' "$env"
    # Keeps a value that an operator has set.
    if built_for_cuda && [ -e /dev/nvidiactl ] && ! grep -q '^HOMEREEL_DEVICE=' "$env"; then set_value "$env" HOMEREEL_DEVICE cuda; fi
  fi
  printf '[Socket]\nListenStream=\nListenStream=%s\n' "$listen" \
    | put_text "$units/homereel.socket.d/listen.conf" 644 root:root
  engine_conf | put_text "$units/homereel.service.d/engine.conf" 644 root:root
  guard_env | put_text "$etc/guard.env" 644 root:root
}

built_for_cuda() { grep -qaE 'libcublas\.so\.[0-9]' "$new/bin/homereel"; }

# With vLLM, the server needs little memory; with candle, the model needs most of the machine.
engine_conf() {
  echo '[Service]'
  if [ "$engine" = vllm ]; then
    echo 'MemoryMax=8G'
  elif [ -e /dev/nvidiactl ]; then
    printf '%s\n' PrivateDevices=no 'DeviceAllow=char-nvidia rw' 'DeviceAllow=char-nvidia-frontend rw' \
      'DeviceAllow=char-nvidia-uvm rw' 'DeviceAllow=char-nvidia-caps rw' MemoryDenyWriteExecute=no
  fi
}

# The guard's floor leaves time to react: an eighth of memory, between 512 MiB and 12 GiB.
guard_env() {
  local total floor unit
  total=$(awk '$1 == "MemTotal:" {print int($2 / 1024)}' /proc/meminfo)
  floor=$((total / 8))
  [ "$floor" -ge 512 ] || floor=512
  [ "$floor" -le 12288 ] || floor=12288
  unit=homereel.service
  [ "$engine" != vllm ] || unit='homereel-vllm@*.service'
  echo "HOMEREEL_GUARD_ARGS=--floor-mib $floor --restart-mib $((floor * 2)) --unit $unit"
}

# install_units RELEASE: installs the units of this release and removes all others.
install_units() {
  local file name
  for file in "$1"/units/*; do put "$file" "$units/$(basename "$file")" 644; done
  for file in "$units"/homereel*; do
    name=$(basename "$file")
    [ -f "$file" ] && ! [ -f "$1/units/$name" ] || continue
    rm -f "$file"
  done
  systemctl daemon-reload
}

step_units() {
  # Before the switch, only if none are installed: a running release keeps its own units until then.
  [ -f "$units/homereel.service" ] || { install_units "$new"; changed=1; }
}

start_services() {
  systemctl reset-failed homereel.service homereel.socket 2>/dev/null || true
  # Closes the port only if the address changed; otherwise it stays open during the restart.
  if ! listens_right; then systemctl stop homereel.service homereel.socket; fi
  systemctl enable -q homereel.socket homereel.service homereel-guard.service
  systemctl start homereel.socket || return 0
  systemctl restart homereel.service || true
  systemctl restart homereel-guard.service || true
}

listens_right() {
  systemctl is-active -q homereel.socket || return 1
  local want have
  want=$(sed -n 's/^ListenStream=\(..*\)/\1/p' "$units/homereel.socket.d/listen.conf")
  have=$(systemctl show -p Listen --value homereel.socket | sed 's/ (Stream)//')
  [ "$want" = "$have" ]
}

step_schedule() {
  systemctl is-enabled -q homereel-backup.timer 2>/dev/null && systemctl is-active -q homereel-backup.timer && return
  systemctl enable -q --now homereel-backup.timer
  changed=1
}

# Reads the installed settings, for commands that are called without any.
read_installed() {
  listen=$(sed -n 's/^HOMEREEL_LISTEN=//p' "$etc/homereel.env" 2>/dev/null || true)
  listen=${listen:-127.0.0.1:8080} engine=$(sed -n 's/^HOMEREEL_ENGINE=//p' "$etc/homereel.env" 2>/dev/null || true)
  listen_address=${listen%:*} listen_port=${listen##*:} build=installed model='' new=''
  url_host=$listen_address
  [ "$url_host" != 0.0.0.0 ] || url_host=127.0.0.1
  [ "$url_host" != '[::]' ] || url_host='[::1]'
  url=http://$url_host:$listen_port
  mkdir -p "$record"
}

status() {
  read_installed
  echo "release   $(basename "$(readlink "$base/current" 2>/dev/null || echo none)")"
  echo "address   http://$listen, $(curl -fsS --max-time 10 "$url/readyz" 2>/dev/null || echo 'not ready')"
  systemctl --no-pager --lines=0 status homereel.socket homereel.service homereel-guard.service homereel-backup.timer \
    'homereel-vllm@*' 2>/dev/null | grep -E '^[●○×↻*]|Active:|Status:' || true
  [ ! -x "$base/current/bin/homereel" ] || as_homereel "$base/current/bin/homereel" doctor || true
}

logs() { journalctl -q --no-pager -n 300 -o short-iso -u 'homereel*'; }
