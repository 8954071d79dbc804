#!/usr/bin/env bash
# Builds the ffmpeg libraries of this system for fuzzing: from Debian's source package with Debian's patches, static, with
# AddressSanitizer and libFuzzer's coverage, with the decoders and containers that the crate opens, and without assembly, which
# no sanitizer can look into.
# Needs clang, dpkg-dev, and libdav1d-dev, libopenjp2-7-dev, libx264-dev, zlib1g-dev.
#
#     ./build-ffmpeg.sh PREFIX
#
# PREFIX/environment then has the variables with which `cargo fuzz` builds and runs with it.
set -euo pipefail
prefix=$(realpath -m "${1:?where ffmpeg goes}")

# list NAME FILE: a constant of the crate, names with commas between them, which are those of ffmpeg's components but for one.
list() { tr -d '\n\\ ' <"$(dirname "$0")/../src/ffmpeg/$2" | sed "s/.*const$1:&str=\"\([^\"]*\)\".*/\1/"; }
decoders=$(list DECODERS open.rs),$(list SOUND_DECODERS decoder.rs)
demuxers=$(list DEMUXERS open.rs),mpegps
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# The system's own lists have no sources; apt checks the signatures of these as well.
. /etc/os-release
mkdir -p lists/partial
printf '%s\n' "deb-src http://deb.debian.org/debian $VERSION_CODENAME main" \
  "deb-src http://deb.debian.org/debian-security $VERSION_CODENAME-security main" >sources.list
apt=(apt-get -q -o Dir::State::lists="$work/lists" -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=-
  -o APT::Sandbox::User=root)
"${apt[@]}" update
"${apt[@]}" source "ffmpeg=$(dpkg-query -W -f '${source:Version}' libavcodec-dev)"

cd ffmpeg-*/
flags='-g1 -fno-omit-frame-pointer -fsanitize=address -fsanitize=fuzzer-no-link'
./configure --prefix="$prefix" --cc=clang --disable-programs --disable-doc --disable-network --disable-devices --disable-filters \
  --disable-hwaccels --disable-asm --disable-stripping --disable-autodetect --enable-zlib --enable-gpl --enable-libx264 \
  --enable-libdav1d --enable-libopenjpeg --disable-encoders --enable-encoder=libx264,aac --disable-muxers --enable-muxer=mov,mp4 \
  --disable-decoders --enable-decoder="$decoders" --disable-demuxers --enable-demuxer="$demuxers" \
  --optflags=-O1 --extra-cflags="$flags" --extra-ldflags=-fsanitize=address
make -j"$(nproc)"
make install

# Static libraries that need each other are linked as a group. What a worker leaks ends with its process.
flags=-Clink-arg=-L$prefix/lib
for library in --start-group avformat avcodec swscale swresample avutil x264 dav1d openjp2 z m --end-group; do
  case $library in --*) flags+=" -Clink-arg=-Wl,$library" ;; *) flags+=" -Clink-arg=-l$library" ;; esac
done
cat >"$prefix/environment" <<END
export PKG_CONFIG_PATH='$prefix/lib/pkgconfig' RUSTC_BOOTSTRAP=1 ASAN_OPTIONS=detect_leaks=0
export RUSTFLAGS='$flags'
END
