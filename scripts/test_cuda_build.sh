#!/usr/bin/env bash
# The backend for NVIDIA GPUs where there is a CUDA toolkit but no GPU: libernie_image_cuda.so builds for its
# architectures without warnings, exports one symbol, resolves all others, and says why there is no device.
#   scripts/test_cuda_build.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v nvcc >/dev/null && [[ ! -x /usr/local/cuda/bin/nvcc ]]; then
  echo "No nvcc: the CUDA backend is not built here."
  exit 0
fi
cmake --preset cuda --log-level=WARNING -D ERNIE_IMAGE_WERROR=ON >/dev/null
cmake --build --preset cuda --target ernie_image_cuda cuda_probe
library=build-cuda/libernie_image_cuda.so

exported=$(nm --dynamic --defined-only "$library" | awk '{ print $3 }' | grep -v '^_\(init\|fini\)$' || true)
if ! grep -qx ernie_image_cuda_plugin <<<"$exported"; then
  echo "$library does not export ernie_image_cuda_plugin" >&2
  exit 1
fi
# Templates and inline functions of the standard library are weak and may be seen; nothing of ours may.
if c++filt <<<"$exported" | grep '^ernie_image::' | grep -v 'ernie_image::Error\|ernie_image::CancelToken'; then
  echo "$library shows symbols of ours" >&2
  exit 1
fi
if ldd -r "$library" 2>&1 | grep -E 'undefined symbol|not found'; then
  echo "$library has symbols that nothing defines" >&2
  exit 1
fi
for architecture in 80 90a; do
  if ! grep -qa "sm_$architecture" "$library"; then
    echo "$library has no code for sm_$architecture" >&2
    exit 1
  fi
done
build-cuda/cuda_probe
echo "100% tests passed: $library"
