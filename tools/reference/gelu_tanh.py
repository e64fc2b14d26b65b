#!/usr/bin/env python3
"""Record what the Python pipeline draws with GELU in its tanh form, which torch_npu computes on Ascend NPUs for both forms.

    python gelu_tanh.py MODELS OUT        tests/data/reference/models tests/data/reference/gelu_tanh

The same libraries as generate_reference.py needs; the only change to the pipeline is the `approximate` of F.gelu.
"""

import os
import sys
import types

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import torch  # noqa: E402
from diffusers.models.transformers import transformer_ernie_image  # noqa: E402

from refgen import cases, models  # noqa: E402


def with_tanh(functional):
    """torch.nn.functional, but for this one function."""
    changed = types.SimpleNamespace(**{name: getattr(functional, name) for name in dir(functional)})
    changed.gelu = lambda x: functional.gelu(x, approximate="tanh")
    return changed


def main(models_dir, out):
    torch.set_num_threads(1)
    transformer_ernie_image.F = with_tanh(transformer_ernie_image.F)
    cases.ssim = lambda *_: None  # not asked for here, and would need scikit-image
    spec, _ = cases.PIPELINE_CASES["tiny_a"]["02_turbo_8_steps_wide"]
    cases.generate_pipeline_cases(models_dir, out, {"tiny_a": {"02_turbo_8_steps_wide": (spec, "final")}}, models.load)


main(*sys.argv[1:])
