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

# build_program CACHE SOURCE OPTION...: compiles it and prints the program's path, named by its source's hash.
build_program() {
  local cache=$1 source=$2 name hash target partial
  shift 2
  name=$(basename "$source" .c)
  hash=$(sha256sum "$source")
  target=$cache/$name-${hash:0:16}
  if [ ! -x "$target" ]; then
    partial=$(mktemp "$cache/.$name.XXXXXX")
    # In $(...) bash does not end at the first failure.
    gcc -O2 "$@" -o "$partial" "$source" || { rm -f "$partial" && return 1; }
    chmod 755 "$partial"
    mv "$partial" "$target"
  fi
  echo "$target"
}

# The modules without which an unpacked kernel cannot mount the rig's root, in the order they are loaded; none where all
# of it is built in (6.12).
root_modules() {
  PATH=$PATH:/usr/sbin:/sbin modprobe -d "$1" -S "$(kernel_release "$1")" --show-depends -a virtio_pci virtiofs |
    sed -n 's/^insmod \([^ ]*\) *$/\1/p' | awk '!seen[$0]++'
}

# pack_initramfs INIT MODULE...
pack_initramfs() {
  local root module number=0 status=0
  root=$(mktemp -d)
  mkdir "$root/modules" "$root/root"
  cp "$1" "$root/init" || status=1
  shift
  for module in "$@"; do
    number=$((number + 1))
    cp "$module" "$root/modules/$number" || status=1
  done
  (cd "$root" && find . | cpio --quiet -o -H newc) || status=1
  rm -rf "$root"
  return $status
}

# make_initramfs KERNEL INIT: prints the path of the initramfs with which an unpacked kernel comes to the rig's root;
# nothing when it needs none. Named by its init, whose name is of its source.
make_initramfs() {
  local target partial modules
  mapfile -t modules < <(root_modules "$1")
  [ ${#modules[@]} -gt 0 ] || return 0
  target=$1/$(basename "$2").cpio
  if [ ! -f "$target" ]; then
    partial=$(mktemp "$1/.initramfs.XXXXXX")
    pack_initramfs "$2" "${modules[@]}" >"$partial" || { rm -f "$partial" && return 1; }
    mv "$partial" "$target"
  fi
  echo "$target"
}
