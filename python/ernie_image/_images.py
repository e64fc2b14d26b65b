"""Pictures and masks that a caller hands in, as Pillow has them, at the size that the library asks for."""

import math

from . import _arrays
from ._errors import InvalidArgument


def picture(value, what):
    """An RGB image of Pillow's of one of Pillow's, or of an array or tensor of one picture: uint8 [height, width, 3], floats in 0..1
    of that shape, or a torch tensor [3, height, width]; each with a leading 1, or as a list of one, as well. What is transparent
    shows white."""
    from PIL import Image

    value = _only(value, what)
    if isinstance(value, Image.Image):
        if "A" not in value.getbands() and "transparency" not in value.info:
            return value.convert("RGB")
        whole = value.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    array = _levels(value, what, 3)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise InvalidArgument(f"{what} must have the shape [height, width, 3], as a torch tensor [3, height, width], found "
                              f"{_shape(value)}")
    return Image.fromarray(array)


def mask(value, what):
    """A grey image of Pillow's of what is drawn anew (white): an image, or an array or tensor [height, width] of uint8, bool or
    floats in 0..1; with a dimension of 1 before or behind these as well."""
    import numpy as np
    from PIL import Image

    value = _only(value, what)
    if isinstance(value, Image.Image):
        return value.convert("L")
    array = _levels(value, what, 2)
    array = array.reshape([side for side in array.shape if side != 1]) if array.ndim > 2 else array
    if array.ndim != 2 or array.size == 0:
        raise InvalidArgument(f"{what} must have the shape [height, width], found {_shape(value)}")
    return Image.fromarray(np.ascontiguousarray(array))


def _shape(value):
    return list(getattr(value, "shape", ()))


def _only(value, what):
    """The picture of a list of one; the same for every picture of a call."""
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise InvalidArgument(f"{what} must be one picture, which all are drawn from, found a list of {len(value)}")
        return value[0]
    return value


def _levels(value, what, dimensions):
    """uint8 with the channels last, without a leading 1."""
    import numpy as np

    is_tensor = _arrays.is_torch(value, "Tensor")
    if is_tensor:
        value = value.detach().cpu().float().numpy() if value.is_floating_point() else value.detach().cpu().numpy()
    elif not isinstance(value, np.ndarray):
        try:
            value = np.asarray(memoryview(value))
        except TypeError:
            raise TypeError(f"{what} must be a PIL image, an array or a tensor, found {type(value).__name__}") from None
    if value.ndim == dimensions + 1 and value.shape[0] == 1:
        value = value[0]
    if is_tensor and dimensions == 3 and value.ndim == 3:
        value = value.transpose(1, 2, 0)
    if value.dtype == np.bool_:
        value = value.astype(np.uint8) * 255
    elif value.dtype.kind == "f":
        if not (np.isfinite(value).all() and value.size and value.min() >= 0 and value.max() <= 1):
            raise InvalidArgument(f"{what} as floats must lie in 0..1")
        value = np.rint(value * 255).astype(np.uint8)
    elif value.dtype != np.uint8:
        raise TypeError(f"{what} must be uint8, or floats in 0..1, found {value.dtype}")
    return np.ascontiguousarray(value)


def size(given, asked, default_pixels, multiple, grows=False):
    """(height, width) in multiples of `multiple`: those that are asked for; else those of `given`, a size in pixels, made smaller (or
    larger, with `grows`) to as many pixels as the model's own size has."""
    height, width = asked
    scale = math.sqrt(default_pixels / (given[0] * given[1]))
    if not grows:
        scale = min(1.0, scale)

    def rounded(side):
        return max(1, math.floor(side / multiple + 0.5)) * multiple

    if height is None and width is None:
        return rounded(given[0] * scale), rounded(given[1] * scale)
    if height is None:
        height = rounded(width * given[0] / given[1])
    return height, width if width is not None else rounded(height * given[1] / given[0])


def masked_size(drawn, padding):
    """(height, width) of what is white in a mask, and so many pixels around it; None where nothing is."""
    box = drawn.getbbox()
    if box is None:
        return None
    left, top, right, bottom = box
    return (min(drawn.height, bottom + padding) - max(0, top - padding),
            min(drawn.width, right + padding) - max(0, left - padding))
