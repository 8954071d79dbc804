#!/usr/bin/env bash
# Updates the screenshots in docs/screenshots with the browser tests: PAGE-WIDTH-THEME.png, and library.png and video.png
# of the README. Images have few colours to stay small. Review them before you commit them.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh

kept=(library library-filtered library-viewer video edit add albums album arrange tag search-found ask answer jobs trash system bench
  household-guarded login-by-name not-found)

need_packages chromium chromium-driver ffmpeg
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
cargo build --profile ci --workspace --locked -q --bins --tests
HOMEREEL_SCREENSHOTS=$raw cargo test --profile ci --workspace --locked -q --test browser -- --test-threads=2 \
  every_page_serves the_way_in_serves a_person_uploads

# shrink FROM TO
shrink() {
  ffmpeg -hide_banner -loglevel error -nostdin -y -i "$1" -frames:v 1 -compression_level 9 -pred mixed -filter_complex \
    'split[a][b];[a]palettegen=max_colors=96:reserve_transparent=0[p];[b][p]paletteuse=dither=none' "$2"
}

screenshots=docs/screenshots
mkdir -p "$screenshots"
for page in "${kept[@]}"; do
  for look in 360-light 360-dark 1280-light 1280-dark; do
    [ ! -f "$raw/pages/$page-$look.png" ] || shrink "$raw/pages/$page-$look.png" "$screenshots/$page-$look.png"
  done
done
for page in library video; do
  [ ! -f "$raw/$page.png" ] || shrink "$raw/$page.png" "$screenshots/$page.png"
done
du -sh "$screenshots" >&2
