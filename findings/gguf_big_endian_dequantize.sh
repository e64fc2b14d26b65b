#!/usr/bin/env bash
# gguf: dequantize() of a big-endian file that the same package wrote gives garbage for F32, and no error
#
# Seen with: gguf 0.19.0, numpy 2.3.5, Python 3.11.
# Does: writes the numbers 0 to 63 / 7 as F32 and as BF16 with GGUFWriter(endianess=BIG), reads the file with GGUFReader and decodes each tensor with gguf.quants.dequantize.
# Expected at first: the numbers that went in, from both.
# Seen:
#   F32   the reader's array has type >f4 and the right values; dequantize looks at its bytes as native floats: up to 3e28
#   BF16  right, because the writer does not swap the bytes of BF16 (or of any block type) in a big-endian file
# Matters here: a big-endian GGUF holds swapped F32 and F16 beside unswapped BF16 and blocks; a converter that trusts dequantize writes noise.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.3.5
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from gguf import GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFWriter, quants

values = (np.arange(64, dtype=np.float32) / 7).reshape(2, 32)
writer = GGUFWriter("big.gguf", "x", endianess=GGUFEndian.BIG)
writer.add_tensor("f32", values.copy())
bf16 = quants.quantize(values, GGMLQuantizationType.BF16)
writer.add_tensor("bf16", bf16, raw_dtype=GGMLQuantizationType.BF16)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

tensors = {tensor.name: tensor for tensor in GGUFReader("big.gguf").tensors}
print("F32 as read:", tensors["f32"].data.dtype, np.abs(tensors["f32"].data - values).max())
assert tensors["f32"].data.dtype == np.dtype(">f4") and np.array_equal(tensors["f32"].data, values)
error = {name: np.abs(quants.dequantize(tensor.data, tensor.tensor_type).reshape(2, 32) - values).max()
         for name, tensor in tensors.items()}
print("largest error of dequantize:", error)
assert error["f32"] > 1e20 and error["bf16"] < 0.05
PYTHON
