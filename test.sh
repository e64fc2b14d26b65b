#!/usr/bin/env bash
# Installs what is missing, builds everything and runs all tests:
#   ./test.sh [PRESET]      release (the default), dev or ci; see CMakePresets.json
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source scripts/install_packages.sh

preset=${1:-release}

install_packages "${PACKAGES[@]}" "${TEST_PACKAGES[@]}"
case $preset in release) build=build ;; *) build=build-$preset ;; esac
# Of the network, while the compiler is at work.
install_client_packages "$build" &
clients=$!
trap 'kill "$clients" 2>/dev/null || true' EXIT
options=()
if [[ $preset == release ]]; then read -ra options < <(python_module_options "$build/python-venv"); fi
cmake --preset "$preset" --log-level=WARNING "${options[@]}" >/dev/null
cmake --build --preset "$preset"
wait "$clients"
ctest --preset "$preset"
