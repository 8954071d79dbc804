#!/usr/bin/env bash
# Photographs the pages anew by the browser tests: docs/screenshots/PAGE-WIDTH-THEME.png, and the README's in docs/screenshots.
# Small: few colours, no more than people need to judge a page. To be looked at, and committed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh

kept=(library library-viewer video albums album search-found ask jobs trash system bench household-guarded login-by-name not-found)

need_packages chromium chromium-driver ffmpeg
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
cargo build --release --workspace --locked -q --bins --tests
HOMEREEL_SCREENSHOTS=$raw cargo test --release --workspace --locked -q --test browser -- --test-threads=2 \
  every_page_serves the_way_in_serves a_person_uploads

# shrink FROM TO
shrink() {
  ffmpeg -hide_banner -loglevel error -nostdin -y -i "$1" -frames:v 1 -compression_level 9 -pred mixed -filter_complex \
    'split[a][b];[a]palettegen=max_colors=96:reserve_transparent=0[p];[b][p]paletteuse=dither=none' "$2"
}

mkdir -p docs/screenshots
for page in "${kept[@]}"; do
  for look in 360-light 360-dark 1280-light 1280-dark; do
    [ ! -f "$raw/pages/$page-$look.png" ] || shrink "$raw/pages/$page-$look.png" "docs/screenshots/$page-$look.png"
  done
done
for page in library video; do
  [ ! -f "$raw/$page.png" ] || shrink "$raw/$page.png" "docs/screenshots/$page.png"
done
du -sh docs/screenshots docs/screenshots >&2
