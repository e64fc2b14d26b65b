"""How far two pictures are apart.

Each function takes two pictures of one size: PIL images, or arrays of uint8 [height, width, 3].
"""

import dataclasses

from . import _arrays, _native

__all__ = ["Metrics", "compare", "ms_ssim", "nmse", "psnr", "ssim"]


@dataclasses.dataclass(frozen=True)
class Metrics:
    """All figures of two pictures."""

    nmse_percent: float
    """Mean squared error of pixels in 0..1, times 100."""
    psnr_db: float
    """Infinite for equal pictures."""
    ssim: float
    """As scikit-image's ``structural_similarity(a, b, channel_axis=-1, data_range=255)``; NaN below 7 pixels a side."""
    ms_ssim: float
    """At five scales, fewer for small pictures; NaN below 11 pixels a side."""
    ms_ssim_scales: int
    mean_absolute_difference: float
    """Of 8-bit values, 0 to 255."""
    max_absolute_difference: int


def compare(a, b) -> Metrics:
    """Raises ValueError for pictures of different sizes, or for what is no picture."""
    return Metrics(**_native.compare(*_arrays.pixels(a, "a"), *_arrays.pixels(b, "b")))


def ssim(a, b) -> float:
    """Structural similarity, 1 for equal pictures."""
    return compare(a, b).ssim


def ms_ssim(a, b) -> float:
    """Structural similarity at several scales."""
    return compare(a, b).ms_ssim


def psnr(a, b) -> float:
    """Peak signal-to-noise ratio in dB."""
    return compare(a, b).psnr_db


def nmse(a, b) -> float:
    """Mean squared error of pixels in 0..1, in percent."""
    return compare(a, b).nmse_percent
