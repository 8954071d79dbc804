#!/usr/bin/env bash
# Cross-compiles Homereel for a DGX Spark (aarch64) on an x86-64 machine, with this distribution's compiler and the target's
# own ffmpeg and C library in a sysroot. Then runs it with qemu: a question with a known answer, the worker's sandbox, and
# the unit tests.
#
#   scripts/build-aarch64.sh [--suite noble|bookworm|trixie] [--no-run] [--no-tests]
#
#   --suite     the target's release: noble (Ubuntu 24.04, ffmpeg 6.1) for a DGX Spark [default], bookworm or trixie (Debian)
#   --no-run    only build
#   --no-tests  build, and ask the question with qemu-user
#
# Exit status 69: the libraries cannot be downloaded.
#
# The binaries are in target/aarch64-unknown-linux-gnu/release. Running them needs root, for a chroot. qemu-user implements
# neither seccomp nor Landlock, so the video worker runs in a weaker sandbox there, and reports it. To test the whole
# sandbox, scripts/deploy/boot-aarch64.sh boots a kernel in an emulated machine.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh

suite=noble run=1 tests=1
while [ $# -gt 0 ]; do
  case $1 in
    --suite) suite=${2:?--suite needs a name}; shift ;;
    --no-run) run='' ;;
    --no-tests) tests='' ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) echo "unknown argument '$1'; try --help" >&2; exit 2 ;;
  esac
  shift
done
case $suite in
  noble) mirror=http://ports.ubuntu.com/ubuntu-ports components=main,universe ;;
  bookworm | trixie) mirror=http://deb.debian.org/debian components=main ;;
  *) die "--suite $suite; noble, bookworm or trixie would fit" ;;
esac
target=aarch64-unknown-linux-gnu triple=aarch64-linux-gnu
sysroot=$PWD/target/sysroot-$suite
# Libraries to link with, and ffmpeg itself, with which the tests create clips.
packages=libc6-dev,libstdc++-12-dev,libgcc-12-dev,libavcodec-dev,libavformat-dev,libavutil-dev,libswscale-dev,libswresample-dev,ffmpeg

# Creates the sysroot: headers and libraries of the target. Nothing in it is executed meanwhile.
make_sysroot() {
  [ "$(cat "$sysroot/.packages" 2>/dev/null)" = "$packages" ] && return
  need_packages debootstrap curl
  if ! curl -fsIL --max-time 30 -o /dev/null "$mirror/dists/$suite/InRelease"; then
    printf 'error: %s\n' "$mirror, the mirror of $suite, cannot be reached.
$(other_suites)" >&2
    exit 69
  fi
  say "fetching $suite for aarch64 into $sysroot"
  as_root rm -rf "$sysroot"
  as_root debootstrap --foreign --arch=arm64 --variant=minbase --components="$components" --include="$packages" \
    "$suite" "$sysroot" "$mirror" "$(debootstrap_script)" >"$sysroot.log" 2>&1 || die "debootstrap failed: $(tail -n 3 "$sysroot.log")"
  if grep -q 'Cannot check Release signature' "$sysroot.log"; then
    say "the signatures of the packages were not verified: this machine has no keyring of $suite"
  fi
  # /lib and others are links into /usr, and stay links.
  local package
  for package in "$sysroot"/var/cache/apt/archives/*.deb; do
    # shellcheck disable=SC2016 # the inner shell expands it
    as_root sh -c 'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"' sh "$package" "$sysroot"
  done
  as_root rm -rf "$sysroot"/var/cache/apt/archives
  # debootstrap leaves a link to this machine's /proc where it may not mount.
  [ ! -L "$sysroot/proc" ] || as_root rm "$sysroot/proc"
  # Absolute links would lead out of the sysroot.
  as_root find "$sysroot/usr/lib" -xdev -lname '/*' 2>/dev/null | while read -r link; do
    as_root ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$sysroot$(readlink "$link")")" "$link"
  done
  one_thread
  printf '%s' "$packages" | as_root tee "$sysroot/.packages" >/dev/null
}

# An older debootstrap does not know newer releases; all releases of a distribution use the same script.
debootstrap_script() {
  local scripts=/usr/share/debootstrap/scripts name=sid
  [ "$suite" != noble ] || name=gutsy
  if [ -e "$scripts/$suite" ]; then echo "$scripts/$suite"; else echo "$scripts/$name"; fi
}

# Prints what to do when the mirror cannot be reached.
other_suites() {
  case $suite in
    noble) echo "For a DGX Spark, build on a machine that can reach it, or on the Spark (scripts/deploy.sh does that). To test the program on
aarch64, use --suite bookworm; that build has Debian's ffmpeg 5.1 and does not start on a Spark." ;;
    *) echo "--suite noble comes from ports.ubuntu.com." ;;
  esac
}

# A worker refuses to enter its sandbox while it has a second thread, and qemu-user adds threads of its own. Under qemu-user
# only, a preloaded library hides them.
one_thread() {
  as_root mkdir -p "$sysroot/usr/local/share/one-thread/1" "$sysroot/usr/local/lib"
  local built
  built=$(mktemp)
  $triple-gcc -shared -fPIC -O --sysroot="$sysroot" -x c -o "$built" - <<'C'
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <string.h>
DIR *opendir(const char *path) {
  DIR *(*real)(const char *) = dlsym(RTLD_NEXT, "opendir");
  return real(strcmp(path, "/proc/self/task") ? path : "/usr/local/share/one-thread");
}
C
  as_root install -m 755 "$built" "$sysroot/usr/local/lib/one-thread.so"
  rm -f "$built"
  echo /usr/local/lib/one-thread.so | as_root tee "$sysroot/etc/ld.so.preload" >/dev/null
}

rust_library() {
  [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && return
  rustup target add "$target" >&2 || die "no Rust library for $target here, and rustup can't fetch it"
}

# Runs a command with the environment of a cross build.
cross() {
  env CC_aarch64_unknown_linux_gnu="$triple-gcc" CXX_aarch64_unknown_linux_gnu="$triple-g++" AR_aarch64_unknown_linux_gnu="$triple-ar" \
    CFLAGS_aarch64_unknown_linux_gnu="--sysroot=$sysroot" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$triple-gcc" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=--sysroot=$sysroot -C link-arg=-Wl,-rpath-link,$sysroot/usr/lib/$triple -C link-arg=-Wl,--allow-shlib-undefined" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$PWD/scripts/deploy/run-in-root.sh $sysroot" \
    PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_SYSROOT_DIR="$sysroot" PKG_CONFIG_PATH= \
    PKG_CONFIG_LIBDIR="$sysroot/usr/lib/$triple/pkgconfig:$sysroot/usr/share/pkgconfig" \
    BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu="--sysroot=$sysroot --target=$triple" \
    "$@"
}

# The program starts child processes of itself, so the kernel must know how to run aarch64 binaries. Registers qemu for as
# long as this script runs, unless it is registered already.
know_aarch64() {
  local known=/proc/sys/fs/binfmt_misc
  [ ! -e $known/qemu-aarch64 ] || return 0
  [ -e $known/register ] || as_root mount -t binfmt_misc binfmt_misc $known \
    || die "this kernel cannot run aarch64 programs through qemu (no binfmt_misc); --no-run only builds"
  # shellcheck disable=SC2064 # expanded now on purpose
  trap "echo -1 | as_root tee $known/qemu-aarch64 >/dev/null" EXIT
  as_root tee $known/register </usr/lib/binfmt.d/qemu-aarch64.conf >/dev/null
}

try() {
  local program=target/$target/ci/homereel answer expected said log=target/$target/ask.log
  expected=$(cat systemd/share/check.expect)
  say "asking the aarch64 program a question with qemu"
  answer=$(timeout 600 scripts/deploy/run-in-root.sh "$sysroot" "$program" ask systemd/share/check.mp4 "$(cat systemd/share/check.question)" --temperature 0 2>"$log") \
    || die "the program failed: $(tail -n 3 "$log")"
  [[ ${answer,,} == *"$expected"* ]] || die "the answer is '$answer'; it should contain '$expected'"
  say "correct answer: $answer"
  # The program must report the layers of the sandbox that the emulation lacks.
  said=$(timeout 600 scripts/deploy/run-in-root.sh "$sysroot" "$program" doctor 2>>"$log") || true
  said=$(grep -A 1 -E ' (jail|sandbox) ' <<<"$said") || true
  [[ $said == *seccomp* ]] || die "the sandbox is incomplete under qemu-user and the program does not report it: $said"
  say "reported: $said"
}

need_packages "gcc-$triple" "g++-$triple"
make_sysroot
rust_library
say "building for aarch64 ($suite)"
# Includes a test, or cargo selects other features and builds everything again for the tests.
selection=(--workspace --bins)
[ -z "$run" ] || [ -z "$tests" ] || selection+=(--test openai)
cross nice cargo build --profile ci --locked -q "${selection[@]}" --target $target
file_says=$(readelf -h target/$target/ci/homereel | grep Machine)
[[ $file_says == *AArch64* ]] || die "not an aarch64 binary: $file_says"
[ -n "$run" ] || exit 0
need_packages qemu-user-static
know_aarch64
try
[ -n "$tests" ] || exit 0
scripts/deploy/boot-aarch64.sh "$sysroot" target/$target/ci/homereel
say "running the unit tests with qemu"
cross nice cargo test --profile ci --locked -q --workspace --lib --target $target
