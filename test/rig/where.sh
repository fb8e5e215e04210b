# Sourced by the scripts that boot Linux guests (test/run, test/soak/run, bench/run, examples/quickstart/run): where they run.
# shellcheck shell=bash

# choose_place MICROVM: asks the built command line tool whether this machine's KVM can run stock kernels, and sets
# $place to "direct" or "rig", and $place_reason.
choose_place() {
  local answer
  answer=$({ "$1" doctor --json 2>/dev/null || true; } | python3 -c '
import json, sys
kvm = json.load(sys.stdin)["kvm"]
print("direct" if kvm["usable"] else "rig")
print(" ".join(str(kvm.get("reason", "")).split()))' 2>/dev/null) || answer=$'rig\nmicrovm doctor gave no answer'
  place=${answer%%$'\n'*}
  place_reason=${answer#*$'\n'}
  if [ "$place" = direct ] && [ -z "$place_reason" ]; then place_reason="/dev/kvm runs stock kernels"; fi
}

# describe_place WHAT: the one line that says where WHAT runs and why.
describe_place() {
  case $place in
    direct) echo "$1: directly on this machine ($place_reason)" ;;
    rig) echo "$1: inside the emulated test rig, which is slower ($place_reason)" ;;
  esac
}

# run_in_place SECONDS CMD...: exit status 124 when CMD takes longer.
run_in_place() {
  local limit=$1
  shift
  case $place in
    direct) timeout --foreground --kill-after=10 "$limit" "$@" ;;
    rig) "$(dirname "${BASH_SOURCE[0]}")/run" --timeout "$limit" -- "$@" ;;
  esac
}
