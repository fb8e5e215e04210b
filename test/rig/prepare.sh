# Sourced by the scripts that build the checkout or boot guests (test/run, test/soak/run, test/fuzz/run, bench/run,
# examples/quickstart/run), after packages.sh and cache.sh, with the checkout as the current directory: everything that
# needs the network or a compiler happens here, before anything runs.
# shellcheck shell=bash

# What building takes on a Debian 12 that has nothing; python3 also reads the doctor's JSON.
readonly kBuildPackages=(
  meson ninja-build gcc g++ pkg-config python3
  liburing-dev libzstd-dev liblz4-dev liblzma-dev zlib1g-dev libfmt-dev libcxxopts-dev doctest-dev
  nlohmann-json3-dev libexpected-dev libarchive-dev libext2fs-dev libssl-dev
  nanopb libnanopb-dev protobuf-compiler libtomlplusplus-dev
)

# A terminal sees all of the progress, a log a line every ten seconds and what went wrong.
run_with_progress() {
  if [ -t 1 ]; then "$@"; else run_and_tell tell_last_line "$@"; fi
}

# The last "[12/52] Compiling …" of ninja's.
tell_steps() {
  local step
  step=$(grep -oE '^\[[0-9]+/[0-9]+\]' "$1" | tail -n 1 | tr -d '[]') || true
  echo "building${step:+ ${step%/*} of ${step#*/}} …"
}

# build_checkout TARGET...: everything when none is named.
build_checkout() {
  [ -f build/build.ninja ] || run_quietly meson setup -Djumbo=true build || return
  if [ -t 1 ]; then ninja -C build "$@"; else run_and_tell tell_steps ninja -C build "$@"; fi
}

# prepare_guest_inputs: downloads or makes what the guests boot from, and imports it into a data directory below build/
# (importing needs no KVM, and is slow where the processor is emulated). Names all of it in the environment.
prepare_guest_inputs() {
  local cache
  cache=$(rig_cache_directory)
  MICROVM_TEST_KERNEL_DEB=$(test/rig/fetch_kernel "$cache" 6.12) || return
  MICROVM_TEST_BASE_TAR=$(test/rig/make_base "$cache") || return
  MICROVM_TEST_STORE=$PWD/build/store
  export MICROVM_TEST_KERNEL_DEB MICROVM_TEST_BASE_TAR MICROVM_TEST_STORE
  import_guest_inputs
}

import_guest_inputs() {
  local microvm=(build/examples/cli/microvm --data-dir "$MICROVM_TEST_STORE")
  run_with_progress "${microvm[@]}" kernel import "$MICROVM_TEST_KERNEL_DEB" || return
  run_with_progress "${microvm[@]}" base import debian:bookworm "$MICROVM_TEST_BASE_TAR"
}

prepare_old_kernel() {
  MICROVM_TEST_KERNEL_DEB_61=$(test/rig/fetch_kernel "$(rig_cache_directory)" 6.1) || return
  export MICROVM_TEST_KERNEL_DEB_61
}
