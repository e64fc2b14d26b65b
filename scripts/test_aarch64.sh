#!/usr/bin/env bash
# The kernels on 64-bit Arm, cross-compiled and run in qemu: layers core and backend with their tests, nothing that needs
# a third-party library of that architecture.
#   scripts/test_aarch64.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/install_packages.sh

install_packages "${AARCH64_PACKAGES[@]}"
cmake --preset aarch64 --log-level=WARNING >/dev/null
cmake --build --preset aarch64
ctest --preset aarch64
