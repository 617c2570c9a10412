#!/bin/bash
# Make the images of the test machines: molecule/run molecule/images/build.sh [SUITE...]
#
# Gives localhost/journal-postfix-machine:SUITE (Debian with systemd) and :SUITE-baked (Postfix, PostgreSQL and the
# Python packages of the program on top) for bookworm and trixie, or the suites that are named. What exists already is
# built from the cache. The base is the image debian:SUITE-slim where this machine has it, else mmdebstrap makes one from
# the package sources of this machine. Pulls and pushes nothing.
set -euo pipefail
cd "$(dirname "$0")"
engine=${CONTAINER_ENGINE:-podman}
name=localhost/journal-postfix-machine

has() { "$engine" image inspect "$1" >/dev/null 2>&1; }

# This machine's sources with the name of the suite put in; nothing (Debian's mirror) where it has none of the new form.
sources_for() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
    if [ -n "$codename" ] && [ -r /etc/apt/sources.list.d/debian.sources ]; then
        sed "s/\b$codename\b/$1/g" /etc/apt/sources.list.d/debian.sources
    fi
}

make_base() {
    local sources tar
    sources=$(mktemp --suffix .sources)
    tar=$(mktemp --suffix .tar)
    trap 'rm -f "${sources-}" "${tar-}"' RETURN EXIT
    sources_for "$1" >"$sources"
    if [ -s "$sources" ]; then
        mmdebstrap --variant=minbase --quiet --format=tar "$1" "$tar" "$sources"
    else
        mmdebstrap --variant=minbase --quiet --format=tar "$1" "$tar"
    fi
    "$engine" import -q "$tar" "$2" >/dev/null
}

for suite in "${@:-bookworm trixie}"; do
    for one in $suite; do
        base=debian:$one-slim
        if ! has "$base"; then
            base=$name-base:$one
            has "$base" || make_base "$one" "$base"
        fi
        for target in plain baked; do
            tag=$name:$one
            [ "$target" = plain ] || tag=$tag-baked
            "$engine" build -q --build-arg "BASE=$base" --target "$target" -t "$tag" . >/dev/null
            echo "$tag"
        done
    done
done
