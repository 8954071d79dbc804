# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: takes a screenshot of a page behind the login, if this machine has a Chromium. The API key of the
# deploy's check reaches the browser through a pipe (its debugging protocol), so it is in no argument and no environment; it
# is revoked when the deploy ends. Only /system is captured, so that a report contains no videos.

find_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

# photograph URL TO: uses the header in $run/key; fails if no screenshot could be taken.
photograph() {
  local -; set +x
  local url=$1 to=$2 browser header session='' message=0 said='' process to_browser from_browser status=0
  browser=$(find_browser) || return 1
  header=$(cat "$run/key")
  mkfifo "$run/to-browser" "$run/from-browser"
  "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --no-proxy-server --window-size=1100,900 \
    --user-data-dir="$run/browser" --remote-debugging-pipe 3<"$run/to-browser" 4>"$run/from-browser" >/dev/null 2>&1 &
  process=$!
  exec {to_browser}>"$run/to-browser" {from_browser}<"$run/from-browser"
  take_picture || status=1
  kill "$process" 2>/dev/null || true
  wait "$process" 2>/dev/null || true
  exec {to_browser}>&- {from_browser}<&-
  rm -f "$run/to-browser" "$run/from-browser"
  return "$status"
}

take_picture() {
  browser_does Target.createTarget '{"url":"about:blank"}' || return 1
  browser_does Target.attachToTarget "{\"targetId\":\"$(value_of targetId)\",\"flatten\":true}" || return 1
  session=$(value_of sessionId)
  browser_does Network.enable '{}' && browser_does Page.enable '{}' \
    && browser_does Network.setExtraHTTPHeaders "{\"headers\":{\"Authorization\":\"${header#*: }\"}}" \
    && browser_does Page.navigate "{\"url\":\"$url\"}" || return 1
  until [[ $said == *'"method":"Page.loadEventFired"'* ]]; do browser_says || return 1; done
  browser_does Page.captureScreenshot '{"format":"png"}' || return 1
  value_of data | base64 -d >"$to.new" && [ -s "$to.new" ] && mv "$to.new" "$to"
}

# browser_does METHOD PARAMETERS: sets `said` to the result; skips events.
browser_does() {
  message=$((message + 1))
  printf '{"id":%d,"method":"%s","params":%s%s}\0' "$message" "$1" "$2" "${session:+,\"sessionId\":\"$session\"}" >&"$to_browser" || return 1
  until [[ $said == "{\"id\":$message,"* ]]; do browser_says || return 1; done
  [[ $said == *'"result":'* ]]
}

browser_says() { IFS= read -r -d '' -t 20 -u "$from_browser" said; }

value_of() {
  local rest=${said#*\""$1"\":\"}
  printf '%s' "${rest%%\"*}"
}
