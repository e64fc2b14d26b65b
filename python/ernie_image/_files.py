"""Files: what a picture says about itself, and models with fewer bits."""

from __future__ import annotations

import os

from . import _native
from ._errors import CorruptFile
from ._values import text, whole

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Sequence


def read_record(path) -> Dict[str, Any]:
    """How a PNG, JPEG or WebP of the program ``ernie-image`` was made: request, model, device, version.

    Raises NotFound (a FileNotFoundError) if there is no file or no record in it, CorruptFile (a ValueError) for what is no picture.
    """
    import json

    record_text = _native.read_text(text(os.fsdecode(path), "the path"), "ernie_image")
    try:
        record = json.loads(record_text)
    except ValueError as error:
        raise CorruptFile(f"{path}: the record is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise CorruptFile(f"{path}: the record is no JSON object")
    return record


def quantize(model, output, quantization: str = "int8", components: Optional[Sequence[str]] = None, *,
             max_shard_bytes: int = 4_000_000_000, num_threads: int = 0, force: bool = False) -> None:
    """Writes a model folder with int8 or int4 weights; after an interruption the same call goes on.

    model: a folder or hub id. output: a new folder. components: of "transformer", "text_encoder" and "pe"; None: the
    transformer. num_threads 0: every processor. force: replace what an earlier call wrote there.
    """
    _native.quantize(text(os.fsdecode(model), "model"), text(os.fsdecode(output), "output"), text(quantization, "quantization"),
                     [text(each, "a component") for each in components or ()],
                     whole(max_shard_bytes, "max_shard_bytes", 1, 2**63), whole(num_threads, "num_threads", 0, 1024), bool(force))
