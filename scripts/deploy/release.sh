# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: what travels to the host: the programs with everything beside them, or the sources.

pack() {
  payload=$run/payload
  rm -rf "$payload"
  mkdir -p "$payload"
  sha=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
  [ -z "$(git -C "$root" status --porcelain --untracked-files=no 2>/dev/null)" ] || sha+=-changed
  if [ "$build" = carried ]; then
    say "packing the build of $build_from"
    "$root/scripts/deploy/make-release.sh" "$root" "$build_from" "$payload/release" "$sha"
  else
    say "packing the sources ($sha)"
    mkdir "$payload/source"
    git -C "$root" archive HEAD | tar -C "$payload/source" -xf -
  fi
  settings >"$payload/settings"
}

# What root.sh has to know; every value was checked when it was read.
settings() {
  printf '%s\n' "user=$user" "sha=$sha" "build=$build" "engine=$engine" "model=$model" "listen=$listen" \
    "listen_address=$listen_address" "listen_port=$listen_port" "bench=${bench_again:-}" \
    "stop_after=${HOMEREEL_DEPLOY_STOP_AFTER:-}" "vllm_python=${HOMEREEL_DEPLOY_VLLM:-}"
}

# Sends it to a place of its own, whole or not at all; the same bytes are not sent twice.
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
  # shellcheck disable=SC2029 # ours to expand
  on_host "ln -sfn \"\$HOME/$there\" $remote/payload && cat >$remote/settings" <"$payload/settings"
}
