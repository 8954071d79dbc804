# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: packs and sends the payload, either a release or the sources.

pack() {
  payload=$run/payload
  rm -rf "$payload"
  mkdir -p "$payload"
  sha=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
  [ -z "$(git -C "$root" status --porcelain --untracked-files=no 2>/dev/null)" ] || sha+=-changed
  if [ "$build" = carried ]; then
    say "packing the build in $build_from"
    "$root/scripts/deploy/make-release.sh" "$root" "$build_from" "$payload/release" "$sha"
  else
    say "packing the sources ($sha)"
    mkdir "$payload/source"
    git -C "$root" archive HEAD | tar -C "$payload/source" -xf -
  fi
  settings >"$payload/settings"
}

# Settings for root.sh; every value was validated when it was parsed.
settings() {
  printf '%s\n' "user=$user" "sha=$sha" "build=$build" "engine=$engine" "model=$model" "listen=$listen" \
    "listen_address=$listen_address" "listen_port=$listen_port" "bench=${bench_again:-}" \
    "stop_after=${HOMEREEL_DEPLOY_STOP_AFTER:-}" "vllm_python=${HOMEREEL_DEPLOY_VLLM:-}"
}

# Sends the payload to a directory named by its hash; a payload that is already there is not sent again.
send() {
  send_scripts
  local sum there
  sum=$(tar -C "$payload" --exclude=./settings --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - . | sha256sum | cut -d' ' -f1)
  there=.cache/homereel-deploy/$sum
  on_host "mkdir -p .cache/homereel-deploy && chmod 700 .cache/homereel-deploy" </dev/null
  if ! on_host "test -f $there/complete" </dev/null; then
    say "sending $(du -sh "$payload" | cut -f1) to $host"
    tar -C "$payload" -czf - . \
      | on_host "rm -rf .cache/homereel-deploy/*; mkdir -p $there && tar -C $there -xzf - && touch $there/complete"
  fi
  # shellcheck disable=SC2029 # expanded here on purpose
  on_host "ln -sfn \"\$HOME/$there\" $remote/payload && cat >$remote/settings" <"$payload/settings"
}
