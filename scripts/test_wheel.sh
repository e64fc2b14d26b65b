#!/usr/bin/env bash
# The wheel as a stranger gets it: built, installed into a fresh environment, and put through the tests of the package. With
# --differential also against diffusers, which is then installed (gigabytes). Run by scripts/nightly.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

limit_bytes=25000000
rm -rf dist
scripts/build_wheel.sh
wheels=(dist/*.whl)
for wheel in "${wheels[@]}"; do
  bytes=$(stat --format=%s "$wheel")
  echo "$wheel: $bytes bytes"
  if ((bytes > limit_bytes)); then
    echo "more than $limit_bytes" >&2
    exit 1
  fi
done

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
build-wheel-venv/bin/python -m venv "$fresh/venv"
"$fresh/venv/bin/pip" install --quiet --disable-pip-version-check "${wheels[0]}"
"$fresh/venv/bin/python" python/tests/test_package.py
"$fresh/venv/bin/ernie-image" --version
if [[ ${1-} == --differential ]]; then
  "$fresh/venv/bin/pip" install --quiet --disable-pip-version-check torch diffusers transformers accelerate
  "$fresh/venv/bin/python" python/tests/differential.py
fi
echo "the wheel passed"
