#!/usr/bin/env bash
# Assembles a release: programs, man pages, units, profiles and helpers. Runs where the build is.
#   make-release.sh SOURCE PROGRAMS RELEASE SHA
set -euo pipefail
source=$1 programs=$2 release=$3 sha=$4
mkdir -p "$release/bin"
for program in homereel homereel-bench; do
  # Without line tables the programs are a quarter of the size; backtraces keep their names.
  strip --strip-debug -o "$release/bin/$program" "$programs/$program" 2>/dev/null \
    || aarch64-linux-gnu-strip --strip-debug -o "$release/bin/$program" "$programs/$program" 2>/dev/null || cp "$programs/$program" "$release/bin/$program"
done
cp -r "$source/systemd/." "$release/"
mkdir -p "$release/units"
mv "$release"/*.service "$release"/*.socket "$release"/*.slice "$release"/*.timer "$release/units/"
# A cross-compiled program does not run here; its release has no man pages.
"$programs/homereel" man "$release/share/man/man1" 2>/dev/null || rm -rf "$release/share/man"
cp -r "$source/server/demo-model" "$release/share/demo-model"
chmod -R u=rwX,go=rX "$release"
# A hash of the content: two releases with the same files are the same.
(cd "$release" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1) >"$release.sum"
mv "$release.sum" "$release/PAYLOAD"
printf '%s\n' "$sha" >"$release/VERSION"
