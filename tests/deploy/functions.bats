#!/usr/bin/env bats
# Tests the functions of scripts/deploy.sh, with stubs for the programs that would connect to another machine.

setup() {
  root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  export HOMEREEL_DEPLOY_STATE=$BATS_TEST_TMPDIR/state
  stubs=$BATS_TEST_TMPDIR/stubs
  mkdir -p "$stubs"
  PATH=$stubs:$PATH
}

# stub NAME <<<'script': creates a program that records its arguments, then runs the script.
stub() {
  { printf '#!/bin/bash\nprintf "%%s\\n" "$0 $*" >>"%s/calls"\n' "$BATS_TEST_TMPDIR"; cat; } >"$stubs/$1"
  chmod +x "$stubs/$1"
}

parts() {
  local part
  for part in say arguments connection facts plan release photograph report; do . "$root/scripts/deploy/$part.sh"; done
}

# Sets the facts of a DGX Spark, as facts.sh reports them.
spark() {
  cat >"$BATS_TEST_TMPDIR/facts" <<'FACTS'
arch=aarch64
kernel=6.17.0-1014-nvidia
os_id=ubuntu
os_version=24.04
os_name=Ubuntu 24.04.4 LTS
systemd=255
processors=20
memory_mib=124610
available_mib=118000
swap_mib=0
disk_opt_mib=3000000
disk_var_mib=3000000
uid=1000
sudo=password
gpu=NVIDIA GB10
gpu_driver=580.95.05
gpu_compute=12.1
gpu_memory_mib=
gpu_cuda=13.0
port=free
glibc=2.39
ffmpeg=
ffmpeg_apt=libavcodec60 libavformat60 libavutil58 libswscale7 libswresample4
FACTS
  printf 'now=%s\n' "$EPOCHSECONDS" >>"$BATS_TEST_TMPDIR/facts"
  read_facts "$BATS_TEST_TMPDIR/facts"
}

# with KEY=VALUE…: prints the plan's objections on a Spark with other facts.
with() {
  parts
  parse op@10.0.0.5
  spark
  local pair
  for pair in "$@"; do fact[${pair%%=*}]=${pair#*=}; done
  build=carried
  engine=${engine:-vllm} model=${model:-qwen3-vl-8b}
  objections
}

@test "a Spark is deployable, with vLLM and the 8B model by default" {
  parts
  parse op@10.0.0.5
  spark
  decide
  [ "$engine $model" = "vllm qwen3-vl-8b" ]
  [ -z "$(objections)" ]
  # A build for this machine does not run there.
  [ "$build" = there ]
}

@test "N/A of a GB10 is unknown, never a number" {
  cp "$root/tests/deploy/fixtures/nvidia-smi" "$stubs/"
  run sh "$root/scripts/deploy/remote/facts.sh" 8080
  [ "$status" -eq 0 ]
  [[ $output == *"gpu=NVIDIA GB10"* && $output == *"gpu_cuda=13.0"* && $output == *$'gpu_memory_mib=\n'* ]]
  parts
  spark
  [ "$(gpu_memory)" = "unified memory" ]
}

@test "arguments that do not fit are refused before anything is touched" {
  local words
  for words in '' 'host' 'a@b c@d' 'op@-oProxyCommand=x' 'op@host;id' 'op@h --listen 8080' 'op@h --listen 1.2.3.4:99999' \
    'op@h --engine tpu' 'op@h --model $(id)' 'op@h --port ssh' 'op@h --password-file /nowhere' 'op@h --purge' 'op@h --nope' 'op@h --engine'; do
    run "$root/scripts/deploy.sh" $words
    [ "$status" -eq 2 ] || { echo "'$words': $status $output"; false; }
    [[ $output == *"try --help"* ]]
  done
  [ ! -e "$HOMEREEL_DEPLOY_STATE" ]
}

@test "the help lists every flag" {
  run "$root/scripts/deploy.sh" --help
  [ "$status" -eq 0 ]
  local flag
  while read -r flag; do [[ $output == *"$flag"* ]] || { echo "no $flag"; false; }; done \
    < <(grep -oE '^ +--[a-z-]+' "$root/scripts/deploy/arguments.sh" | tr -d ' ')
  [[ $output != *shellcheck* ]]
}

@test "everything that cannot work is reported with a remedy" {
  [[ $(with os_id=fedora "os_name=Fedora 43") == *"Fedora 43 is not supported; Debian 12"* ]]
  [[ $(with os_id=ubuntu os_version=22.04) == *"is not supported"* ]]
  [[ $(with arch=riscv64) == *"x86_64 or aarch64"* ]]
  [[ $(with systemd=) == *"systemd is not running"* ]]
  [[ $(with sudo=none) == *"adduser op sudo"* ]]
  [[ $(with port=taken) == *"--listen"* ]]
  [[ $(with disk_var_mib=900) == *"900 MiB of disk are free"* ]]
  [[ $(with memory_mib=512) == *"512 MiB of memory"* ]]
  [[ $(with gpu=) == *"--engine candle"* ]]
  [[ $(with gpu_cuda=12.8) == *"CUDA 12.8"*"580"* ]]
  [[ $(with now=1000) == *"set-ntp"* ]]
  [ -z "$(with)" ]
}

@test "facts are data: nothing that a host reports is executed" {
  parts
  printf 'os_name=$(touch %s/owned)\nevil;id=1\nmemory_mib=12; id\nport=`id`\n\033[31mx=1\n' "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/facts"
  read_facts "$BATS_TEST_TMPDIR/facts"
  [ "$(number memory_mib)" = 0 ]
  [ ! -e "$BATS_TEST_TMPDIR/owned" ]
  [ "${#fact[@]}" -eq 3 ]
}

@test "a build is carried over only where it runs" {
  parts
  parse op@10.0.0.5
  spark
  printf '\177ELF%14s\076\000 libavcodec.so.59 GLIBC_2.34 GLIBC_2.4' '' >"$BATS_TEST_TMPDIR/homereel"
  [[ $(why_not_carried "$BATS_TEST_TMPDIR/homereel") == *"x86_64, 10.0.0.5 is aarch64"* ]]
  fact[arch]=x86_64
  [[ $(why_not_carried "$BATS_TEST_TMPDIR/homereel") == *"libavcodec.so.59"* ]]
  fact[ffmpeg_apt]="libavcodec59 libavformat59"
  [ -z "$(why_not_carried "$BATS_TEST_TMPDIR/homereel")" ]
  fact[glibc]=2.31
  [[ $(why_not_carried "$BATS_TEST_TMPDIR/homereel") == *"glibc 2.34"* ]]
}

@test "a cross-build is carried to its architecture, and candle is built where the GPU is" {
  parts
  parse op@10.0.0.5
  spark
  root=$BATS_TEST_TMPDIR/project
  local crossed=$root/target/aarch64-unknown-linux-gnu/release
  mkdir -p "$crossed" "$root/target/release"
  printf '\177ELF%14s\267\000 libavcodec.so.60 GLIBC_2.34' '' >"$crossed/homereel"
  printf '\177ELF%14s\076\000 libavcodec.so.60 GLIBC_2.34' '' >"$root/target/release/homereel"
  chmod +x "$crossed/homereel" "$root/target/release/homereel"
  stub uname <<<'echo x86_64'
  engine=vllm
  decide_build
  [ "$build" = carried ] && [ "$build_from" = "$crossed" ]
  engine=candle
  decide_build
  [ "$build" = there ] && [[ $build_why == *"without CUDA"* ]]
  printf ' libcublas.so.13' >>"$crossed/homereel"
  decide_build
  [ "$build" = carried ]
}

@test "a trace of a deploy does not contain the password" {
  parts
  parse op@10.0.0.5
  open_state
  printf 'Pass phrase 1\n' >"$BATS_TEST_TMPDIR/password"
  password_file=$BATS_TEST_TMPDIR/password
  stub ssh <<<'cat >/dev/null; [ -z "${SSH_ASKPASS:-}" ] || "$SSH_ASKPASS" >/dev/null'
  ssh-keygen -q -t ed25519 -N '' -f "$state/id_ed25519"
  root_by=password remote=/nowhere
  exec 7>"$BATS_TEST_TMPDIR/trace"
  BASH_XTRACEFD=7
  set -x
  need_password
  install_key
  sudo_works
  remote_root status
  set +x
  grep -q remote_root "$BATS_TEST_TMPDIR/trace"
  [ "$password" = 'Pass phrase 1' ]
  ! grep -q 'Pass phrase' "$BATS_TEST_TMPDIR/trace"
}

@test "the password is in no argument, no environment and no file that stays" {
  # ssh rejects keys, takes the password from askpass, and records its environment.
  stub ssh-keyscan <<<'echo "10.0.0.5 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1mI0V4h9cW3mZQ9p0w0o9b3k6k6k6k6k6k6k6k6k6k"'
  stub ssh <<'SSH'
case "$*" in
  *BatchMode=yes*-O\ exit*) exit 0 ;;
  *BatchMode=yes*true) [ -e "$STUB/installed" ] || { echo "Permission denied (publickey,password)." >&2; exit 255; } ;;
  *PreferredAuthentications*) [ "$("$SSH_ASKPASS")" = "$(cat "$STUB/secret")" ] || { echo "Permission denied" >&2; exit 255; }
    cat >/dev/null; touch "$STUB/installed" ;;
  *) ;;
esac
env | sort >>"$STUB/environment"
SSH
  export STUB=$BATS_TEST_TMPDIR
  printf 's3cret $(id) "x\n' >"$STUB/secret"
  parts
  parse op@10.0.0.5 --password-file "$STUB/secret" --yes
  (open_state && connect)
  [ -e "$STUB/installed" ]
  ! grep -rF 's3cret' "$STUB/calls" "$STUB/environment" "$HOMEREEL_DEPLOY_STATE"
  ! ls -d /dev/shm/hr.* 2>/dev/null
  # A wrong password is refused.
  rm "$STUB/installed"
  echo wrong >"$STUB/wrong"
  parse op@10.0.0.5 --password-file "$STUB/wrong" --yes
  run bash -c "$(declare -f); root=$root; parts; parse op@10.0.0.5 --password-file $STUB/wrong --yes; open_state; connect"
  [ "$status" -eq 1 ]
  [[ $output == *"refused the password of op"* ]]
}

@test "a host key that changed or does not match stops the deploy before the password" {
  stub ssh-keyscan <<<'echo "10.0.0.5 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1mI0V4h9cW3mZQ9p0w0o9b3k6k6k6k6k6k6k6k6k6k"'
  stub ssh <<<'echo "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @" >&2; exit 255'
  echo secret >"$BATS_TEST_TMPDIR/secret"
  run "$root/scripts/deploy.sh" op@10.0.0.5 --password-file "$BATS_TEST_TMPDIR/secret" --yes
  [ "$status" -eq 1 ]
  [[ $output == *"is not the one that was pinned"*"known_hosts"* ]]
  rm -r "$HOMEREEL_DEPLOY_STATE"
  run "$root/scripts/deploy.sh" op@10.0.0.5 --fingerprint SHA256:another --yes
  [ "$status" -eq 1 ]
  [[ $output == *"nothing was sent"* ]]
  [ ! -e "$HOMEREEL_DEPLOY_STATE/10.0.0.5/known_hosts" ]
}

@test "a setting is one line; what an operator wrote stays" {
  here=$root/scripts/deploy/remote
  . "$here/common.sh"
  . "$here/service.sh"
  chown() { :; }
  local file=$BATS_TEST_TMPDIR/env
  printf '# mine\nRUST_LOG=debug\nHOMEREEL_LISTEN=1\nHOMEREEL_LISTEN=2\n' >"$file"
  put_text() { cat >"$1"; changed=1; }
  changed=
  set_value "$file" HOMEREEL_LISTEN 0.0.0.0:8080
  set_value "$file" HOMEREEL_ENGINE candle
  [ "$(cat "$file")" = $'# mine\nRUST_LOG=debug\nHOMEREEL_LISTEN=0.0.0.0:8080\nHOMEREEL_ENGINE=candle' ]
  changed=
  set_value "$file" HOMEREEL_ENGINE candle
  [ -z "$changed" ]
}

@test "a file is replaced only if it differs" {
  here=$root/scripts/deploy/remote
  . "$here/common.sh"
  local me
  me=$(id -un):$(id -gn)
  echo one >"$BATS_TEST_TMPDIR/from"
  changed=
  put "$BATS_TEST_TMPDIR/from" "$BATS_TEST_TMPDIR/a/to" 640 "$me"
  [ "$changed" = 1 ]
  changed=
  put "$BATS_TEST_TMPDIR/from" "$BATS_TEST_TMPDIR/a/to" 640 "$me"
  [ -z "$changed" ]
  put "$BATS_TEST_TMPDIR/from" "$BATS_TEST_TMPDIR/a/to" 600 "$me"
  [ "$changed" = 1 ]
  [ "$(stat -c %a "$BATS_TEST_TMPDIR/a/to")" = 600 ]
}

@test "a failed step is reported as failed" {
  parts
  parse op@10.0.0.5
  spark
  engine=vllm model=qwen3-vl-8b sha=abc build=there state=$BATS_TEST_TMPDIR
  mkdir -p "$state/record"
  printf 'packages\tchanged\t9\tinstalled x\nswitch\tfailed\t0\tnot ready | after 120 s\n' >"$state/record/steps.tsv"
  printf "a stranger's browser\tfailed\tgot 200\n" >"$state/record/verify.tsv"
  run write_report 1 http://10.0.0.5:8080
  [ "$status" -eq 0 ]
  [[ $output == *"The deploy failed"* ]]
  [[ $output == *"| switch | **failed** (0 s) | not ready \\| after 120 s |"* ]]
  [[ $output == *"from here: a stranger's browser | **failed**"* ]]
  [[ $output == *"Not measured."* && $output != *"All checks passed"* ]]
}

@test "model profiles are complete, and an invalid one is refused with its reason" {
  local libexec=$root/systemd/libexec file
  for file in "$root"/systemd/models/*.toml "$root"/systemd/two-sparks/*.toml; do
    HOMEREEL_PROFILES=$(dirname "$file") python3 "$libexec/vllm_profile.py" "$(basename "$file" .toml)" port
  done
  run env HOMEREEL_PROFILES="$root/systemd/models" python3 -c "
import sys; sys.path.insert(0, '$libexec'); import vllm_profile
print(*vllm_profile.arguments(vllm_profile.load('qwen3-vl-8b')))"
  [[ $output == "serve Qwen/Qwen3-VL-8B-Instruct-FP8 --served-model-name qwen3-vl-8b --revision main --host 127.0.0.1"* ]]
  [[ $output == *"--trust-request-mm-kwargs"*"--gpu-memory-utilization 0.4 "* ]]
  mkdir "$BATS_TEST_TMPDIR/p"
  sed 's/memory_fraction = 0.40/memory_fraction = 0.95/' "$root/systemd/models/qwen3-vl-8b.toml" >"$BATS_TEST_TMPDIR/p/greedy.toml"
  sed 's/port = 8000/prot = 8000/' "$root/systemd/models/qwen3-vl-8b.toml" >"$BATS_TEST_TMPDIR/p/typo.toml"
  run env HOMEREEL_PROFILES="$BATS_TEST_TMPDIR/p" python3 "$libexec/vllm_profile.py" greedy port
  [ "$status" -eq 1 ] && [[ $output == *"0.95; 0.05 to 0.85"* ]]
  run env HOMEREEL_PROFILES="$BATS_TEST_TMPDIR/p" python3 "$libexec/vllm_profile.py" typo port
  [ "$status" -eq 1 ] && [[ $output == *"unknown key prot"* ]]
  run env HOMEREEL_PROFILES="$BATS_TEST_TMPDIR/p" python3 "$libexec/vllm_profile.py" ../x port
  [ "$status" -eq 1 ] && [[ $output == *"is no profile"* ]]
}

@test "vLLM's gate checks the profile's model at the profile's port, as long as vLLM runs" {
  stub homereel <<<'exit "${STATUS:-0}"'
  local gate=("$root/systemd/libexec/vllm-gate" qwen3-vl-8b 5)
  export HOMEREEL_VLLM_PYTHON=python3 HOMEREEL_BIN=$stubs/homereel HOMEREEL_PROFILES=$root/systemd/models
  run "${gate[@]}"
  [ "$status" -eq 0 ]
  MAINPID=77 STATUS=1 run "${gate[@]}"
  [ "$status" -eq 1 ]
  local arguments='check http://127.0.0.1:8000 --model qwen3-vl-8b --wait 5'
  [ "$(cut -d' ' -f2- "$BATS_TEST_TMPDIR/calls")" = "$arguments"$'\n'"$arguments --pid 77" ]
}

@test "the question is asked from here if a build runs here, else on the host" {
  parts
  parse op@10.0.0.5
  spark
  state=$BATS_TEST_TMPDIR remote=/r root=$BATS_TEST_TMPDIR/project
  mkdir -p "$state/record" "$root/target/release"
  on_host() { printf '%s\n' "$*" >>"$BATS_TEST_TMPDIR/on_host"; [[ $* == cat* ]] || { echo "error: answered red"; return 1; }; }
  run check_answer http://10.0.0.5:8080
  [ "$status" -eq 1 ]
  grep -q "check 'http://10.0.0.5:8080'" "$BATS_TEST_TMPDIR/on_host"
  [[ $(cat "$state/record/verify.tsv") == *$'\tfailed\terror: answered red (asked on 10.0.0.5, '* ]]
  stub homereel <<<'echo "answers correctly"'
  cp "$stubs/homereel" "$root/target/release/"
  run check_answer http://10.0.0.5:8080
  [ "$status" -eq 0 ]
  [[ $(tail -n 1 "$state/record/verify.tsv") == *$'\tpassed\tanswers correctly' ]]
}

@test "the units stay within their exposure limits, and systemd parses them" {
  command -v systemd-analyze >/dev/null || skip "no systemd-analyze"
  local unit limit
  while read -r unit limit; do
    run systemd-analyze security --offline=true --threshold="$limit" "$root/systemd/$unit"
    [ "$status" -eq 0 ] || { echo "$unit: $output" | tail -n 3; false; }
  done <<'LIMITS'
homereel.service 15
homereel-vllm@.service 20
homereel-guard.service 15
homereel-backup.service 15
LIMITS
}
