# Sourced by every script that installs what it uses.
# shellcheck shell=bash

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo --preserve-env=DEBIAN_FRONTEND "$@"
  else
    echo "${0##*/}: installing packages needs root or sudo: $*" >&2
    return 1
  fi
}

# run_quietly CMD...: shows the output of CMD only when it fails.
run_quietly() {
  local output
  output=$("$@" 2>&1) && return
  printf '%s\n' "$output" >&2
  echo "${0##*/}: failed: $*" >&2
  return 1
}

# tell_every_ten_seconds TELL LOG: prints what the command TELL makes of LOG, for as long as the script lives.
tell_every_ten_seconds() {
  # A sleep that outlives this must not hold the reader of our output.
  while sleep 10 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    "$1" "$2"
  done
}

# run_and_tell TELL CMD...: as run_quietly, with a line every ten seconds of what TELL makes of the output so far.
run_and_tell() {
  local tell=$1 log teller status=0
  shift
  log=$(mktemp)
  tell_every_ten_seconds "$tell" "$log" &
  teller=$!
  "$@" >"$log" 2>&1 || status=$?
  kill "$teller" 2>/dev/null || true
  wait "$teller" 2>/dev/null || true
  if [ "$status" -ne 0 ]; then
    cat "$log" >&2
    echo "${0##*/}: failed: $*" >&2
  fi
  rm -f "$log"
  return "$status"
}

# The last step that apt-get has told of: "Unpacking", "Setting up" …
tell_last_line() {
  local line
  line=$(tail -n 1 "$1")
  echo "still at it: ${line:-nothing printed yet}"
}

missing_packages() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

# A fresh machine has no package lists, or lists that name versions the archive no longer holds.
refresh_package_lists() {
  run_quietly as_root apt-get update -q
}

knows_packages() {
  local package
  for package in "$@"; do
    apt-cache policy "$package" 2>/dev/null | grep -q '^  Candidate: [^(]' || return 1
  done
}

install_packages() {
  as_root apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
}

# require_packages PKG...: installs those that are missing, and says nothing when there are none.
require_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  # Measured: 13 packages, 5 s from a near mirror.
  echo "${0##*/}: installing ${#missing[@]} packages, usually less than a minute: ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  knows_packages "${missing[@]}" || refresh_package_lists || return
  # A stale list is the usual reason for a failure, so the lists are refreshed once before giving up.
  run_and_tell tell_last_line install_packages "${missing[@]}" >&2 2>/dev/null && return
  refresh_package_lists && run_and_tell tell_last_line install_packages "${missing[@]}" >&2
}
