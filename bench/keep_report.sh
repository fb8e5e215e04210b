# Sourced by bench/run and bench/beside.
# shellcheck shell=bash

# keep_report NAME CMD...: what CMD prints becomes build/bench/NAME.json; a bench that fails leaves no report.
keep_report() {
  local report=build/bench/$1.json
  shift
  "$@" >"$report.new" || { rm -f "$report.new" && return 1; }
  mv "$report.new" "$report"
}
