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
  echo "${0##*/}: installing ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  knows_packages "${missing[@]}" || refresh_package_lists || return
  install_packages "${missing[@]}" >/dev/null 2>&1 && return
  # A stale list is the usual reason, so the lists are refreshed once before giving up.
  refresh_package_lists && run_quietly install_packages "${missing[@]}"
}
