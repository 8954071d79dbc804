# shellcheck shell=bash disable=SC2154
# Sourced by deploy.sh: facts about the host, treated as data and never executed.

declare -gA fact=()

gather_facts() {
  send_scripts
  local text
  text=$(on_host "sh $remote/facts.sh $listen_port" </dev/null) || die "failed to gather facts about $host; does $user have a shell there?"
  printf '%s\n' "$text" >"$state/facts"
  read_facts "$state/facts"
}

# read_facts FILE: lines KEY=VALUE; control characters are dropped.
read_facts() {
  local line
  fact=()
  while IFS= read -r line; do
    [[ $line =~ ^([a-z_]+)=(.*)$ ]] || continue
    fact[${BASH_REMATCH[1]}]=${BASH_REMATCH[2]//[[:cntrl:]]/}
  done <"$1"
}

# number KEY: prints the fact if it is a whole number, otherwise 0.
number() { [[ ${fact[$1]:-} =~ ^[0-9]+$ ]] && printf '%s' "${fact[$1]}" || printf 0; }
