"""Text to picture with ERNIE-Image, natively.

    import ernie_image

    pipe = ernie_image.ErnieImagePipeline.from_pretrained()      # the embedded model; or a folder, or a hub id
    pipe("a panda on a pink background").images[0].save("panda.png")

Names, defaults and what is returned are those of diffusers' ``ErnieImagePipeline``; torch is not needed.
"""

from ._errors import (
    Busy,
    Cancelled,
    CorruptFile,
    DeviceError,
    Error,
    FileError,
    InvalidArgument,
    NotFound,
    OutOfMemory,
    Unsupported,
)
from ._files import quantize, read_record
from ._native import version as _version
from ._pictures import ErnieImageImg2ImgPipeline, ErnieImageInpaintPipeline
from ._pipeline import ErnieImagePipeline, ErnieImagePipelineOutput
from ._tokenizer import Tokenizer

__version__ = _version()


def __getattr__(name):
    """metrics, when it is first asked for."""
    if name == "metrics":
        import importlib

        return importlib.import_module(".metrics", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})

__all__ = [
    "Busy",
    "Cancelled",
    "CorruptFile",
    "DeviceError",
    "Error",
    "ErnieImageImg2ImgPipeline",
    "ErnieImageInpaintPipeline",
    "ErnieImagePipeline",
    "ErnieImagePipelineOutput",
    "FileError",
    "InvalidArgument",
    "NotFound",
    "OutOfMemory",
    "Tokenizer",
    "Unsupported",
    "metrics",
    "quantize",
    "read_record",
]
