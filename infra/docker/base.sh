#!/bin/sh
# A Debian 12 with Python 3.11 for sites without a registry: what `make image` takes as BASE there.
#
#   sh infra/docker/base.sh localhost/debian-python:12 [MIRROR]      (as root; needs debootstrap, and podman, buildah or docker)
#
# Every package comes from MIRROR and is checked by apt against Debian's signing key. SOURCE_DATE_EPOCH sets the time of
# every file; with a MIRROR of snapshot.debian.org two calls give the same files. Nothing is left that differs from one
# call to the next: logs, caches, apt's lists, the machine id.
set -eu
name=${1:?the name of the image to make}
mirror=${2:-http://deb.debian.org/debian}
epoch=${SOURCE_DATE_EPOCH:-0}
for engine in podman buildah docker; do
    command -v $engine >/dev/null && break
    engine=
done
[ -n "$engine" ] || { echo "neither podman, buildah nor docker is here" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "debootstrap is not here: apt-get install debootstrap" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
# ca-certificates: TLS to the store and the server. libgomp1: what OpenMP code outside of torch's own wheel loads.
debootstrap --variant=minbase --include=python3.11,ca-certificates,libgomp1 bookworm "$root" "$mirror" >"$work/log" ||
    { tail -5 "$work/log" >&2; exit 1; }
chroot "$root" apt-get clean
# as debian:12-slim does: no documentation, translations or manuals; licences stay
find "$root/usr/share/doc" -mindepth 2 ! -name copyright ! -type d -delete
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* "$root"/usr/share/i18n \
    "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/debconf/*-old "$root"/var/log/* \
    "$root"/var/lib/dpkg/*-old "$root"/var/cache/ldconfig/* "$root"/debootstrap "$root"/run/* "$root"/tmp/*
# the machine that builds may have named its own mirror and resolver: they stay here
: >"$root/etc/machine-id"
rm -f "$root/etc/resolv.conf" "$root/etc/hostname"
echo 'deb http://deb.debian.org/debian bookworm main' >"$root/etc/apt/sources.list"
find "$root" -name '__pycache__' -prune -exec rm -rf {} +
tar --sort=name --mtime="@$epoch" --numeric-owner --xattrs -C "$root" -cf "$work/base.tar" .
case $engine in
    buildah)
        container=$(buildah from scratch)
        buildah add -q "$container" "$work/base.tar" / >/dev/null
        buildah commit -q --timestamp "$epoch" "$container" "$name" >/dev/null
        buildah rm "$container" >/dev/null
        ;;
    *) $engine import -q "$work/base.tar" "$name" 2>/dev/null || $engine import "$work/base.tar" "$name" ;;
esac
echo "$name: $(du -sm "$root" | cut -f1) MB, files' sha256 $(sha256sum "$work/base.tar" | cut -d' ' -f1)"
