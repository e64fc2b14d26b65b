#!/usr/bin/env bash
# LoKr with two whole factors: PEFT scales by alpha / r, LyCORIS by 1, and neither file says which
#
# Seen with: peft 0.21.2, lycoris-lora 4.1.3, torch 2.15.0, Python 3.11.
# Does: lets both packages make a LoKr adapter whose two factors are small enough to be stored whole, with rank 64 and alpha 4, and divides what each adds by kron(w1, w2).
# Expected at first: one rule: without a low-rank factor there is no rank to divide by.
# Seen:
#   PEFT     0.0625  (4 / 64, from the configuration; no tensor has a side of 64)
#   LyCORIS  1.0     (its file holds an alpha that means nothing)
# Matters here: the same tensors are sixteen times as strong in one world as in the other; a reader must know who wrote the file.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 peft==0.21.2 transformers==5.23.0 lycoris-lora==4.1.3
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from lycoris import LycorisNetwork, create_lycoris
from peft import LoKrConfig, get_peft_model

torch.manual_seed(0)


def ratio(delta, w1, w2):
    whole = torch.kron(w1, w2)
    return ((delta * whole).sum() / (whole * whole).sum()).item()


model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(16, 16, bias=False)),
                       LoKrConfig(r=64, alpha=4, target_modules=["0"], decompose_factor=4))
layer = model.base_model.model[0]
for part in (layer.lokr_w1, layer.lokr_w2):
    torch.nn.init.normal_(part["default"])
peft = ratio(layer.get_delta_weight("default"), layer.lokr_w1["default"], layer.lokr_w2["default"])

LycorisNetwork.apply_preset({"target_name": [".*"], "target_module": ["Linear"]})
network = torch.nn.Sequential(torch.nn.Linear(16, 16, bias=False))
adapter = create_lycoris(network, 1.0, linear_dim=64, linear_alpha=4, algo="lokr", factor=4)
identity = torch.eye(16)
plain = network(identity)
adapter.apply_to()
for parameter in adapter.parameters():
    torch.nn.init.normal_(parameter)
tensors = {name.rsplit(".", 1)[-1]: tensor for name, tensor in adapter.state_dict().items()}
print("LyCORIS stores", {name: tuple(tensor.shape) for name, tensor in tensors.items()})
lycoris = ratio((network(identity) - plain).T, tensors["lokr_w1"], tensors["lokr_w2"])
print("PEFT", round(peft, 4), "LyCORIS", round(lycoris, 4))
assert abs(peft - 4 / 64) < 1e-5 and abs(lycoris - 1) < 1e-3
PYTHON
