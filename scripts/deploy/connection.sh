# shellcheck shell=bash
# Sourced by deploy.sh: the connection to the host. The password is used for the first login (through an askpass program
# that reads a private file in memory) and for sudo (through standard input). It is never in an argument, the environment,
# a log or on a disk. Everything else uses an SSH key that this script creates.

# shellcheck disable=SC2154
open_state() {
  umask 077
  state=${HOMEREEL_DEPLOY_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/homereel/deploy}/$host
  [ "$ssh_port" = 22 ] || state+=-$ssh_port
  mkdir -p "$state"
  # In memory if possible; short, because a socket's path may have about a hundred characters.
  run=$(mktemp -d -p "$(memory_place)" hr.XXXXXX)
  trap close_connection EXIT
  ssh_options=(-F none -p "$ssh_port" -o "UserKnownHostsFile=$state/known_hosts" -o GlobalKnownHostsFile=/dev/null
    -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o ConnectTimeout=15 -o ServerAliveInterval=15
    -o ServerAliveCountMax=4 -o LogLevel=ERROR)
  by_key=(-i "$state/id_ed25519" -o IdentitiesOnly=yes -o BatchMode=yes -o "ControlPath=$run/c"
    -o ControlMaster=auto -o ControlPersist=120)
  password='' have_password='' remote='' root_by=''
}

memory_place() {
  local place
  for place in "${XDG_RUNTIME_DIR:-}" /dev/shm /tmp; do
    [ -n "$place" ] && [ -d "$place" ] && [ -w "$place" ] && { echo "$place"; return; }
  done
  die "no writable directory for temporary files"
}

close_connection() {
  local status=$?
  if [ -S "$run/c" ]; then
    [ -z "$remote" ] || on_host "rm -rf -- $remote" >/dev/null 2>&1 || true
    ssh "${ssh_options[@]}" "${by_key[@]}" -O exit "$target" >/dev/null 2>&1 || true
  fi
  rm -rf "$run"
  return "$status"
}

# Runs a command on the host, authenticated by key.
on_host() { ssh "${ssh_options[@]}" "${by_key[@]}" "$target" "$@"; }

connect() {
  pin_host_key
  [ -f "$state/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C "homereel-deploy@$(hostname)" -f "$state/id_ed25519"
  if try_key; then return; fi
  case $ssh_said in
    *"IDENTIFICATION HAS CHANGED"* | *"Host key verification failed"*)
      die "the host key of $host is not the one that was pinned: another machine may be answering.
If you reinstalled it, compare the fingerprint on its own screen (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub),
remove $state/known_hosts and run this again." ;;
    *"Permission denied"*) ;;
    *) die "failed to connect to $target: ${ssh_said:-no answer}" ;;
  esac
  say "logging in once with the password to install a key"
  need_password
  install_key
  try_key || die "the key was installed, but $host does not accept it: ${ssh_said}"
}

# Sets ssh_said to the output of ssh.
try_key() {
  ssh_said=$(on_host true 2>&1 >/dev/null </dev/null)
}

# Shows the host's key and pins it in our own known_hosts; a key that is already pinned stays.
pin_host_key() {
  [ -s "$state/known_hosts" ] && return
  local keys shown answer
  keys=$(ssh-keyscan -T 15 -p "$ssh_port" -t ed25519,ecdsa,rsa "$host" 2>/dev/null) || true
  [ -n "$keys" ] || die "no ssh server answers on $host port $ssh_port; is the machine on, and is this its address?"
  shown=$(printf '%s\n' "$keys" | ssh-keygen -lf - | awk '{print $2 " " $NF}')
  say "host keys of $host:"
  printf '%s\n' "$shown" >&2
  if [ -n "$fingerprint" ]; then
    printf '%s\n' "$shown" | grep -qF -- "$fingerprint " || die "none of them is $fingerprint: nothing was sent to $host"
  elif [ -z "$yes" ] && [ -t 0 ]; then
    read -r -p "Is that what $host shows on its own screen or label? [y/N] " answer
    [[ $answer == [yY]* ]] || die "the host key was not confirmed: nothing was sent to $host"
  fi
  printf '%s\n' "$keys" >"$state/known_hosts"
}

# Asks for the password once.
need_password() {
  local -; set +x # keeps the password out of a trace (bash -x); the same below
  [ -z "$have_password" ] || return 0
  if [ -n "$password_file" ]; then
    IFS= read -r password <"$password_file" || [ -n "$password" ] || die "--password-file $password_file is empty"
  elif [ -t 0 ]; then
    read -r -s -p "Password of $target: " password
    printf '\n' >&2
  else
    die "the password of $target is needed and there is no terminal to ask on; use --password-file FILE"
  fi
  have_password=1
}

install_key() {
  local -; set +x
  printf '%s\n' "$password" >"$run/password"
  # shellcheck disable=SC2016 # the askpass program expands it
  printf '#!/bin/sh\nexec cat "$(dirname "$0")/password"\n' >"$run/askpass"
  chmod 700 "$run/askpass"
  local said status=0
  # shellcheck disable=SC2016 # the host expands it
  said=$(SSH_ASKPASS=$run/askpass SSH_ASKPASS_REQUIRE=force DISPLAY=${DISPLAY:-none} \
    ssh "${ssh_options[@]}" -o PubkeyAuthentication=no -o PreferredAuthentications=password,keyboard-interactive \
    -o NumberOfPasswordPrompts=1 "$target" \
    'umask 077; mkdir -p ~/.ssh; read -r key; f=~/.ssh/authorized_keys
     grep -qxF -- "$key" "$f" 2>/dev/null || { [ -z "$(tail -c1 "$f" 2>/dev/null)" ] || echo >>"$f"; printf "%s\n" "$key" >>"$f"; }' \
    <"$state/id_ed25519.pub" 2>&1) || status=$?
  rm -f "$run/password" "$run/askpass"
  [ "$status" -ne 0 ] || return 0
  case $said in
    *"Permission denied"*) die "$host refused the password of $user (or allows none for ssh): nothing was changed there" ;;
    *) die "the first login failed: $said" ;;
  esac
}

# Checks that we can become root on the host, before anything is sent; sets root_by.
authorize() {
  [ -z "$root_by" ] || return 0
  if [ "$user" = root ]; then
    root_by=itself
  elif on_host 'sudo -n true' >/dev/null 2>&1 </dev/null; then
    root_by=free
  else
    need_password
    sudo_works || die "$user may not use sudo on $host, or has another password there: nothing was changed.
To allow it, run as root on $host: adduser $user sudo"
    root_by=password
  fi
}

# Runs scripts/deploy/remote/root.sh on the host as root. The script ignores standard input, so a password that sudo does
# not ask for is read by nobody.
remote_root() {
  authorize
  send_scripts
  local -; set +x
  local words
  words=$(printf ' %q' bash "$remote/root.sh" "$@")
  case $root_by in
    itself) on_host "exec$words" </dev/null ;;
    free) on_host "exec sudo -n --$words" </dev/null ;;
    password) printf '%s\n' "$password" | on_host "exec sudo -S -p '' --$words" ;;
  esac
}

sudo_works() {
  local -; set +x
  printf '%s\n' "$password" | on_host "sudo -S -p '' true" >/dev/null 2>&1
}

# Copies the scripts to a temporary directory on the host.
send_scripts() {
  [ -z "$remote" ] || return 0
  # shellcheck disable=SC2016 # the host expands it
  remote=$(on_host 'umask 077; d=$(mktemp -d "${HOME:?}/.homereel-deploy.XXXXXX") && echo "$d"' </dev/null)
  [[ $remote =~ ^/[A-Za-z0-9_./-]+$ ]] || die "failed to create a directory on $host: $remote"
  tar -C "$root/scripts/deploy/remote" -cf - . | on_host "tar -C $remote -xf -"
}
