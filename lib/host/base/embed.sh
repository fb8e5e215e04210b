#!/bin/sh
# Prints embedded.S for the programs: embed.sh TEMPLATE WORKER AGENT PROBE_GUEST. Their checksums stand in it, so that its
# text, which is all a build compares, changes whenever their bytes do.
set -eu
sed -e "s|@worker@|$2|" -e "s|@agent@|$3|" -e "s|@probe_guest@|$4|" "$1"
sha256sum "$2" "$3" "$4" | sed 's|^|// |'
