#!/usr/bin/env bash
# FlowMatchEulerDiscreteScheduler: the same N steps have other sigmas when only their number is given
#
# Seen with: diffusers 0.42.1, torch 2.15.0, Python 3.11.
# Does: asks a scheduler with shift 4 for eight steps, once by number and once by the eight unshifted sigmas 1, 7/8 ... 1/8.
# Expected at first: the same schedule, since N evenly spaced steps is what a number means.
# Seen:
#   by number  1 .9602 .9096 .8430 .7517 .6187 .4067 .0158
#   by sigmas  1 .9655 .9231 .8696 .8000 .7059 .5714 .3636
#   The number spreads its steps down to the smallest *shifted* sigma of the training schedule and then shifts them
#   again, so that the last step starts almost at 0 and is wasted.
# Matters here: a script that calls set_timesteps(8) by itself does not make the picture that the pipeline makes.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 diffusers==0.42.1 transformers==5.23.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler

scheduler = FlowMatchEulerDiscreteScheduler(shift=4.0)
scheduler.set_timesteps(8)
by_number = scheduler.sigmas.numpy().copy()
scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 8, 8))
by_sigmas = scheduler.sigmas.numpy().copy()
print("by number", by_number.round(4), "\nby sigmas", by_sigmas.round(4))
uniform = 1 - np.arange(8) / 8
assert np.allclose(by_sigmas[:8], 4 * uniform / (1 + 3 * uniform), atol=1e-6)
assert abs(by_number[7] - 0.0158) < 1e-4 and abs(by_sigmas[7] - 0.3636) < 1e-4
PYTHON
