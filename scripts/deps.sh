#!/usr/bin/env bash
# Install what the build needs and lacks, where apt-get may; otherwise print the exact command and stop.
# Extra packages can be given as arguments.
set -euo pipefail

packages=(gcc cmake ninja-build pkg-config libjansson-dev libpcre2-dev libutf8proc-dev libcmocka-dev libedit-dev "$@")

if command -v dpkg-query >/dev/null; then
    # Names without an architecture mean this machine's own: a library may be there for another one too.
    native=$(dpkg --print-architecture) missing=()
    for p in "${packages[@]}"; do
        case $p in *:*) name=$p ;; *) name=$p:$native ;; esac
        dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing+=("$p")
    done
else   # another system: believe the tools
    for tool in cc cmake pkg-config; do
        command -v $tool >/dev/null || { echo "tern needs $tool: install it with your system's package manager" >&2; exit 1; }
    done
    for lib in jansson libpcre2-8 libutf8proc cmocka; do
        pkg-config --exists $lib || { echo "tern needs the library $lib with its headers: install it with your system's package manager" >&2; exit 1; }
    done
    exit 0
fi
[ ${#missing[@]} -eq 0 ] && exit 0

install="apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" = 0 ]; then
    echo "installing: ${missing[*]}" >&2
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive $install -qq) >/tmp/tern-deps.log 2>&1 || {
        tail -5 /tmp/tern-deps.log >&2
        echo "could not install; try: $install" >&2
        exit 1
    }
else
    echo "tern needs: ${missing[*]}" >&2
    echo "run this, then try again: sudo $install" >&2
    exit 1
fi
