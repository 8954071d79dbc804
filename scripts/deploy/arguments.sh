# shellcheck shell=bash disable=SC2034
# Sourced by deploy.sh: parses and validates the arguments before anything is changed. Values are then safe to use in file
# names and settings.

parse() {
  target='' action=deploy engine='' model='' listen=0.0.0.0:8080 password_file='' ssh_port=22 fingerprint='' yes=''
  binary='' build_there='' dry_run='' bench_again='' purge=''
  while [ $# -gt 0 ]; do
    case $1 in
      --engine) engine=$(value "$@"); shift ;;
      --model) model=$(value "$@"); shift ;;
      --listen) listen=$(value "$@"); shift ;;
      --password-file) password_file=$(value "$@"); shift ;;
      --ask) password_file='' ;;
      --port) ssh_port=$(value "$@"); shift ;;
      --fingerprint) fingerprint=$(value "$@"); shift ;;
      --yes) yes=1 ;;
      --binary) binary=$(value "$@"); shift ;;
      --build-there) build_there=1 ;;
      --dry-run) dry_run=1 ;;
      --bench) bench_again=1 ;;
      --purge) purge=purge ;;
      --status | --logs | --rollback | --uninstall) action=${1#--} ;;
      -h | --help) sed -n '2,/^set /{/^set /d;/^# shellcheck/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
      -*) usage_error "unknown argument '$1'" ;;
      *) [ -z "$target" ] || usage_error "two hosts ('$target', '$1')"
         target=$1 ;;
    esac
    shift
  done
  check_arguments
}

value() {
  [ $# -ge 2 ] && [ -n "$2" ] || usage_error "$1 needs a value"
  printf '%s' "$2"
}

check_arguments() {
  local name='[A-Za-z_][A-Za-z0-9_.-]*'
  [[ $target =~ ^($name)@([A-Za-z0-9][A-Za-z0-9.-]*|[0-9a-fA-F]*:[0-9a-fA-F:]+)$ ]] \
    || usage_error "'$target' is not USER@HOST, such as me@10.0.0.5"
  user=${BASH_REMATCH[1]} host=${BASH_REMATCH[2]}
  [[ $ssh_port =~ ^[0-9]{1,5}$ ]] && [ "$ssh_port" -ge 1 ] && [ "$ssh_port" -le 65535 ] \
    || usage_error "--port $ssh_port; 1 to 65535 would fit"
  case $engine in '' | candle | vllm) ;; *) usage_error "--engine $engine; candle or vllm would fit" ;; esac
  [[ $model =~ ^[A-Za-z0-9_./@-]*$ ]] || usage_error "--model $model; demo, a profile, a directory or owner/name would fit"
  split_listen
  [ -z "$password_file" ] || [ -f "$password_file" ] || usage_error "--password-file $password_file: no such file"
  [ -z "$purge" ] || [ "$action" = uninstall ] || usage_error "--purge needs --uninstall"
  [ -z "$binary" ] || [ -x "$binary/homereel" ] || usage_error "--binary $binary: it contains no executable homereel"
}

# Splits ADDRESS:PORT, or [ADDRESS]:PORT for IPv6.
split_listen() {
  [[ $listen =~ ^(\[[0-9a-fA-F:]+\]|[0-9]{1,3}(\.[0-9]{1,3}){3}):([0-9]{1,5})$ ]] \
    || usage_error "--listen $listen; ADDRESS:PORT, such as 0.0.0.0:8080, would fit"
  listen_address=${BASH_REMATCH[1]} listen_port=${BASH_REMATCH[3]}
  [ "$listen_port" -ge 1 ] && [ "$listen_port" -le 65535 ] || usage_error "--listen $listen; ports are 1 to 65535"
}
