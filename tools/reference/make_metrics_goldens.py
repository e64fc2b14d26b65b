"""Makes tests/data/metrics: pairs of small pictures and how far scikit-image finds them apart.

    pip install scikit-image pytorch-msssim torch
    python3 tools/reference/make_metrics_goldens.py

SSIM, PSNR and the mean squared error are scikit-image's; MS-SSIM is that of pytorch-msssim, whose downsampling
agrees with the published one for sides that halve evenly, as those of `waves` do down to the fifth scale.
"""
import json
import pathlib

import numpy as np
import pytorch_msssim
import skimage
import torch
from skimage import io
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data" / "metrics"


def noise_pair(rng):
    """Nothing alike, a side that is no multiple of anything."""
    return rng.integers(0, 256, (31, 45, 3)), rng.integers(0, 256, (31, 45, 3))


def shifted_pair(rng):
    """A ramp, brighter by three and with a few pixels that are far off."""
    ramp = np.add.outer(np.arange(40) * 3, np.arange(56) * 2)[..., None] + np.array([0, 5, 10])
    other = ramp + 3
    other[rng.integers(0, 40, 9), rng.integers(0, 56, 9)] = 255
    return ramp, other


def waves_pair(rng):
    """Smooth, and quantised in the second picture as a low quality would."""
    y, x = np.mgrid[0:192, 0:176]
    waves = np.stack([127 + 90 * np.sin(x / 13) * np.cos(y / (9 + 5 * c)) for c in range(3)], axis=-1)
    return np.round(waves / 4) * 4, np.round(waves / 24) * 24


def edge_pair(rng):
    """Seven pixels high: the least that has an SSIM."""
    a = np.tile(np.array([[[10, 200, 90]]]), (7, 12, 1))
    b = a.copy()
    b[:, 6:] += 40
    return a, b


def ms_ssim(a, b):
    planes = [torch.tensor(image.astype(np.float64)).permute(2, 0, 1)[None] for image in (a, b)]
    return pytorch_msssim.ms_ssim(*planes, data_range=255).item()


def main():
    rng = np.random.default_rng(7)
    FOLDER.mkdir(parents=True, exist_ok=True)
    cases = []
    for make in (noise_pair, shifted_pair, waves_pair, edge_pair):
        name = make.__name__.removesuffix("_pair")
        a, b = (np.clip(image, 0, 255).astype(np.uint8) for image in make(rng))
        for image, suffix in ((a, "a"), (b, "b")):
            io.imsave(FOLDER / f"{name}_{suffix}.png", image, check_contrast=False)
        difference = np.abs(a.astype(int) - b.astype(int))
        cases.append({
            "name": name,
            "nmse_percent": 100 * float(mean_squared_error(a / 255, b / 255)),
            "psnr_db": float(peak_signal_noise_ratio(a, b, data_range=255)),
            "ssim": float(structural_similarity(a, b, channel_axis=-1, data_range=255)),
            "ms_ssim": ms_ssim(a, b) if min(a.shape[:2]) > 160 else None,
            "mean_absolute_difference": float(difference.mean()),
            "max_absolute_difference": int(difference.max()),
        })
    golden = {"scikit-image": skimage.__version__, "pytorch-msssim": "1.0.0", "cases": cases}
    (FOLDER / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
