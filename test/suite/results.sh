# Sourced by test/run: what a suite's output and status come to.
# shellcheck shell=bash

# count_results OUTPUT: fills $passed, $failed and $skipped from doctest's summary or a script's last line, over everything
# a suite printed.
count_results() {
  read -r passed failed skipped < <(awk '
    { gsub(/\033\[[0-9;]*m/, "") }
    /^\[doctest\] test cases:/ { passed += $6; failed += $9; skipped += $12 }
    /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { passed += $1; failed += $3; skipped += $5 }
    END { print passed + 0, failed + 0, skipped + 0 }' "$1")
}

can_make_cgroup() {
  local place
  place=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
  [ -n "$place" ] && mkdir "$place/microvm-may-skip" 2>/dev/null && rmdir "$place/microvm-may-skip"
}

has_io_uring() {
  python3 -c '
import ctypes, sys
parameters = ctypes.create_string_buffer(256)
sys.exit(ctypes.CDLL(None).syscall(425, 4, parameters) < 0)' 2>/dev/null
}

# Root in a container often can not.
can_mount() { unshare --mount mount -t tmpfs tmpfs /mnt 2>/dev/null; }

# may_skip REASON PLACE: whether that is missing where the suite ran. A reason that is not known is none: CI has whatever
# the tests need.
may_skip() {
  case $1 in
    "needs the rig"*) [ "$2" != rig ] ;;
    "needs root: to mount"*) ! can_mount ;;
    "needs root"*) [ "$EUID" -ne 0 ] ;;
    "needs a mount namespace"*) ! unshare --user --map-root-user --mount true 2>/dev/null ;;
    "needs io_uring"*) ! has_io_uring ;;
    "needs vm.memfd_noexec"*) [ ! -e /proc/sys/vm/memfd_noexec ] ;;
    "needs a cgroup v2"*) ! can_make_cgroup ;;
    *) false ;;
  esac
}

# A case that is skipped though this machine can run it has failed.
judge_skips() {
  local name=$1 place=$3 line
  while IFS= read -r line; do
    may_skip "${line##*): }" "$place" && continue
    echo "test/run: $name need not have skipped $line" >&2
    skipped=$((skipped - 1))
    failed=$((failed + 1))
  done < <(sed -n 's/^\[skipped\] //p' "$2")
}

# judge_suite NAME STATUS OUTPUT PLACE: a suite that failed without a failed test (a crash, a dead rig), or that ran nothing, is
# one failure.
judge_suite() {
  local name=$1 status=$2
  if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    echo "test/run: $name ended with status $status and no failed test" >&2
    failed=1
  elif [ $((passed + failed + skipped)) -eq 0 ]; then
    echo "test/run: $name ran no tests" >&2
    failed=1
  fi
  judge_skips "$name" "$3" "$4"
}
