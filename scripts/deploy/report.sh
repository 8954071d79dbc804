# shellcheck shell=bash disable=SC2154,SC2016
# Sourced by deploy.sh: verifies the server from this machine, fetches the host's records, and writes report.md from them.
# A failed step is reported as failed.

# Fetches the host's records; the report names what is missing.
bring_back() {
  rm -rf "$state/record"
  mkdir -p "$state/record"
  on_host 'tar -C /var/lib/homereel-deploy -cf - .' </dev/null 2>/dev/null | tar -C "$state/record" -xf - 2>/dev/null || true
  : >"$state/record/verify.tsv"
  rm -f "$state/page.png"
  no_picture=''
}

verified() { printf '%s\t%s\t%s\n' "$@" >>"$state/record/verify.tsv"; }

# curl and the browser read the key from a private file.
fetch_key() {
  local -; set +x
  printf 'Authorization: Bearer %s\n' "$(on_host "cat $remote/key" </dev/null)" >"$run/key"
}

# Checks the server as a browser and a program on this machine: an anonymous browser is sent to the login, and a question
# about the check clip gets the correct answer.
verify() {
  local url=http://$host:$listen_port code
  case $listen_address in
    127.* | '[::1]')
      verified "reached from here" skipped "the server listens on $listen only; use ssh -L $listen_port:$listen $target"
      return 0 ;;
    0.0.0.0 | '[::]') [[ $host != *:* ]] || url="http://[$host]:$listen_port" ;;
    *) url=http://$listen ;;
  esac
  say "verifying $url from this machine"
  code=$(curl -sS --noproxy '*' --max-time 20 -o /dev/null -w '%{http_code} %{redirect_url}' -H 'Accept: text/html' "$url/" 2>&1) || true
  case $code in
    "303 "*/login*) verified "a stranger's browser" passed "is sent to the login" ;;
    *) verified "a stranger's browser" failed "got ${code:-nothing}; there may be a firewall, or the server requires no login"; return 1 ;;
  esac
  fetch_key
  no_picture='the browser failed to take one'
  find_browser >/dev/null || no_picture='the deploying machine has no Chromium'
  photograph "$url/system" "$state/page.png" || true
  rm -f "$run/key"
  check_answer "$url"
}

# Asks from this machine if a build of Homereel runs here, and otherwise on the host, at the address that others use.
check_answer() {
  local -; set +x # keeps the key out of a trace
  local url=$1 said status=0 program where=''
  if program=$(local_homereel); then
    said=$(NO_PROXY='*' HOMEREEL_API_KEY=$(on_host "cat $remote/key" </dev/null) "$program" check "$url" 2>&1) || status=$?
  else
    where=" (asked on $host, because no build of Homereel runs on this machine)"
    said=$(on_host "NO_PROXY='*' HOMEREEL_API_KEY=\$(cat $remote/key) /opt/homereel/current/bin/homereel check '$url'" </dev/null 2>&1) || status=$?
  fi
  verified "a question about the check clip" "$([ "$status" -eq 0 ] && echo passed || echo failed)" "$(tail -n 1 <<<"$said")$where"
  return "$status"
}

# Prints the path of a build that runs on this machine and has the command `check`.
local_homereel() {
  local program
  for program in "${build_from:-}/homereel" "$root/target/release/homereel"; do
    if [ -x "$program" ] && "$program" check --help >/dev/null 2>&1; then printf '%s\n' "$program"; return; fi
  done
  return 1
}

# finish STATUS: revokes the key, writes report.md, and prints where everything is.
finish() {
  local -; set +x # keeps the one-time link out of a trace
  local status=$1 link='' url=http://$listen
  [ "$listen_address" != 0.0.0.0 ] || url=http://$host:$listen_port
  link=$(remote_root finish 2>/dev/null) || true
  # Uses the address by which this machine reaches the server; the host may not know it.
  if [[ $link == http://* ]]; then link="$url/login?once=${link##*once=}"; else link=''; fi
  if [ -f "$state/record/NOTES.md" ]; then cp "$state/record/NOTES.md" "$state/NOTES.md"; fi
  write_report "$status" "$url" >"$state/report.md"
  if [ "$status" -ne 0 ]; then
    warn "the deploy failed; see $state/report.md, fix the cause and run this again"
    return 0
  fi
  say "ready: $url"
  say "report: $state/report.md, notes: $state/NOTES.md"
  # On the terminal only, never in a file.
  if [ -n "$link" ]; then
    say "no password is set yet; whoever opens this link first sets it (valid for a day):"
    printf '%s\n' "$link"
  fi
}

# Prints the report.
write_report() {
  local status=$1 url=$2 record=$state/record
  cat <<HEAD
# Homereel on $host

$(date -u '+%Y-%m-%d %H:%M UTC'), by scripts/deploy.sh. $([ "$status" -eq 0 ] && echo "**All checks passed.**" || echo "**The deploy failed: see the failed step.**")

## The machine
| | |
| --- | --- |
| system | ${fact[os_name]:-?}, kernel ${fact[kernel]:-?}, systemd ${fact[systemd]:-?} |
| processor | ${fact[arch]:-?}, ${fact[processors]:-?} cores |
| memory | $(number memory_mib) MiB, $(number available_mib) available before the deploy, swap $(number swap_mib) |
| disk | $(number disk_var_mib) MiB free before the deploy |
| GPU | $([ -n "${fact[gpu]:-}" ] && echo "${fact[gpu]}, compute capability ${fact[gpu_compute]:-unknown}, driver ${fact[gpu_driver]:-unknown}, CUDA ${fact[gpu_cuda]:-unknown}, $(gpu_memory)" || echo none) |

## Steps
Engine $engine, model $model, http://$listen. Release $sha, $([ "$build" = carried ] && echo "built locally" || echo "built on the host").

| step | | what |
| --- | --- | --- |
HEAD
  if [ -s "$record/steps.tsv" ]; then
    awk -F'\t' '{gsub(/\|/, "\\|"); printf "| %s | %s (%s s) | %s |\n", $1, ($2 == "failed" ? "**failed**" : $2), $3, $4}' "$record/steps.tsv"
  else
    echo "| | **nothing was recorded** | the connection was lost, or sudo failed |"
  fi
  if [ -s "$record/versions" ]; then printf '\nVersions: '; paste -sd, "$record/versions" | sed 's/,/, /g'; fi
  printf '\n## Checks of the running server\n| test | | what |\n| --- | --- | --- |\n'
  awk -F'\t' '$1 == "switch" || $1 == "check" {printf "| on the machine: %s | %s | %s |\n", $1, ($2 == "failed" ? "**failed**" : "passed"), $4}' \
    "$record/steps.tsv" 2>/dev/null || true
  awk -F'\t' '{gsub(/\|/, "\\|"); printf "| from here: %s | %s | %s |\n", $1, ($2 == "failed" ? "**failed**" : $2), $3}' "$record/verify.tsv" 2>/dev/null || true
  report_doctor "$record/doctor.md"
  report_bench "$record"
  report_use "$url"
}

report_doctor() {
  printf '\n## `homereel doctor`\n'
  if [ -s "$1" ]; then cat "$1"; else echo "It could not be run."; fi
}

report_bench() {
  printf '\n## Performance\n'
  if [ ! -s "$1/bench.md" ]; then echo "Not measured."; return; fi
  cp "$1"/bench*.svg "$state/" 2>/dev/null || true
  # Headings move one level down.
  sed -E '/^# /d; s/^(#+) /#\1 /' "$1/bench.md"
  roofline "$1/probe.log"
}

# The bound by memory bandwidth: each token of a stream reads every active weight once.
roofline() {
  printf '\n### Memory bandwidth\n\n'
  if [ -s "$1" ]; then
    printf '```text\n%s\n```\n' "$(cat "$1")"
    [ "$model" != demo ] || echo "This bounds models whose weights do not fit into the caches; those of the demo model do."
  else
    echo "The memory bandwidth was not measured."
  fi
  [[ ${fact[gpu]:-} == *GB10* ]] || return 0
  cat <<'ROOF'

The GPU of a DGX Spark reads the same memory at 273 GB/s at most. This bounds one stream at 33 tokens/s for 8B in FP8, 76 for
30B-A3B in FP8 and 80 for 2B in BF16. Published results with vLLM and text on the same hardware: 20.5 for an 8B in FP8, 51 to
54 for a 30B-A3B in FP8, 43 for a 2B in BF16; we know of none for Qwen3-VL with video on one Spark. A figure above the bound
is a measurement error.
ROOF
}

report_use() {
  cat <<USE

## How to use it
- In a browser: $1
$(picture)
- By a program: create a key on $host with \`sudo homereel keys add NAME\`, then

  \`\`\`sh
  curl -H "Authorization: Bearer \$KEY" -F files=@clip.mp4 $1/api/videos
  OPENAI_API_KEY=\$KEY OPENAI_BASE_URL=$1/v1 python -c 'import openai; print(openai.OpenAI().models.list())'
  \`\`\`
- \`scripts/deploy.sh $target --status\`, \`--logs\`, \`--rollback\`, \`--uninstall\`
- On $host: \`sudo homereel doctor\`, \`sudo homereel notes\`

## Open points
$(open_points)
USE
}

picture() {
  if [ -f "$state/page.png" ]; then
    printf '\n  ![the page /system during this deploy](page.png)\n'
  else
    printf '\n  (No screenshot: %s.)\n' "${no_picture:-the server was not verified from this machine}"
  fi
}

open_points() {
  local found=''
  if grep -qE ': warn, ' "$state/record/doctor.md" 2>/dev/null; then echo "- doctor reports warnings (above), each with a remedy"; found=1; fi
  if [ "$model" = demo ]; then echo "- the demo model only recognizes coloured shapes; choose a real one with \`--model\`"; found=1; fi
  if grep -q $'\tfailed\t' "$state/record/steps.tsv" "$state/record/verify.tsv" 2>/dev/null; then echo "- a step failed (above)"; found=1; fi
  echo "- traffic is HTTP without TLS: use it in your home network, or behind a proxy with a certificate"
  [ -n "$found" ] || echo "- nothing else"
}
