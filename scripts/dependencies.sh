# shellcheck shell=bash
# Sourced by the other scripts: installs missing packages on Debian 12 or Ubuntu 24.04. Contains nothing about
# Homereel's own build.

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a command as root, directly or with sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "need root or sudo to run: $*"
  fi
}

# need_packages NAME…: installs the Debian packages that are not installed yet.
need_packages() {
  local name missing=()
  for name in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null || die "apt-get is not available; install these packages yourself: ${missing[*]}"
  say "installing ${missing[*]}"
  # An outdated package list is the usual cause of a failed install: update it and retry once.
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -q "${missing[@]}")
  as_root "${install[@]}" >/dev/null 2>&1 && return 0
  as_root apt-get update -q >/dev/null || die "apt-get update failed"
  as_root "${install[@]}" >&2 || die "apt-get install failed: ${missing[*]}"
}

# Build dependencies of the workspace: a C compiler (SQLite, ring), ffmpeg's headers, clang for bindgen.
need_build_packages() {
  need_packages build-essential pkg-config clang libclang-dev ffmpeg curl ca-certificates \
    libavcodec-dev libavformat-dev libavutil-dev libavdevice-dev libavfilter-dev \
    libswscale-dev libswresample-dev
}

# Installs Rust if there is no cargo; rust-toolchain.toml selects the toolchain.
need_rust() {
  [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
  command -v cargo >/dev/null && return 0
  say "installing Rust with rustup (no cargo in PATH)"
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal >&2 \
    || die "rustup failed; install Rust 1.95 or newer and run this again"
  . "$HOME/.cargo/env"
}

# need_venv DIR PACKAGE==VERSION…: creates a Python environment with these packages, once.
need_venv() {
  local dir=$1; shift
  local stamp="$dir/.packages"
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$*" ] && return 0
  command -v python3 >/dev/null || need_packages python3
  rm -rf "$dir"
  if ! python3 -m venv "$dir" >/dev/null 2>&1; then
    need_packages python3-venv
    rm -rf "$dir"
    python3 -m venv "$dir" || die "python3 -m venv failed"
  fi
  "$dir/bin/pip" install -q --disable-pip-version-check "$@" >&2 || die "pip install failed: $*"
  printf '%s' "$*" >"$stamp"
}

# need_node_modules DIR PACKAGE@VERSION…: creates a directory with these packages in node_modules, once.
need_node_modules() {
  local dir=$1; shift
  local stamp="$dir/.packages"
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$*" ] && return 0
  rm -rf "$dir" && mkdir -p "$dir"
  echo '{"private": true}' >"$dir/package.json"
  npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts "$@" >&2 || die "npm install failed: $*"
  printf '%s' "$*" >"$stamp"
}
