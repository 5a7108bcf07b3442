# Before each life: what a step said, its exit code, and the rules after it, without counters and dates.
step() {
  echo "== $*"
  "$@" 2>&1
  echo "exit code $?"
  for save in iptables-save ip6tables-save; do
    $save | grep -v '^#' | sed 's/\[[0-9]*:[0-9]*\]/[]/'
  done
}
