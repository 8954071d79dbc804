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

# Checks the server as a browser and a program on this machine: an anonymous browser is sent to the login, a clip is accepted,
# and a question about it gets the correct answer.
verify() {
  local url=http://$host:$listen_port clip=$root/systemd/share/check.mp4 code said id answer expected status=0
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
  code=$(curl -sS --noproxy '*' --max-time 120 -o "$run/added" -w '%{http_code}' -H "@$run/key" -H 'Content-Type: video/mp4' \
    --data-binary "@$clip" "$url/api/videos?name=deploy-check.mp4" 2>&1) || true
  id=$(grep -oE '"id": ?"[0-9a-f]{32}"' "$run/added" 2>/dev/null | head -n 1 | grep -oE '[0-9a-f]{32}') || true
  if [ -z "$id" ]; then
    verified "a clip uploaded from here" failed "$code $(head -c 300 "$run/added" 2>/dev/null)"
    rm -f "$run/key"
    return 1
  fi
  verified "a clip uploaded from here" passed "$code"
  expected=$(cat "$root/systemd/share/check.expect")
  said=$(curl -sS --noproxy '*' --max-time 600 -H "@$run/key" -H 'Content-Type: application/json' "$url/v1/chat/completions" -d @- 2>&1 <<JSON
{"temperature": 0, "max_tokens": 64, "messages": [{"role": "user", "content": [
  {"type": "video_url", "video_url": {"url": "homereel:$id"}},
  {"type": "text", "text": "$(cat "$root/systemd/share/check.question")"}]}]}
JSON
  ) || true
  answer=$(printf '%s' "$said" | grep -oE '"content": ?"([^"\\]|\\.)*"' | head -n 1 | sed 's/^"content": *"//;s/"$//') || true
  if [[ ${answer,,} == *"${expected,,}"* ]]; then
    verified "a question about it" passed "\"$answer\" (expected: $expected)"
  else
    verified "a question about it" failed "\"${answer:-$said}\"; expected: $expected"
    status=1
  fi
  # Deletes the clip only if it was not in the library before.
  [ "$code" != 201 ] || curl -sS --noproxy '*' --max-time 60 -o /dev/null -X DELETE -H "@$run/key" "$url/api/videos/$id" || true
  rm -f "$run/key"
  return "$status"
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
  report_doctor "$record/doctor.json"
  report_bench "$record"
  report_use "$url"
}

report_doctor() {
  printf '\n## `homereel doctor`\n'
  if [ ! -s "$1" ]; then echo "It could not be run."; return; fi
  # One line for each check; the JSON is flat enough.
  sed 's/{"name"/\n{"name"/g' "$1" \
    | sed -nE 's/^\{"name":"([^"]*)","state":"([^"]*)","found":"(([^"\]|\\.)*)"(,"mend":"(([^"\]|\\.)*)")?.*/- \1: \2, \3 → \6/p' \
    | sed 's/ → $//'
}

report_bench() {
  printf '\n## Performance\n'
  if [ ! -s "$1/bench.md" ]; then echo "Not measured."; return; fi
  cp "$1"/bench*.svg "$state/" 2>/dev/null || true
  # Headings move one level down.
  sed -E '/^# /d; s/^(#+) /#\1 /' "$1/bench.md"
  roofline "$1/probe.json"
}

# The bound by memory bandwidth: each token of a stream reads every active weight once.
roofline() {
  local measured reads
  printf '\n### Memory bandwidth\n\n'
  measured=$(grep -oE '"read_gbs": ?[0-9.]+' "$1" 2>/dev/null | grep -oE '[0-9.]+$') || true
  case $model in
    qwen3-vl-2b | *Qwen3-VL-2B-Instruct) reads=3.4 ;;
    qwen3-vl-8b) reads=8.2 ;;
    qwen3-vl-30b-a3b) reads=3.6 ;;
    *) reads='' ;;
  esac
  if [ -n "$measured" ]; then
    printf 'All cores together read %.1f GB/s from memory (`homereel-bench probe`).' "$measured"
    if [ -n "$reads" ]; then
      printf ' A token of %s reads about %s GB of weights, so one stream decodes at most %s tokens/s.' \
        "$model" "$reads" "$(awk -v a="$measured" -v b="$reads" 'BEGIN {printf "%.1f", a / b}')"
    elif [ "$model" = demo ]; then
      printf ' This bounds models whose weights do not fit into the caches; the demo model has %s.' \
        "$(du -h "$root/server/demo-model/model.safetensors" | cut -f1)"
    fi
    echo
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
  if grep -q '"state":"warn"' "$state/record/doctor.json" 2>/dev/null; then echo "- doctor reports warnings (above), each with a remedy"; found=1; fi
  if [ "$model" = demo ]; then echo "- the demo model only recognizes coloured shapes; choose a real one with \`--model\`"; found=1; fi
  if grep -q $'\tfailed\t' "$state/record/steps.tsv" "$state/record/verify.tsv" 2>/dev/null; then echo "- a step failed (above)"; found=1; fi
  echo "- traffic is HTTP without TLS: use it in your home network, or behind a proxy with a certificate"
  [ -n "$found" ] || echo "- nothing else"
}
