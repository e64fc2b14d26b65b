"""The Ray Serve application: pictures over HTTP, requests of one size drawn together.

    POST /          {"prompt": ..., "negative_prompt", "height", "width", "num_inference_steps", "guidance_scale", "seed", "use_pe"}
                    a PNG, its seed in the header X-Seed; with "stream": true lines of JSON: progress with previews, then the picture
    GET  /info      what the model says about itself

Replicas, queues, batches, scaling and restarts are Serve's; ``/-/healthz`` is its word on them.
"""

import asyncio
import base64
import io
import json
import secrets
import threading
import time

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from . import _rows
from ._errors import Busy, DeviceError, Error, OutOfMemory
from ._ray_batch import open_model

_MOST_BODY_BYTES = 1_000_000
_PIXELS = 1024 * 1024
_STATUS = ((OutOfMemory, 507), (Busy, 503), (DeviceError, 500), ((Error, ValueError, TypeError), 400))


class Job:
    """A checked request on its way to a picture."""

    def __init__(self, body, info):
        self.stream = body.pop("stream", False)
        if not isinstance(self.stream, bool):
            raise _rows.BadRow(f"stream must be true or false, found {self.stream!r}")
        body = {name: value for name, value in body.items() if value is not None}
        _rows.check(body)
        if "key" in body:
            raise _rows.BadRow("key is for rows of a list; a request has none")
        self.prompt = body["prompt"]
        self.negative_prompt = body.get("negative_prompt", "")
        self.seed = body.get("seed", secrets.randbits(32))
        self.settings = {name: body.get(name, info[name]) for name in ("height", "width", "num_inference_steps", "guidance_scale")}
        self.settings["use_pe"] = body.get("use_pe", True)
        self.tell = lambda line: None

    @property
    def shape(self):
        return _rows.canonical(self.settings)


def pixels_of(jobs):
    """What a batch weighs, in pictures of 1024x1024, rounded up: Serve fills a batch to ``max_batch_size`` of these."""
    pixels = sum(job.settings["height"] * job.settings["width"] for job in jobs)
    return -(-pixels // _PIXELS)


def png(image):
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


class Painter:
    """One replica: a model, which draws what Serve gives it."""

    def __init__(self, options, unhealthy_after=3):
        self._pipe = open_model(options)
        self._info = self._pipe.info
        self._failures = 0
        self._unhealthy_after = unhealthy_after
        self._turn = threading.Lock()

    def check_health(self):
        """Asked by Serve from time to time, which replaces a replica that raises: one whose device fails again and again."""
        if self._failures >= self._unhealthy_after:
            raise RuntimeError(f"the device failed {self._failures} times in turn")

    def reconfigure(self, config):
        """Serve's ``user_config``: how many megapixels are drawn at once, and how long a batch waits for more."""
        self.draw.set_max_batch_size(int(config.get("max_megapixels", 4)))
        self.draw.set_batch_wait_timeout_s(float(config.get("wait_s", 0.05)))

    @serve.batch(max_batch_size=4, batch_wait_timeout_s=0.05, batch_size_fn=pixels_of)
    async def draw(self, jobs):
        """(image or error) of each. Those that are alike but for prompt and seed are drawn in one call."""
        groups = {}
        for index, job in enumerate(jobs):
            groups.setdefault(job.shape, []).append(index)
        drawn = [None] * len(jobs)
        for indices in groups.values():
            group = [jobs[index] for index in indices]
            for index, result in zip(indices, await asyncio.to_thread(self._draw_group, group)):
                drawn[index] = result
        return drawn

    def _draw_group(self, group):
        try:
            with self._turn:
                images = self._call(group)
            self._failures = 0
            return images
        except DeviceError as error:
            self._failures += 1
            return [error] * len(group)
        except (Error, ValueError, TypeError) as error:
            if len(group) == 1:
                return [error]
            return [result for job in group for result in self._draw_group([job])]

    def _call(self, group):
        arguments = {"prompt": [job.prompt for job in group], "negative_prompt": [job.negative_prompt for job in group],
                     "generator": [job.seed for job in group], **group[0].settings}
        if not any(job.stream for job in group):
            return self._pipe(**arguments).images
        steps = group[0].settings["num_inference_steps"]

        def show(_, step, __, told):
            for job, picture in zip(group, told["preview"]):
                job.tell({"step": step + 1, "steps": steps, "preview": base64.b64encode(png(picture)).decode()})

        return self._pipe(**arguments, callback_on_step_end=show, callback_on_step_end_tensor_inputs=["preview"]).images

    async def __call__(self, request: Request):
        if request.url.path.rstrip("/").endswith("/info"):
            return JSONResponse(self._info)
        if request.method != "POST":
            return JSONResponse({"error": "POST a request with a prompt, or GET /info"}, 405)
        try:
            job = Job(await self._body(request), self._info)
        except _rows.BadRow as error:
            return JSONResponse({"error": str(error)}, 400)
        if job.stream:
            return StreamingResponse(self._lines(job), media_type="application/x-ndjson")
        result = await self.draw(job)
        if isinstance(result, Exception):
            return JSONResponse({"error": str(result)}, _status(result))
        return Response(png(result), media_type="image/png", headers={"X-Seed": str(job.seed)})

    async def _body(self, request):
        data = b""
        async for piece in request.stream():
            data += piece
            if len(data) > _MOST_BODY_BYTES:
                raise _rows.BadRow(f"the body has more than {_MOST_BODY_BYTES} bytes")
        row = _rows.parse_line(data)
        if row is None:
            raise _rows.BadRow("the body is empty; expected a JSON object with a prompt")
        return row

    async def _lines(self, job):
        """Of JSON: what is told while it is drawn, then the picture or the error."""
        loop, told = asyncio.get_running_loop(), asyncio.Queue()
        job.tell = lambda line: loop.call_soon_threadsafe(told.put_nowait, line)
        drawing = asyncio.ensure_future(self.draw(job))
        drawing.add_done_callback(lambda _: told.put_nowait(None))
        began = time.monotonic()
        while (line := await told.get()) is not None:
            yield json.dumps(line) + "\n"
        result = await drawing
        if isinstance(result, Exception):
            yield json.dumps({"error": str(result)}) + "\n"
        else:
            image = base64.b64encode(png(result)).decode()
            yield json.dumps({"image": image, "seed": job.seed, "seconds": round(time.monotonic() - began, 3)}) + "\n"


def _status(error):
    return next(status for kinds, status in _STATUS if isinstance(error, kinds))


def _resources(device, num_cpus):
    kind = str(device).partition(":")[0]
    return {"num_cpus": num_cpus, **({"num_gpus": 1} if kind == "cuda" else {}), **({"resources": {"NPU": 1}} if kind == "ascend" else {})}


def application(arguments):
    """See :func:`ernie_image.ray.application`."""
    asked = dict(arguments or {})
    take = lambda name, kind, default: kind(asked.pop(name, default))
    num_cpus = take("num_cpus", float, 1)
    batch = {"max_megapixels": take("max_megapixels", int, 4), "wait_s": take("wait_s", float, 0.05)}
    scaling = {"min_replicas": take("min_replicas", int, 1), "max_replicas": take("max_replicas", int, 1),
               "target_ongoing_requests": take("target_requests", float, 2), "upscale_delay_s": take("upscale_delay_s", float, 10),
               "downscale_delay_s": take("downscale_delay_s", float, 300)}
    most_waiting = take("max_queued_requests", int, 100)
    options = {name: asked.pop(name) for name in ("model", "device", "torch_dtype", "quantization") if asked.get(name)}
    if asked:
        raise ValueError(f"unknown argument {sorted(asked)[0]!r}")
    options.setdefault("device", "cpu")
    if options["device"] == "cpu":
        options["num_threads"] = max(1, int(num_cpus))
    deployment = serve.deployment(Painter, name="Painter", autoscaling_config=scaling, max_ongoing_requests=32, user_config=batch,
                                  max_queued_requests=most_waiting, health_check_period_s=10, health_check_timeout_s=30,
                                  ray_actor_options=_resources(options["device"], num_cpus))
    return deployment.bind(options)
