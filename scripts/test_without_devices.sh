#!/usr/bin/env bash
# The program without a device: in a copy of the sources its folder is deleted and its name taken off the list in
# src/backend/CMakeLists.txt; all else must build, know nothing of the device, and draw a picture.
#   scripts/test_without_devices.sh [DEVICE...]      cuda and ascend by default
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

devices=("$@")
(($# > 0)) || devices=(cuda ascend)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | grep -zv '^tests/\|^docs/' | xargs -0 cp --parents -t "$copy" 2>/dev/null || true
for device in "${devices[@]}"; do
  rm -r "$copy/src/backend/$device"
  sed -i "s/^\(set(ERNIE_IMAGE_DEVICES.*\) $device\b/\1/" "$copy/src/backend/CMakeLists.txt"
done
if ! grep -q '^set(ERNIE_IMAGE_DEVICES [a-z]' "$copy/src/backend/CMakeLists.txt"; then
  rm -r "$copy/src/backend/card" # the host's side of cards, of which there are none
fi

cmake -S "$copy" -B "$copy/build" -G Ninja --log-level=WARNING -D ERNIE_IMAGE_TESTS=OFF -D ERNIE_IMAGE_BENCH=OFF \
  -D CMAKE_UNITY_BUILD=ON -D CMAKE_UNITY_BUILD_BATCH_SIZE=18 >/dev/null
cmake --build "$copy/build" --target ernie-image ernie_image
listed=$("$copy/build/ernie-image" devices --json)
for device in "${devices[@]}"; do
  if grep -q "$device" <<<"$listed$("$copy/build/ernie-image" generate --help)"; then
    echo "the program still speaks of $device" >&2
    exit 1
  fi
  if "$copy/build/ernie-image" generate --prompt x --device "$device" 2>/dev/null; then
    echo "--device $device was accepted" >&2
    exit 1
  fi
done
"$copy/build/ernie-image" generate --quiet --prompt "a red apple" --num-steps 1 --output "$copy/apple.png"
echo "100% tests passed: without ${devices[*]}"
