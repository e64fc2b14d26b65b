#!/usr/bin/env bash
# gguf: two releases quantise the same bf16 weights to different bytes in Q4_0 and Q5_0
#
# Seen with: gguf 0.17.1 and 0.19.0, numpy 2.3.5, Python 3.11.
# Does: cuts 64 x 4096 normal numbers to bf16, as models have their weights, and quantises them with gguf.quants.quantize of both releases; then does the same without the cut.
# Expected at first: the same bytes, since the blocks are defined by their bytes and neither release is described as changing them.
# Seen:
#   weights in bf16   38 of 147456 bytes differ in Q4_0, 56 of 180224 in Q5_0; none in Q4_1 and Q8_0
#   weights in f32    none differ
#   0.17.1 multiplies and adds the half in f64, 0.19.0 in f32: quotients of numbers with 8 bits of mantissa often lie just at the border of two codes
# Matters here: "the bytes of the gguf package" means those of one release, and a hash over a quantised file does not tell whether two people began with the same model.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for release in 0.17.1 0.19.0; do
  python3 -m venv "$release"
  "$release/bin/pip" install --quiet --disable-pip-version-check "gguf==$release" numpy==2.3.5
  "$release/bin/python" - "$release" <<'PYTHON'
import sys

import numpy as np
from gguf import GGMLQuantizationType, quants

exact = (np.random.default_rng(1).standard_normal((64, 4096)) * 0.02).astype(np.float32)
cut = (exact.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
np.savez(f"{sys.argv[1]}.npz", **{f"{name} {kind}": quants.quantize(weights, GGMLQuantizationType[kind])
                                  for name, weights in (("f32", exact), ("bf16", cut))
                                  for kind in ("Q4_0", "Q5_0", "Q4_1", "Q8_0")})
PYTHON
done
0.19.0/bin/python - <<'PYTHON'
import numpy as np

old, new = np.load("0.17.1.npz"), np.load("0.19.0.npz")
different = {name: int((old[name] != new[name]).sum()) for name in old.files}
for name, count in different.items():
    print(f"{name}: {count} of {old[name].size} bytes differ")
assert different["bf16 Q4_0"] > 0 and different["bf16 Q5_0"] > 0
assert sum(different.values()) == different["bf16 Q4_0"] + different["bf16 Q5_0"]
PYTHON
