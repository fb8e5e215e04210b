# Sourced: what the rig keeps between runs, outside the checkout.
# shellcheck shell=bash

rig_cache_directory() {
  echo "${MICROVM_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/libmicrovm}"
}

# unpack_rig_kernel CACHE DEB: prints the folder with the unpacked package and an index of its modules.
unpack_rig_kernel() {
  local target partial
  target=$1/unpacked/$(basename "$2" .deb)
  if [ ! -d "$target" ]; then
    mkdir -p "$1/unpacked"
    partial=$(mktemp -d "$1/unpacked/.partial.XXXXXX")
    dpkg-deb -x "$2" "$partial"
    PATH=$PATH:/usr/sbin:/sbin depmod -b "$partial" "$(kernel_release "$partial")"
    # Of two rigs that unpack at once, the later one keeps what is there.
    mv -T "$partial" "$target" 2>/dev/null || rm -rf "$partial"
  fi
  echo "$target"
}

kernel_release() {
  basename "$1"/lib/modules/*
}

# build_hold_vm CACHE SOURCE: prints the path of the program, named by its source's hash.
build_hold_vm() {
  local hash target partial
  hash=$(sha256sum "$2")
  target=$1/hold_vm-${hash:0:16}
  if [ ! -x "$target" ]; then
    partial=$(mktemp "$1/.hold_vm.XXXXXX")
    gcc -O2 -o "$partial" "$2"
    chmod 755 "$partial"
    mv "$partial" "$target"
  fi
  echo "$target"
}
