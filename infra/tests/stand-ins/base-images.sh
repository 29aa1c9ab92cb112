#!/usr/bin/env bash
# Local stand-ins for python:3.11-slim-trixie and debian:trixie-slim, for a machine that reaches no container registry:
# Debian's packages, and the Python 3.11 of this machine in /usr/local. Needs mmdebstrap, and trixie in apt's sources.
set -euo pipefail
python=3.11
prefix=$("python$python" -c 'import sys; print(sys.base_prefix)')
mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null || true; } \
    | sed -nE 's/^(deb( \[[^]]*\])?|URIs:) +([^ ]+).*/\3/p' | grep -v -e security -e disabled | sed -n 1p)
docker image inspect "python:$python-slim-trixie" debian:trixie-slim > /dev/null 2>&1 && exit

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir "$root"
# With the libraries that the modules of Python link.
mmdebstrap --quiet --variant=minbase --include=ca-certificates,netbase,tzdata,libbz2-1.0,libcrypt1,libexpat1,libffi8,libgdbm6t64,liblzma5,libncursesw6,libnsl2,libreadline8t64,libsqlite3-0,libssl3t64,libtirpc3t64,libuuid1,zlib1g \
    trixie "$work/debian.tar" "$mirror"
docker import --change 'CMD ["bash"]' "$work/debian.tar" debian:trixie-slim > /dev/null

tar -C "$root" --exclude='./dev/*' -xf "$work/debian.tar"
tar -C "$prefix" --exclude='*/site-packages/*' --exclude='*/test' --exclude='*/__pycache__' --exclude='*.a' -cf - \
    "./bin/python$python" "./lib/libpython$python.so.1.0" "./lib/libpython$python.so" "./lib/python$python" \
    | tar -C "$root/usr/local" -xf -
ln -s "python$python" "$root/usr/local/bin/python3"
ln -s "python$python" "$root/usr/local/bin/python"
# The certificates that this machine trusts, for its package mirrors.
cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2> /dev/null || true
chroot "$root" update-ca-certificates > /dev/null 2>&1
chroot "$root" /sbin/ldconfig
chroot "$root" "/usr/local/bin/python$python" -m ensurepip --default-pip > /dev/null 2>&1
ln -sf pip3 "$root/usr/local/bin/pip"
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$root/etc/pip.conf"
tar -C "$root" --numeric-owner -cf - . | docker import \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' --change 'ENV LANG=C.UTF-8' \
    --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' --change 'CMD ["python3"]' \
    - "python:$python-slim-trixie" > /dev/null
