"""Where one machine is not enough: lists of prompts on a Ray cluster, and a Ray Serve application. Ray is needed for it
(``pip install ernie-image[ray]``), and places, repeats and scales; nothing of that is done here.

    python -m ernie_image.ray prompts.parquet pictures/ --device cuda

    from ernie_image.ray import draw
    draw("prompts.jsonl", "pictures", model="baidu/ERNIE-Image-Turbo", device="cuda")

``application`` is for Ray Serve: ``serve run ernie_image.ray:application device=cuda``.
"""

import argparse
import json
import os
import sys
from typing import Any, Callable, Dict, Optional, Sequence

from . import _rows
from ._errors import Error, InvalidArgument


def draw(source, output, *, model: Optional[str] = None, device: str = "cpu", defaults: Optional[Dict[str, Any]] = None,
         keep: Sequence[str] = (), batch_size: int = 1, concurrency: Optional[int] = None, num_cpus: Optional[float] = None,
         retry_failed: bool = False, open_pipeline: Optional[Callable[[Dict[str, Any]], Any]] = None,
         **options) -> Dict[str, int]:
    """Draws a picture for each row, in an actor for each device of the cluster, which loads the model once.

    source: a Ray Dataset, or a file or folder of Parquet or of lines of JSON that all machines see. A row has ``prompt`` and may
        have ``key``, ``negative_prompt``, ``height``, ``width``, ``num_inference_steps``, ``guidance_scale``, ``seed`` and
        ``use_pe``. A key names the row's files; without one rows that are equal are one. Without a seed the key gives one.
    output: a folder that all machines share. Pictures are ``pictures/??/KEY.png``, their records ``records/??/KEY.json``, and rows
        that cannot be drawn ``failed/??/KEY.*.json`` with the reason; ``ray.data.read_json`` reads the latter two as tables. The same
        call again goes on: what is written, or has failed, is not drawn again (retry_failed: that which has failed is).
    model, device, options: as ErnieImagePipeline.from_pretrained takes them; device is "cpu", "cuda" or "ascend", and Ray
        says which. The processors of a machine are one device; num_cpus of them, if it is given.
    defaults: what rows leave out; else the model's own. keep: further columns, which are copied into the record.
    batch_size: rows that are drawn at once, if they are alike but for prompt and seed. concurrency: how many actors; None: as many as
        devices are there now.
    open_pipeline: called with the options in place of from_pretrained, for adapters and the like.

    Returns how many rows were "drawn", were "there" already, and "failed". Raises InvalidArgument, NotFound; what Ray raises if a
    model cannot be opened, or a file not be written.
    """
    from . import _ray_batch

    defaults = dict(defaults or {})
    unknown = sorted(set(defaults) - set(_rows.SETTINGS))
    if unknown:
        raise InvalidArgument(f"defaults has {unknown[0]!r}; it may have {', '.join(_rows.SETTINGS)}")
    try:
        _rows.check({"prompt": "", **defaults})
    except _rows.BadRow as error:
        raise InvalidArgument(f"defaults: {error}") from None
    for what, value, least in (("batch_size", batch_size, 1), ("concurrency", concurrency, 1), ("num_cpus", num_cpus, 0)):
        if value is not None and not (isinstance(value, (int, float)) and value >= least):
            raise InvalidArgument(f"{what} must be at least {least}, found {value!r}")
    return _ray_batch.run(source, output, {"model": model, "device": device, **options}, defaults, tuple(keep), int(batch_size),
                          concurrency, num_cpus, retry_failed, open_pipeline or _ray_batch.open_model)


def application(arguments: Optional[Dict[str, Any]] = None):
    """The Ray Serve application, ``serve run ernie_image.ray:application NAME=VALUE...`` or an ``import_path``: POST a JSON object with a
    prompt, and what else a row may have, and get a PNG; with ``"stream": true`` lines of JSON with previews, then the picture.

    arguments: model, device, torch_dtype, quantization as from_pretrained takes them; num_cpus of a replica (1);
        max_megapixels that are drawn at once (4), wait_s for which a batch waits for more (0.05);
        min_replicas, max_replicas (1), target_requests waiting or drawn in a replica, above which another is started (2),
        upscale_delay_s (10), downscale_delay_s (300); max_queued_requests, above which requests are refused with 503 (100).
    """
    from . import _ray_serve

    return _ray_serve.application(arguments)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m ernie_image.ray", description="Pictures of a list of prompts, on a Ray cluster.",
                                     epilog="The same command again goes on where it was stopped.")
    parser.add_argument("input", help="file or folder of Parquet or lines of JSON: prompt, and what else a row may have")
    parser.add_argument("output", help="folder that all machines share: pictures/, records/, failed/")
    parser.add_argument("--address", help="of the cluster; else RAY_ADDRESS, a cluster on this machine, or a new one")
    parser.add_argument("--model", help="folder or hub id that all machines have; else the embedded model")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or ascend")
    parser.add_argument("--dtype", help="float32 or bfloat16")
    parser.add_argument("--quantization", help="int8 or int4")
    parser.add_argument("--batch-size", type=int, default=1, help="rows that are drawn at once if they are alike")
    parser.add_argument("--concurrency", type=int, help="actors; else one for each device that is there")
    parser.add_argument("--num-cpus", type=float, help="processors of an actor; else those of the smallest machine, or 1 with a card")
    parser.add_argument("--keep", action="append", default=[], metavar="COLUMN", help="a column that is copied into the record")
    parser.add_argument("--retry-failed", action="store_true", help="draw what is in failed/ once more")
    parser.add_argument("--no-enhance", action="store_true", help="without the prompt enhancer, where a row does not say")
    for name in ("height", "width", "num_inference_steps"):
        parser.add_argument("--" + name.replace("_", "-"), type=int, help="where a row does not say")
    parser.add_argument("--guidance-scale", type=float, help="where a row does not say")
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Exit status: 0; 1 if rows have failed; 2 for what cannot be begun."""
    asked = _parser().parse_args(arguments)
    names = ("height", "width", "num_inference_steps", "guidance_scale")
    defaults = {name: getattr(asked, name) for name in names if getattr(asked, name) is not None}
    if asked.no_enhance:
        defaults["use_pe"] = False
    options = {"torch_dtype": asked.dtype, "quantization": asked.quantization}
    try:
        import ray
    except ImportError:
        print("ernie_image.ray: Ray is not installed; pip install ernie-image[ray]", file=sys.stderr)
        return 2
    try:
        if asked.address:
            ray.init(asked.address)
        counts = draw(asked.input, asked.output, model=asked.model, device=asked.device, defaults=defaults, keep=asked.keep,
                      batch_size=asked.batch_size, concurrency=asked.concurrency, num_cpus=asked.num_cpus,
                      retry_failed=asked.retry_failed, **{name: value for name, value in options.items() if value})
    except (Error, ConnectionError) as error:
        print(f"ernie_image.ray: {error}", file=sys.stderr)
        return 2
    print(json.dumps(counts))
    if counts["failed"]:
        print(f"{counts['failed']} rows could not be drawn: see {os.path.join(asked.output, 'failed')}", file=sys.stderr)
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    from ernie_image.ray import main as importable  # so that what goes to the actors is named by the package

    sys.exit(importable())
