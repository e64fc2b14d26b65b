#!/usr/bin/env bash
# The wheels as a stranger gets them: built, installed into fresh environments, and put through the tests of the package. With
# --differential also against diffusers, which is then installed (gigabytes). Run by scripts/nightly.
#   scripts/test_wheel.sh [PYTHON...] [--differential]      python3 if none is named, and of the newer ones that are there the first and
#                                                           the last, which share a wheel of the stable ABI
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pythons=()
while [[ ${1---} != --* ]]; do
  pythons+=("$1")
  shift
done
if ((${#pythons[@]} == 0)); then
  newer=()
  for python in python3.12 python3.13 python3.14; do
    if "$python" -c '' 2>/dev/null; then newer+=("$python"); fi
  done
  pythons=(python3 "${newer[@]:0:1}")
  if ((${#newer[@]} > 1)); then pythons+=("${newer[-1]}"); fi
fi
limit_bytes=25000000
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
rm -rf dist

test_with() {
  local python=$1 tag wheel bytes
  tag=$("$python" -c 'import sys; v = "cp%d%d" % sys.version_info[:2]; print("cp312-abi3" if sys.version_info >= (3, 12) else v + "-" + v)')
  if ! compgen -G "dist/*-$tag-*.whl" >/dev/null; then scripts/build_wheel.sh "$python"; fi
  wheel=$(echo dist/*-"$tag"-*.whl)
  bytes=$(stat --format=%s "$wheel")
  echo "$wheel: $bytes bytes, for $("$python" --version)"
  if ((bytes > limit_bytes)); then
    echo "more than $limit_bytes" >&2
    return 1
  fi

  rm -rf "${fresh:?}"/*
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
  local test
  for test in python/tests/test_package.py python/tests/test_pictures.py; do "$fresh/venv/bin/python" "$test"; done
}

for python in "${pythons[@]}"; do test_with "$python"; done
if [[ ${1-} == --differential ]]; then
  "$fresh/venv/bin/pip" install --quiet --disable-pip-version-check torch diffusers transformers accelerate
  "$fresh/venv/bin/python" python/tests/differential.py
fi
echo "the wheels passed"
