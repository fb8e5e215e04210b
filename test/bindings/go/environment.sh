# Sourced by the scripts here, in the checkout: the Go tool, and the library as it was built.
# shellcheck shell=bash

PATH=$PATH:/usr/local/go/bin:/usr/lib/go/bin
export GOTOOLCHAIN=local GOFLAGS=-buildvcs=false CGO_ENABLED=1
export PKG_CONFIG_PATH=$PWD/build/meson-uninstalled${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export LD_LIBRARY_PATH=$PWD/build/lib/host${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
readonly kTools=$PWD/build/test/bindings/go

# The newest staticcheck that the Go which is there builds; each knows the language up to its own time.
staticcheck_version() {
  case $(go env GOVERSION) in
    go1.19* | go1.20*) echo v0.4.7 ;;
    go1.21* | go1.22.[0-9] | go1.22) echo v0.4.7 ;;
    go1.22* | go1.23* | go1.24*) echo v0.5.1 ;;
    *) echo v0.8.2 ;;
  esac
}

# count_go OUTPUT: the line that test/suite/results.sh counts, over the tests that `go test -v` has run.
count_go() {
  awk '/^--- PASS/ { passed++ } /^--- FAIL/ { failed++ } /^--- SKIP/ { skipped++ }
    END { print passed + 0 " passed, " failed + 0 " failed, " skipped + 0 " skipped" }' "$1"
}
