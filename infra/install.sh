#!/bin/sh
# Make the virtual environment and install exactly what constraints.txt pins; the stamp file says that it is done.
# uv does not read pip's configuration, so pip's find-links are handed on: a machine that offers a CPU build of torch
# there is spared gigabytes of CUDA.
set -eu
stamp=$1
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || {
    echo "domainlm needs Python 3.11 or 3.12; name one: make PYTHON=/path/to/python3.11 ..." >&2
    exit 1
}
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
uv_version=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' constraints.txt)
[ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
find_links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)}}
echo "Installing domainlm's pinned packages into .venv ..."
UV_FIND_LINKS=$find_links .venv/bin/uv pip install --quiet --python .venv/bin/python \
    --constraint constraints.txt --compile-bytecode --editable '.[dev,server]'
rm -f .venv/.installed-*
touch "$stamp"
