#!/bin/sh
# One resolution of all extras, with hashes. torch keeps none: machines may hold its CPU build (2.13.0+cpu), which
# satisfies the same pin with other bytes.
set -eu
[ -x .venv/bin/uv ] || { "$PYTHON" -m venv .venv && .venv/bin/python -m pip install --quiet uv; }
env -u UV_FIND_LINKS -u PIP_FIND_LINKS .venv/bin/uv pip compile pyproject.toml --all-extras --python-version 3.11 \
    --generate-hashes --no-header --quiet -o .constraints.new
awk '/^torch==/ { sub(/ *\\$/, ""); print; torch = 1; next } torch && /--hash=/ { next } { torch = 0; print }' \
    .constraints.new > constraints.txt
rm .constraints.new
