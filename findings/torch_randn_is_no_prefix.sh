#!/usr/bin/env bash
# torch.randn: a longer tensor of the same seed does not begin with the shorter one
#
# Seen with: torch 2.15.0, CPU, Python 3.11.
# Does: draws tensors of several lengths, each from a fresh generator with seed 42.
# Expected at first: randn(n) is the beginning of randn(m) for n < m, as it is for torch.rand.
# Seen:
#   randn(15) and randn(16)[:15]  share no value: below 16 values another algorithm draws them one by one
#   randn(32) and randn(40)[:32]  differ in the last 8: where the length is no multiple of 16, the last 16 are drawn anew
#   float64 differs from float32 in every value; bfloat16 is float32, rounded
# Matters here: cropping or padding latents is not the noise of another size, and an own generator must know both rules.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.3.5
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import torch


def draw(count, **options):
    return torch.randn(count, generator=torch.Generator().manual_seed(42), **options)


assert not (draw(15) == draw(16)[:15]).any()
different = (draw(40)[:32] != draw(32)).nonzero().flatten().tolist()
print("randn(40)[:32] differs from randn(32) at", different)
assert different == list(range(24, 32))
uniform = [torch.rand(n, generator=torch.Generator().manual_seed(42)) for n in (32, 40)]
assert torch.equal(uniform[0], uniform[1][:32])
assert (draw(32, dtype=torch.float64).float() != draw(32)).all()
assert torch.equal(draw(32, dtype=torch.bfloat16), draw(32).bfloat16())
PYTHON
