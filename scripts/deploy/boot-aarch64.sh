#!/usr/bin/env bash
# Boots an aarch64 Linux in an emulated machine and asks the program a question there. qemu-user implements neither seccomp
# nor Landlock. A real kernel of that architecture enforces the video worker's list of system calls, which finds calls that
# only aarch64 makes before they kill every worker on a DGX Spark.
#   boot-aarch64.sh SYSROOT PROGRAM
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/dependencies.sh
. scripts/dependencies.sh
sysroot=$1 program=$2 triple=aarch64-linux-gnu
place=$PWD/target/boot-aarch64

# Downloads Debian's kernel, for any suite; the kernel of a Spark is newer.
kernel() {
  ls "$place"/kernel/boot/vmlinuz-* >/dev/null 2>&1 && return
  local apt=(apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists="$place/lists" -o Dir::State::status=/dev/null
    -o Dir::Etc::sourcelist="$place/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Cache="$place/cache" -o APT::Sandbox::User=root)
  rm -rf "$place"
  mkdir -p "$place"/{lists/partial,cache,kernel}
  echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main' >"$place/sources.list"
  say "fetching a kernel for aarch64"
  as_root "${apt[@]}" update >"$place/log" 2>&1 || { echo "error: failed to download Debian's package list: $(tail -n 1 "$place/log")" >&2; exit 69; }
  local name
  name=$(apt-cache "${apt[@]:2}" depends linux-image-arm64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p')
  (cd "$place/cache" && as_root "${apt[@]}" download "$name") >>"$place/log" 2>&1 || { echo "error: failed to download the kernel: $(tail -n 1 "$place/log")" >&2; exit 69; }
  dpkg-deb --fsys-tarfile "$place"/cache/linux-image-*.deb | tar -x -C "$place/kernel" ./boot
  as_root rm -rf "$place/cache" "$place/lists"
}

# Builds the machine's initramfs: the program with its libraries, a clip, and an init.
disk() {
  local root=$place/root library
  rm -rf "$root"
  mkdir -p "$root"/{proc,sys,dev,tmp,lib,usr/lib/$triple}
  $triple-strip -o "$root/homereel" "$program"
  cp systemd/share/check.* "$root/"
  for library in $(scripts/deploy/run-in-root.sh "$sysroot" "$sysroot/usr/lib/ld-linux-aarch64.so.1" --list "$PWD/$program" | sed -n 's/.* => \([^ ]*\) .*/\1/p'); do
    case $library in */ld-linux-*) continue ;; /lib/*) library=/usr$library ;; esac
    cp -L "$sysroot$library" "$root/usr/lib/$triple/"
  done
  rm -f "$root/usr/lib/$triple/one-thread.so"
  cp -L "$sysroot/usr/lib/ld-linux-aarch64.so.1" "$root/lib/"
  $triple-gcc -static -O -o "$root/init" "-DLIBRARIES=\"/usr/lib/$triple\"" -x c - <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>
static void run(char *const arguments[]) {
  int status = 0;
  pid_t child = fork();
  if (child == 0) { execv(arguments[0], arguments); _exit(127); }
  // Not wait(): process 1 also inherits orphans, such as a worker that the previous program killed.
  waitpid(child, &status, 0);
  printf("\nended: %s, %d\n", arguments[1], WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
  fflush(stdout);
}
int main(void) {
  char question[256] = "";
  mount("proc", "/proc", "proc", 0, "");
  mount("sysfs", "/sys", "sysfs", 0, "");
  mount("devtmpfs", "/dev", "devtmpfs", 0, "");
  mount("tmpfs", "/tmp", "tmpfs", 0, "");
  setenv("HOME", "/tmp", 1);
  setenv("PATH", "/", 1);
  setenv("LD_LIBRARY_PATH", LIBRARIES, 1);
  FILE *file = fopen("/check.question", "r");
  if (file && fgets(question, sizeof question, file)) question[strcspn(question, "\n")] = 0;
  run((char *[]){"/homereel", "doctor", 0});
  run((char *[]){"/homereel", "ask", "/check.mp4", question, "--temperature", "0", 0});
  sync();
  reboot(RB_POWER_OFF);
}
C
  (cd "$root" && find . | cpio -o -H newc -R 0:0 2>/dev/null) >"$place/disk"
}

need_packages qemu-system-arm cpio gcc-$triple libc6-dev-arm64-cross
kernel
disk
say "booting an aarch64 machine (initramfs: $(du -h "$place/disk" | cut -f1))"
# Little memory, no devices, no network.
timeout 900 qemu-system-aarch64 -M virt -cpu neoverse-n1 -smp 2 -m 3072 -nographic -nic none -no-reboot \
  -kernel "$place"/kernel/boot/vmlinuz-* -initrd "$place/disk" -append 'console=ttyAMA0 panic=-1 quiet' </dev/null 2>&1 \
  | tr '\r' '\n' | sed 's/.*\[2K//' >"$place/console" || true
grep -E '^(ok|warn|fail) +(architecture|kernel|jail|sandbox)|^ended' "$place/console" || true
grep -q '^ended: ask, 0' "$place/console" || die "the program failed; console log: $place/console"
grep -qi "$(cat systemd/share/check.expect)" <(sed -n '/^ended: doctor/,/^ended: ask/p' "$place/console") || die "the answer is wrong; console log: $place/console"
grep -E 'jail|sandbox' "$place/console" | grep -q 'Landlock.*seccomp' || die "the sandbox is incomplete; console log: $place/console"
say "correct answer, with a complete sandbox"
