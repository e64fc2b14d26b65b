#!/usr/bin/env bash
# diffusers: weights that an index omits are reported as newly initialised, and are loaded all the same
#
# Seen with: diffusers 0.42.1, torch 2.15.0, Python 3.11.
# Does: saves a small model in shards, takes every other name out of weight_map in the index, loads the folder.
# Expected at first: either the omitted weights are not loaded, as the warning says, or there is no warning.
# Seen:
#   the warning and missing_keys name 46 weights as "newly initialized"; all of them equal the saved ones, because every tensor of a
#   listed shard is read whatever the index says
# Matters here: the index decides which shards are opened, not which tensors count; the report of missing keys is no proof of anything.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 diffusers==0.42.1 transformers==5.23.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json

import torch
from diffusers.models.autoencoders.vq_model import VQModel

model = VQModel(in_channels=3, out_channels=3, block_out_channels=(32,), latent_channels=3, num_vq_embeddings=8)
model.save_pretrained("model", max_shard_size="200KB")
path = "model/diffusion_pytorch_model.safetensors.index.json"
index = json.load(open(path))
names = list(index["weight_map"])
index["weight_map"] = {name: index["weight_map"][name] for name in names[::2]}
json.dump(index, open(path, "w"))

loaded, report = VQModel.from_pretrained("model", output_loading_info=True)
saved = model.state_dict()
print(len(report["missing_keys"]), "called missing")
assert set(report["missing_keys"]) == set(names[1::2])
assert all(torch.equal(tensor, saved[name]) for name, tensor in loaded.state_dict().items())
PYTHON
