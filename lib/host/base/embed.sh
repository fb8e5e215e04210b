#!/bin/sh
# Prints embedded.S for the programs: embed.sh TEMPLATE WORKER NET AGENT PROBE_GUEST. Their checksums stand in it, so that its
# text, which is all a build compares, changes whenever their bytes do.
set -eu
sed -e "s|@worker@|$2|" -e "s|@net@|$3|" -e "s|@agent@|$4|" -e "s|@probe_guest@|$5|" "$1"
sha256sum "$2" "$3" "$4" "$5" | sed 's|^|// |'
