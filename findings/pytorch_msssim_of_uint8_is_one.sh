#!/usr/bin/env bash
# pytorch-msssim: any two uint8 pictures are perfectly alike
#
# Seen with: pytorch-msssim 1.0.0, torch 2.15.0, Python 3.11.
# Does: compares two independent pictures of noise, as uint8 tensors and as the same values in float, both with data_range=255.
# Expected at first: about 0 both times, or an error for integers.
# Seen:
#   uint8   1.0 exactly (the Gaussian window is cast to the pictures' type and becomes all zeros)
#   float  -0.0018
# Matters here: an evaluation that hands over pictures as they come from a file passes whatever it is given.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 pytorch-msssim==1.0.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from pytorch_msssim import ssim

torch.manual_seed(0)
a, b = (torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8) for _ in range(2))
integers = ssim(a, b, data_range=255).item()
floats = ssim(a.float(), b.float(), data_range=255).item()
print("uint8", integers, "float", floats)
assert integers == 1.0 and abs(floats) < 0.01
PYTHON
