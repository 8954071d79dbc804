# shellcheck shell=bash
# Sourced by deploy.sh: messages and errors on stderr.

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
usage_error() { printf 'error: %s; try --help\n' "$*" >&2; exit 2; }
