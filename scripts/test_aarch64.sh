#!/usr/bin/env bash
# The kernels on 64-bit Arm, cross-compiled and run in qemu: layers core and backend with their tests, nothing that needs
# a third-party library of that architecture.
#   scripts/test_aarch64.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/install_packages.sh

# libgtest-dev brings the sources of GoogleTest, which are built for the target.
install_packages cmake ninja-build libgtest-dev g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
cmake --preset aarch64 --log-level=WARNING >/dev/null
cmake --build --preset aarch64
ctest --preset aarch64
