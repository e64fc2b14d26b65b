#!/usr/bin/env bash
# ernie_image.ray on a Ray cluster of three nodes on this machine, one of which is killed in the midst of 300 prompts; and the
# manifest for KubeRay. Builds the Python module in build/ if need be. Run by scripts/nightly.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/install_packages.sh

install_packages "${PACKAGES[@]}" python3-venv python3-dev
read -ra options < <(python_module_options build/python-venv)
install_ray build/ray-venv
cmake --preset release --log-level=WARNING "${options[@]}" >/dev/null
cmake --build build --target ernie_image_python ernie-image
export PYTHONPATH=$PWD/build/python
build/ray-venv/bin/python python/tests/test_kuberay.py
build/ray-venv/bin/python python/tests/test_ray.py --full
echo "the tests on Ray passed"
