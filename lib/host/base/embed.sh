#!/bin/sh
# Prints embedded.S for two programs: embed.sh TEMPLATE WORKER AGENT. Their checksums stand in it, so
# that its text, which is all a build compares, changes whenever their bytes do.
set -eu
sed -e "s|@worker@|$2|" -e "s|@agent@|$3|" "$1"
sha256sum "$2" "$3" | sed 's|^|// |'
