"""Arrays and pictures of other libraries, and ours as theirs. None of them is imported before it is needed; torch never is,
unless it has been already or is asked for."""

import sys

from ._errors import InvalidArgument


def is_torch(value, name):
    """Whether ``value`` is torch's class of that name."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, getattr(torch, name))


def floats(value, what, shape=None):
    """A contiguous float32 array of an array of floats: NumPy's, torch's, or anything with the buffer protocol or dlpack."""
    import numpy as np

    if is_torch(value, "Tensor"):
        if not value.is_floating_point():
            raise TypeError(f"{what} must be floats, found {value.dtype}")
        value = value.detach().float().cpu().numpy()
    elif not isinstance(value, np.ndarray):
        try:
            value = np.from_dlpack(value) if hasattr(value, "__dlpack__") else np.asarray(memoryview(value))
        except (TypeError, BufferError) as error:
            raise TypeError(f"{what} must be an array of floats, found {type(value).__name__}") from error
    if value.dtype.kind != "f":
        raise TypeError(f"{what} must be floats, found {value.dtype}")
    if shape is not None and value.shape != tuple(shape):
        raise InvalidArgument(f"{what} must have the shape {tuple(shape)}, found {value.shape}")
    return np.ascontiguousarray(value, dtype=np.float32)


def pixels(image, what):
    """(height, width, RGB bytes) of a PIL image or of an array of uint8 [height, width, 3]."""
    if hasattr(image, "convert") and hasattr(image, "tobytes"):
        image = image.convert("RGB")
        return image.height, image.width, image.tobytes()
    import numpy as np

    if is_torch(image, "Tensor"):
        image = image.detach().cpu().numpy()
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise InvalidArgument(
            f"{what} must be a PIL image or an array of uint8 [height, width, 3], found {array.dtype} {list(array.shape)}")
    return array.shape[0], array.shape[1], np.ascontiguousarray(array).tobytes()


def as_pil(pictures):
    from PIL import Image

    return [Image.frombytes("RGB", (width, height), rgb) for height, width, rgb in pictures]


def as_uint8(pictures):
    """[n, height, width, 3]"""
    import numpy as np

    return np.stack([np.frombuffer(rgb, np.uint8).reshape(height, width, 3) for height, width, rgb in pictures])


def as_numpy(pictures):
    """float32 [n, height, width, 3], 0 to 1"""
    import numpy as np

    return as_uint8(pictures).astype(np.float32) / np.float32(255)


def as_torch(pictures):
    """float32 [n, 3, height, width], 0 to 1"""
    import torch

    return torch.from_numpy(as_numpy(pictures)).permute(0, 3, 1, 2).contiguous()


def from_bytes(shape, data):
    """A float32 array of its own, which may be written to."""
    import numpy as np

    return np.frombuffer(data, np.float32).reshape(shape).copy()
