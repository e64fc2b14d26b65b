#!/usr/bin/env bash
# The wheel as a stranger gets it: built, installed into a fresh environment, and put through the tests of the package. With
# --differential also against diffusers, which is then installed (gigabytes). Run by scripts/nightly.
#   scripts/test_wheel.sh [PYTHON] [--differential]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=python3
if [[ ${1---} != --* ]]; then
  python=$1
  shift
fi
limit_bytes=25000000
rm -rf dist
scripts/build_wheel.sh "$python"
wheel=$(echo dist/*.whl)
bytes=$(stat --format=%s "$wheel")
echo "$wheel: $bytes bytes"
if ((bytes > limit_bytes)); then
  echo "more than $limit_bytes" >&2
  exit 1
fi

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$python" -m venv "$fresh/venv"
"$fresh/venv/bin/pip" install --quiet --disable-pip-version-check "$wheel"
# Where nothing of the build is: three lines, and the command.
(
  cd "$fresh"
  venv/bin/python -c '
from ernie_image import ErnieImagePipeline
pipe = ErnieImagePipeline.from_pretrained()
pipe("a panda on a pink background").images[0].save("panda.png")'
  venv/bin/ernie-image --version
  venv/bin/ernie-image metrics panda.png panda.png
)
for test in python/tests/test_package.py python/tests/test_pictures.py; do "$fresh/venv/bin/python" "$test"; done
if [[ ${1-} == --differential ]]; then
  "$fresh/venv/bin/pip" install --quiet --disable-pip-version-check torch diffusers transformers accelerate
  "$fresh/venv/bin/python" python/tests/differential.py
fi
echo "the wheel passed"
