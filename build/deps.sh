#!/bin/sh
# Installs the Debian packages listed in the given files that are not there yet.
# usage: build/deps.sh LIST...
set -eu

wanted=$(cat "$@" | sed 's/#.*//' | tr -s ' \t\n' '\n' | sed '/^$/d')
missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    case $state in
    ii*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "build/deps.sh: these packages are missing and neither root nor sudo is here:$missing" >&2
        exit 1
    }
    as_root=sudo
fi

echo "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { $as_root apt-get -q update && $as_root apt-get -qy install --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "build/deps.sh: could not install:$missing" >&2
    exit 1
fi
