#!/usr/bin/env bash
# LyCORIS: merging a LoKr or LoHa adapter gives other weights than running it
#
# Seen with: lycoris-lora 4.1.3, torch 2.15.0, Python 3.11.
# Does: makes an adapter of rank 4 with alpha 2 (scale 0.5) for one linear layer, compares what it adds when run beside the layer with what it adds after merge_to.
# Expected at first: the same difference for every algorithm.
# Seen:
#   merged / run beside:   lora 1.000   lokr 0.500   loha 0.500
#   merge_to applies alpha / rank once more to LoKr and LoHa.
# Matters here: merged LoKr and LoHa models that people share are weaker than their adapters; merge_to is no reference for them.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 lycoris-lora==4.1.3
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from lycoris import LycorisNetwork, create_lycoris

torch.manual_seed(0)
LycorisNetwork.apply_preset({"target_name": [".*"], "target_module": ["Linear"]})
for algorithm, expected in (("lora", 1.0), ("lokr", 0.5), ("loha", 0.5)):
    network = torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False))
    adapter = create_lycoris(network, 1.0, linear_dim=4, linear_alpha=2, algo=algorithm, factor=4)
    x = torch.randn(3, 64)
    plain = network(x)
    adapter.apply_to()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    beside = network(x) - plain
    adapter.restore()
    assert torch.equal(network(x), plain)
    adapter.merge_to(1.0)
    merged = network(x) - plain
    ratio = ((merged * beside).sum() / (beside * beside).sum()).item()
    print(algorithm, "merged / run beside:", round(ratio, 3))
    assert abs(ratio - expected) < 1e-3
PYTHON
