#!/usr/bin/env bash
# Builds Homereel for a DGX Spark's processor on an x86-64 machine: compiler of the distribution, ffmpeg and the C library
# of the target's own distribution, in a directory of their own. Then runs it here, by qemu: unit tests, and a clip that
# has to be answered truly.
#
#   scripts/build-aarch64.sh [--suite noble|bookworm|trixie] [--no-run]
#
# The suite must be the target's: noble (Ubuntu 24.04, ffmpeg 6.1) for a DGX Spark [default], bookworm or trixie for Debian.
# The programs lie in target/aarch64-unknown-linux-gnu/release.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh

suite=noble run=1
while [ $# -gt 0 ]; do
  case $1 in
    --suite) suite=${2:?--suite needs a name}; shift ;;
    --no-run) run= ;;
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
target=aarch64-unknown-linux-gnu
sysroot=$PWD/target/sysroot-$suite

# Headers and libraries of the target. Nothing of it is run while it is made, so no rights are needed for that.
make_sysroot() {
  [ -f "$sysroot/.complete" ] && return
  need_packages debootstrap qemu-user-static
  say "fetching $suite for aarch64 into $sysroot"
  rm -rf "$sysroot"
  as_root debootstrap --foreign --arch=arm64 --variant=minbase --components="$components" \
    --include=libc6-dev,libstdc++-12-dev,libgcc-12-dev,libavcodec-dev,libavformat-dev,libavutil-dev,libavdevice-dev,libavfilter-dev,libswscale-dev,libswresample-dev \
    "$suite" "$sysroot" "$mirror" >"$sysroot.log" 2>&1 || die "debootstrap failed: $(tail -n 3 "$sysroot.log")"
  local package
  for package in "$sysroot"/var/cache/apt/archives/*.deb; do as_root dpkg-deb -x "$package" "$sysroot"; done
  as_root rm -rf "$sysroot"/var/cache/apt/archives/*.deb
  # Links that name the target's own root would lead to this machine's.
  as_root find "$sysroot/usr/lib" "$sysroot/lib" -xdev -lname '/*' 2>/dev/null | while read -r link; do
    as_root ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$sysroot$(readlink "$link")")" "$link"
  done
  as_root touch "$sysroot/.complete"
}

rust_library() {
  [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && return
  rustup target add "$target" >&2 || die "no Rust library for $target here, and rustup can't fetch it"
}

# Everything that differs from a build for this machine.
cross() {
  local triple=aarch64-linux-gnu
  env CC_aarch64_unknown_linux_gnu="$triple-gcc" CXX_aarch64_unknown_linux_gnu="$triple-g++" AR_aarch64_unknown_linux_gnu="$triple-ar" \
    CFLAGS_aarch64_unknown_linux_gnu="--sysroot=$sysroot" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$triple-gcc" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=--sysroot=$sysroot -C link-arg=-Wl,-rpath-link,$sysroot/usr/lib/$triple -C link-arg=-Wl,--allow-shlib-undefined" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L $sysroot" \
    PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_SYSROOT_DIR="$sysroot" PKG_CONFIG_PATH= \
    PKG_CONFIG_LIBDIR="$sysroot/usr/lib/$triple/pkgconfig:$sysroot/usr/share/pkgconfig" \
    BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu="--sysroot=$sysroot --target=$triple" \
    "$@"
}

# By qemu the program's own workers have to be started by qemu too; the kernel does that where binfmt knows how.
try() {
  local program=target/$target/release/homereel clip=systemd/share/check.mp4 answer expected
  expected=$(cat systemd/share/check.expect)
  say "asking the aarch64 program about a clip, by qemu"
  answer=$(LD_LIBRARY_PATH='' QEMU_LD_PREFIX=$sysroot qemu-aarch64-static -L "$sysroot" "$program" ask "$clip" "$(cat systemd/share/check.question)" --temperature 0)
  [[ ${answer,,} == *"$expected"* ]] || die "it answers '$answer'; $expected would be true"
  say "it answers truly: $answer"
}

make_sysroot
need_packages gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user-static
rust_library
say "building for aarch64 ($suite)"
cross nice cargo build --release --locked -q -p homereel -p homereel-bench --target $target
file_says=$(readelf -h target/$target/release/homereel | grep Machine)
[[ $file_says == *AArch64* ]] || die "that is no aarch64 program: $file_says"
if [ -n "$run" ]; then
  try
  say "unit tests by qemu"
  cross nice cargo test --release --locked -q -p homereel-web -p homereel-bench --lib --target $target
fi
