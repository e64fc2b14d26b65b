#!/usr/bin/env bash
# Fails, naming the places, if clang-tidy finds in src, apps or include what .clang-tidy forbids.
#   scripts/check_tidy.sh [--all]
# It reads each folder as one source (CMake's unity builds): headers are parsed once a folder and not once a file, which
# is most of the work. The kernels of the CPU and the conformance suite cannot be joined; --all reads them too, one by one,
# in three times the time. What is compiled by nvcc or for another architecture is not looked at.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/install_packages.sh

install_packages clang-tidy
build=build-tidy
cmake --preset release -B "$build" --log-level=WARNING -D CMAKE_UNITY_BUILD=ON -D CMAKE_UNITY_BUILD_BATCH_SIZE=0 \
  -D ERNIE_IMAGE_TESTS=OFF -D ERNIE_IMAGE_BENCH=OFF >/dev/null

sources='/Unity/unity_0_cxx\.cxx$'
if [[ ${1:-} == --all ]]; then sources="$sources|/src/(backend/cpu|verify)/"; fi
if ! findings=$(run-clang-tidy -p "$build" -quiet "$sources" 2>/dev/null); then
  grep -v '^clang-tidy\|warnings generated' <<<"$findings" >&2
  exit 1
fi
echo "clang-tidy finds nothing in $(grep -c '^clang-tidy' <<<"$findings") folders"
