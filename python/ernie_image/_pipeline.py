"""ErnieImagePipeline, with the names and defaults of diffusers' class of that name."""

from __future__ import annotations

import os
import sys
import threading

from . import _arrays, _native
from ._errors import InvalidArgument
from ._tokenizer import Tokenizer
from ._values import number, share, text, whole
from ._work import Run, Work

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Union

# What diffusers' class draws with if nothing is said.
_DEFAULTS = {"height": 1024, "width": 1024, "num_inference_steps": 50, "guidance_scale": 4.0}
_OUTPUT_TYPES = ("pil", "np", "pt", "latent")
_PRECISIONS = {"float32": "fp32", "fp32": "fp32", "float": "fp32", "bfloat16": "bf16", "bf16": "bf16"}
_STAGES = ("text encoder", "steps", "decoder")
_MAX_SEED = 2**64 - 1
_UNSET: Any = object()


class ErnieImagePipelineOutput:
    """What a call gives. As diffusers' outputs, also a mapping by name and a sequence.

    images: PIL images, or an array: see output_type. revised_prompts: what the prompt enhancer made of the prompts; None without it.
    seeds: of the noise; None if it was given, or drawn by torch. report: seconds, memory, tokens and adapters of the run.
    """

    def __init__(self, images: Any, revised_prompts: Optional[List[str]] = None, seeds: Optional[List[int]] = None,
                 report: Optional[Dict[str, Any]] = None):
        self.images = images
        self.revised_prompts = revised_prompts
        self.seeds = seeds
        self.report = {} if report is None else report

    def __repr__(self):
        return f"ErnieImagePipelineOutput(images={self.images!r}, revised_prompts={self.revised_prompts!r})"

    def to_tuple(self):
        return tuple(value for value in (self.images, self.revised_prompts) if value is not None)

    def keys(self):
        return [key for key in ("images", "revised_prompts") if getattr(self, key) is not None]

    def __getitem__(self, key):
        return getattr(self, key) if isinstance(key, str) else self.to_tuple()[key]

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return len(self.keys())


def _random_seed():
    return int.from_bytes(os.urandom(4), "little")


def _refuse_keywords(where, keywords, served):
    if keywords:
        raise TypeError(f"{where} does not serve {', '.join(sorted(keywords))}; it serves {', '.join(served)}")


def _precision(dtype):
    """fp32 or bf16 of a torch dtype or of its name."""
    if dtype is None:
        return "fp32"
    name = str(dtype).removeprefix("torch.")
    if name in _PRECISIONS:
        return _PRECISIONS[name]
    raise InvalidArgument(f"torch_dtype {dtype} is not served; float32 and bfloat16 are")


def _path(value):
    return None if value is None else text(os.fsdecode(value), "a path")


def _name(value, what):
    return None if value is None else text(value, what)


def _prompts(value, what):
    if isinstance(value, str):
        return [text(value, what)]
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{what} must be a str or a list of them, found {type(value).__name__}")
    return [text(each, f"{what} {i}") for i, each in enumerate(value)]


class ErnieImagePipeline:
    """Text to picture: ``from_pretrained`` loads a model, a call draws.

    One pipeline draws one request at a time; a second call meanwhile raises :class:`ernie_image.Busy`. It cannot be pickled, and is
    of no use after a fork: load it in the process that uses it.
    """

    def __init__(self, native, options, use_pe=True):
        self._work = Work(native)
        self._options = options
        self._use_pe = use_pe
        self._info = native.info()
        self._adapters: Dict[str, str] = {}
        self._active: Dict[str, float] = {}
        self._lora_enabled = True
        self._progress_bar: Dict[str, Any] = {}
        self._guidance_scale: Optional[float] = None
        self._queue = threading.Lock()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path=None, *, torch_dtype=None, dtype=None, device=None,
                        quantization=None, num_threads: int = 0, memory_limit: int = 0, cpu_kernels: Optional[str] = None,
                        base=None, transformer=None, text_encoder=None, vae=None, pe=_UNSET, pe_tokenizer=_UNSET, tokenizer=None,
                        device_options: Optional[Dict[str, str]] = None, local_files_only: bool = True,
                        **unserved) -> "ErnieImagePipeline":
        """Opens a model; nothing is downloaded.

        pretrained_model_name_or_path: a folder in the diffusers layout, a hub id that is in the local caches, a file that holds the
            transformer, or None: the environment's ERNIE_IMAGE_MODEL, else the model that the package carries.
        torch_dtype (or dtype): float32, the default, or bfloat16, as torch's or as a str.
        device: "cpu", the default, "cuda", "cuda:1", "ascend", or several cards, "cuda:0,1".
        quantization: of the transformer's layers, "int8" or "int4".
        num_threads: 0 is every processor that the process may use. memory_limit: bytes; 0 is what there is.
        base, transformer, text_encoder, vae, pe, tokenizer: parts that lie elsewhere, each a file or folder. pe=None: without
            the prompt enhancer.
        device_options: of the device, as flags of the program have them: {"offload": "layers"}.

        Raises NotFound, CorruptFile, InvalidArgument, OutOfMemory and others of this package's errors; TypeError for a keyword of
        diffusers that is not served.
        """
        served = ("torch_dtype", "dtype", "device", "quantization", "num_threads", "memory_limit", "cpu_kernels", "base",
                  "transformer", "text_encoder", "vae", "pe", "tokenizer", "device_options", "local_files_only")
        _refuse_keywords("from_pretrained", unserved, served)
        if not local_files_only:
            raise InvalidArgument("local_files_only=False is not served: nothing is downloaded; use a Hugging Face client")
        if pe_tokenizer is not _UNSET and pe_tokenizer is not None:
            raise TypeError("from_pretrained does not serve pe_tokenizer; it comes with the folder of pe")
        limit = whole(memory_limit, "memory_limit", 0, 2**63)
        options = {
            "model": _path(pretrained_model_name_or_path),
            "base": _path(base),
            "transformer": _path(transformer),
            "text_encoder": _path(text_encoder),
            "vae": _path(vae),
            "pe": None if pe is _UNSET else _path(pe),
            "tokenizer": _path(tokenizer),
            "precision": _precision(dtype if torch_dtype is None else torch_dtype),
            "quantization": _name(quantization, "quantization"),
            "device": None if device is None else str(device),
            "cpu_kernels": _name(cpu_kernels, "cpu_kernels"),
            "num_threads": whole(num_threads, "num_threads", 0, 1024),
            "memory_limit_bytes": limit,
            "option_names": [str(name) for name in device_options or {}],
            "option_values": [str(value) for value in (device_options or {}).values()],
        }
        return cls(_native.Pipeline(options), options, use_pe=pe is not None)

    @classmethod
    def from_pipe(cls, pipe: "ErnieImagePipeline") -> "ErnieImagePipeline":
        """A loaded model as another of the classes: from text, from a picture, or within a mask. Both are one pipeline, with the
        same adapters, and closed together; nothing is loaded again."""
        if not isinstance(pipe, ErnieImagePipeline):
            raise TypeError(f"from_pipe takes a pipeline of this package, found {type(pipe).__name__}")
        made = cls.__new__(cls)
        made.__dict__ = pipe.__dict__
        return made

    def __reduce__(self):
        raise TypeError("a pipeline cannot be pickled; load it in the process that uses it, with from_pretrained")

    def __repr__(self):
        return f"<{type(self).__name__} {self._info['name']} on {self.device}, {self.dtype}>"

    def close(self) -> None:
        """Gives the memory back. Calls are refused from then on."""
        self.cancel()
        self._work.native.close()

    def cancel(self) -> None:
        """From any thread: the call that is at work ends with Cancelled within a fraction of a second."""
        self._work.stop()

    @property
    def info(self) -> Dict[str, Any]:
        """What the model says about itself: name, path, content_hash, its own height, width, num_inference_steps and
        guidance_scale, size_multiple (height and width must divide by it), latent_channels, text_width, has_prompt_enhancer, notes."""
        return {name: list(value) if isinstance(value, list) else value for name, value in self._info.items()}

    @property
    def device(self) -> str:
        return self._options["device"] or "cpu"

    @property
    def dtype(self) -> str:
        return {"fp32": "float32", "bf16": "bfloat16"}[self._options["precision"]]

    @property
    def guidance_scale(self):
        """Of the last call."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        return (self._guidance_scale or 0) > 1

    @property
    def vae_scale_factor(self) -> int:
        return self._info["size_multiple"]

    @property
    def tokenizer(self) -> Tokenizer:
        own = self._options["tokenizer"]
        if own is None or own.endswith(".json"):
            return Tokenizer(own or self._info["path"])
        return Tokenizer(os.path.join(own, "tokenizer.json"))

    def to(self, *where, device=None, dtype=None) -> "ErnieImagePipeline":
        """This pipeline on another device or in another precision: the model is opened again. Accepts what torch's ``to`` does."""
        for each in where:
            if str(each).removeprefix("torch.") in _PRECISIONS or str(each).startswith("torch."):
                dtype = each
            else:
                device = each
        options = dict(self._options)
        if device is not None:
            options["device"] = str(device)
        if dtype is not None:
            options["precision"] = _precision(dtype)
        return self._reopen(options)

    def _reopen(self, options):
        if (options["device"] or "cpu") == self.device and options == {**self._options, "device": options["device"]}:
            return self
        native = _native.Pipeline(options)
        self.close()
        self._work, self._options = Work(native), options
        return self

    def enable_model_cpu_offload(self, *_, **__) -> None:
        """On a card: each network leaves its memory when it is done."""
        self._offload("encoder")

    def enable_sequential_cpu_offload(self, *_, **__) -> None:
        """On a card: layers are streamed from the host."""
        self._offload("layers")

    def _offload(self, how):
        if self.device == "cpu":
            return
        device_options = dict(zip(self._options["option_names"], self._options["option_values"]))
        device_options["offload"] = how
        self._reopen({**self._options, "option_names": list(device_options), "option_values": list(device_options.values())})

    # ---- adapters ----

    def load_lora_weights(self, pretrained_model_name_or_path_or_dict, weight_name: Optional[str] = None,
                          adapter_name: Optional[str] = None, **unserved) -> None:
        """Opens a LoRA or one of its kin, in any of the usual dialects, and uses it alone from now on, as diffusers does;
        ``set_adapters`` joins several. Files: safetensors, or a folder of PEFT's or diffusers' (weight_name: the file in it)."""
        _refuse_keywords("load_lora_weights", unserved, ("weight_name", "adapter_name"))
        source = pretrained_model_name_or_path_or_dict
        if isinstance(source, dict):
            raise TypeError("load_lora_weights does not serve tensors; save them as a safetensors file and give its path")
        path = _path(source)
        if weight_name is not None:
            path = os.path.join(path, weight_name)
        name = adapter_name if adapter_name is not None else f"default_{len(self._adapters)}"
        if name in self._adapters:
            raise InvalidArgument(f"there is an adapter {name!r} already; give another adapter_name, or delete_adapters it")
        self._check({"adapter_paths": [path], "adapter_strengths": [1.0]})
        self._adapters[name] = path
        self._active = {name: 1.0}

    def set_adapters(self, adapter_names: Union[str, Sequence[str]],
                     adapter_weights: Union[None, float, Sequence[Optional[float]]] = None) -> None:
        """Those that are used from now on, with their strengths (1 where None)."""
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        weights = list(adapter_weights) if isinstance(adapter_weights, (list, tuple)) else [adapter_weights] * len(names)
        unknown = [name for name in names if name not in self._adapters]
        if unknown:
            raise InvalidArgument(f"there is no adapter {unknown[0]!r}; loaded are {sorted(self._adapters)}")
        if len(weights) != len(names):
            raise InvalidArgument(f"{len(weights)} weights for {len(names)} adapters; give one for all, or one each")
        if any(isinstance(weight, dict) for weight in weights):
            raise TypeError("set_adapters does not serve a weight for each part of the model; give one number for each adapter")
        self._active = {name: 1.0 if weight is None else number(weight, "an adapter's weight")
                        for name, weight in zip(names, weights)}

    def get_active_adapters(self) -> List[str]:
        return list(self._active) if self._lora_enabled else []

    def get_list_adapters(self) -> Dict[str, List[str]]:
        return {"transformer": list(self._adapters)} if self._adapters else {}

    def delete_adapters(self, adapter_names: Union[str, Sequence[str]]) -> None:
        for name in [adapter_names] if isinstance(adapter_names, str) else adapter_names:
            if name not in self._adapters:
                raise InvalidArgument(f"there is no adapter {name!r}; loaded are {sorted(self._adapters)}")
            del self._adapters[name]
            self._active.pop(name, None)

    def unload_lora_weights(self) -> None:
        self._adapters.clear()
        self._active.clear()

    def disable_lora(self) -> None:
        self._lora_enabled = False

    def enable_lora(self) -> None:
        self._lora_enabled = True

    # ---- text ----

    def enhance(self, prompt: str, height: Optional[int] = None, width: Optional[int] = None, *, temperature: float = 0.6,
                top_p: float = 0.95, top_k: int = 0, max_tokens: int = 2048, seed: int = 42, quantization: Optional[str] = None,
                system_prompt: Optional[str] = None, on_text: Optional[Callable[[str], Any]] = None) -> str:
        """The prompt as the model's language model writes it out, for a picture of that size (pixels).

        temperature 0: the most likely token every time. top_k 0: the model's. seed: the same words every time. on_text: receives
        the text piece by piece. Raises NotFound for a model without an enhancer.
        """
        return self._enhance(Run(), prompt, height, width, temperature, top_p, top_k, max_tokens, seed, quantization,
                             system_prompt, on_text)

    def _enhance(self, run, prompt, height=None, width=None, temperature=0.6, top_p=0.95, top_k=0, max_tokens=2048, seed=42,
                 quantization=None, system_prompt=None, on_text=None):
        native = self._work.native
        prompt = text(prompt, "the prompt")
        temperature, top_p = number(temperature, "temperature"), number(top_p, "top_p")
        if not 0 <= temperature <= 100:
            raise InvalidArgument(f"temperature must be 0 to 100, found {temperature}")
        numbers = (self._info["height"] if height is None else whole(height, "height", 1),
                   self._info["width"] if width is None else whole(width, "width", 1),
                   temperature if temperature > 0 else -1.0, top_p, whole(top_k, "top_k"),
                   whole(max_tokens, "max_tokens", 1), whole(seed, "seed", 0, _MAX_SEED))
        instructions = None if system_prompt is None else text(system_prompt, "system_prompt")

        def work(ask):
            def told(piece):
                ask(on_text, piece)

            return native.enhance(prompt, *numbers, _name(quantization, "quantization"), instructions,
                                  None if on_text is None else told)

        return self._do(run, work)[0]

    # ---- pictures ----

    def set_progress_bar_config(self, **keywords) -> None:
        """Keywords of tqdm; ``disable=True`` for none. Without tqdm there is no bar."""
        self._progress_bar = keywords

    def __call__(self, prompt: Union[str, Sequence[str], None] = None, negative_prompt: Union[str, Sequence[str], None] = "",
                 height: Optional[int] = None, width: Optional[int] = None, num_inference_steps: Optional[int] = None,
                 guidance_scale: Optional[float] = None, num_images_per_prompt: int = 1, generator: Any = None,
                 latents: Any = None, prompt_embeds: Any = None, negative_prompt_embeds: Any = None,
                 output_type: str = "pil", return_dict: bool = True,
                 callback_on_step_end: Optional[Callable[..., Any]] = None,
                 callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",), use_pe: bool = True, *,
                 hires_scale: Optional[float] = None, hires_height: Optional[int] = None, hires_width: Optional[int] = None,
                 hires_strength: Optional[float] = None, hires_steps: Optional[int] = None,
                 boxes: Optional[Sequence[Sequence[int]]] = None, boxes_strength: Optional[float] = None,
                 variation_seeds: Union[None, int, Sequence[int]] = None, variation_strength: Optional[float] = None,
                 **unserved):
        """Draws.

        prompt: one, or several that are drawn in one batch: p0 p0 p1 p1. negative_prompt: one for all, or one each; used at a
            guidance scale above 1.
        height, width: pixels. num_inference_steps, guidance_scale (1: without). None is diffusers' 1024, 1024, 50 and 4.0,
            for the embedded model its own; ``pipe.info`` has those of any model.
        generator: an int or a list of one for each picture; a torch.Generator or a list of them, which then draw the noise and
            are moved on as diffusers moves them; None: a random seed, which the output has.
        prompt_embeds, negative_prompt_embeds: what a text encoder has made of the prompts, in their place: a list of floats
            [tokens, width] (``pipe.info["text_width"]``), one for each prompt, as diffusers' ``encode_prompt`` gives it.
        latents: floats [pictures, C, h, w] in place of noise: an array, a torch tensor, or what has the buffer protocol or dlpack.
        output_type: "pil"; "np", float32 [n, height, width, 3] in 0..1; "pt", the same as a torch tensor [n, 3, height, width];
            "latent", float32 [n, C, h, w], a torch tensor if generator or latents are torch's. "np" and "pt" have 256 levels.
        callback_on_step_end: called as ``f(pipe, step, timestep, {"latents": ...})`` in this thread; a dict that it returns
            with "latents" is gone on with. What it raises ends the run. callback_on_step_end_tensor_inputs: of "latents" and
            "preview", a list of small PIL images of what is becoming of the pictures.
        use_pe: with the prompt enhancer, if the model has one.

        These are not diffusers':

        hires_scale, or hires_height and hires_width: each picture is drawn a second time, so many times larger or at that size.
            hires_strength: how much of it, above 0 to 1; None is 0.7. hires_steps: of that run's schedule; None: as the first.
        boxes: parts of the finished pictures, (left, top, width, height) in pixels, that are drawn once more, each by itself with as
            many pixels as height and width have. boxes_strength: how much of them; None is 0.6.
        variation_seeds, variation_strength: pictures like those of ``generator``, whose noise goes that share, 0 to 1, of the way
            towards the noise of these seeds. An int for a list of seeds is the first of as many.

        Returns ErnieImagePipelineOutput, or with return_dict=False the tuple ``(images,)``.
        Raises ValueError (InvalidArgument) or TypeError for what cannot be served, before any work is done; KeyboardInterrupt
        within a second of Ctrl-C, after which the pipeline is usable.
        """
        return self._call(Run(), call_values(locals()))

    async def agenerate(self, *arguments, **keywords):
        """``await pipe.agenerate(...)``: a call, in a thread. Several wait for each other. Callbacks come in that thread; when the
        task is cancelled, the work ends within a second."""
        import asyncio

        run = Run()
        bound = _bound_values(self, arguments, keywords)

        def call():
            with self._queue:
                return self._call(run, bound)

        future = asyncio.get_running_loop().run_in_executor(None, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            run.stop()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen
            raise

    def decode(self, latents, height: int, width: int, output_type: str = "pil"):
        """The pictures of latents [n, C, h, w], as output_type says (not "latent")."""
        if output_type not in _OUTPUT_TYPES[:3]:
            raise InvalidArgument(f"output_type {output_type!r} is none of {', '.join(_OUTPUT_TYPES[:3])}")
        values = _arrays.floats(latents, "latents")
        size = (whole(height, "height", 1), whole(width, "width", 1))
        multiple, channels = self._info["size_multiple"], self._info["latent_channels"]
        shape = (channels, size[0] // multiple, size[1] // multiple)
        if values.ndim != 4 or values.shape[1:] != shape or size[0] % multiple or size[1] % multiple:
            raise InvalidArgument(f"latents of {size[0]} x {size[1]} pixels, which must divide by {multiple}, have the shape "
                                  f"(n, {', '.join(map(str, shape))}), found {values.shape}")
        native = self._work.native
        return _converted(self._do(Run(), lambda ask: native.decode(values, *size))[0], output_type)

    def encode(self, image):
        """Latents [1, C, h, w] of a picture, float32: what ``decode`` makes pictures of.

        image: a PIL image, an array of uint8 or of floats in 0..1 [height, width, 3], or a torch tensor [3, height, width]; height and
            width must divide by ``pipe.info["size_multiple"]``.
        """
        from . import _images

        picture = _images.picture(image, "image")
        native = self._work.native
        return _arrays.from_bytes(*self._do(Run(), lambda ask: native.encode(picture.height, picture.width, picture.tobytes())))

    def _do(self, run, work):
        return self._work.do(run, work)

    def _defaults(self):
        return self._info if self._info["path"].startswith("embedded:") else _DEFAULTS

    def _check(self, keywords):
        """Of a request that is small and valid but for `keywords`."""
        multiple = self._info["size_multiple"]
        request = {"prompts": ["a"], "negative_prompts": [], "height": multiple, "width": multiple, "num_inference_steps": 1,
                   "num_images_per_prompt": 1, "guidance_scale": 1.0, "seeds": [], "latents": None, "latents_only": False,
                   "prompt_states": [], "negative_prompt_states": []}
        request.update(keywords)
        native = self._work.native
        self._do(Run(), lambda ask: native.check(request))

    def _call(self, run, asked):
        if asked["unserved"]:
            _refuse_keywords(type(self).__name__, asked["unserved"], served_keywords(type(self)))
        if (asked["prompt"] is None) == (asked["prompt_embeds"] is None):
            raise InvalidArgument("Must provide either `prompt` or `prompt_embeds`." if asked["prompt"] is None else
                                  "Cannot provide both `prompt` and `prompt_embeds` at the same time.")
        if asked["output_type"] not in _OUTPUT_TYPES:
            raise InvalidArgument(f"output_type {asked['output_type']!r} is none of {', '.join(_OUTPUT_TYPES)}")
        callback = asked["callback_on_step_end"]
        if callback is not None and not callable(callback):
            raise TypeError(f"callback_on_step_end must be a function, found {type(callback).__name__}")
        told = list(asked["callback_on_step_end_tensor_inputs"])
        if not set(told) <= {"latents", "preview"}:
            raise InvalidArgument(f"callback_on_step_end_tensor_inputs serves \"latents\" and \"preview\", found {told}")
        request, seeds = self._request(asked)
        enhances = bool(asked["use_pe"]) and asked["prompt"] is not None and self._use_pe and self._info["has_prompt_enhancer"]
        native = self._work.native
        revised = None
        if enhances:
            self._do(run, lambda ask: native.check(request))
            revised = [self._enhance(run.again(), prompt, request["height"], request["width"]) for prompt in request["prompts"]]
            request["prompts"] = revised
            run = run.again()
        self._guidance_scale = request["guidance_scale"]
        with _Bar(self._progress_bar, request["num_inference_steps"]) as bar:
            step = self._step_callback(asked)

            def work(ask):
                on_step = None if step is None else lambda *done: ask(step, *done)
                on_progress = (lambda *shown: ask(bar.show, *shown)) if bar.is_shown else None
                return native.generate(request, on_progress, on_step, "preview" in told)

            pictures, drawn, report = self._do(run, work)
        return self._output(asked, pictures, drawn, report, revised, seeds)

    def _request(self, asked):
        """The request of a call as the native library takes it, and its seeds, if they are known."""
        defaults = self._defaults()
        multiple = self._info["size_multiple"]
        value = {name: defaults[name] if asked[name] is None else asked[name] for name in _DEFAULTS}
        embeds = self._embeds(asked["prompt_embeds"], "prompt_embeds")
        negative_embeds = self._embeds(asked["negative_prompt_embeds"], "negative_prompt_embeds")
        prompts = _prompts(asked["prompt"], "prompt") if asked["prompt"] is not None else [""] * len(embeds)
        each = whole(asked["num_images_per_prompt"], "num_images_per_prompt", 1, 1024)
        negative = _prompts("" if asked["negative_prompt"] is None else asked["negative_prompt"], "negative_prompt")
        if len(negative) == 1 and isinstance(asked["negative_prompt"], (str, type(None))):
            negative *= len(prompts)
        if len(negative) != len(prompts):
            raise InvalidArgument(f"negative_prompt must have same length as prompt ({len(prompts)})")
        size, picture = self._begin(asked, value)
        height, width = (whole(side, name, 1) for side, name in zip(size, ("height", "width")))
        if height % multiple or width % multiple:
            raise InvalidArgument(f"Height and width must be divisible by {multiple}, found {height} and {width}")
        scale = number(value["guidance_scale"], "guidance_scale")
        shape = (len(prompts) * each, self._info["latent_channels"], height // multiple, width // multiple)
        noise, seeds = self._noise(asked["latents"], asked["generator"], shape)
        active = self._active if self._lora_enabled else {}
        request = {
            "prompts": prompts,
            "negative_prompts": negative,
            "height": height,
            "width": width,
            "num_inference_steps": whole(value["num_inference_steps"], "num_inference_steps", 1, 1000),
            "num_images_per_prompt": each,
            "guidance_scale": 1.0 if scale == 0 else scale,  # both are without; 0 would be the model's default
            "seeds": seeds or [],
            "latents": noise,
            "prompt_states": embeds,
            "negative_prompt_states": negative_embeds,
            "latents_only": asked["output_type"] == "latent",
            "adapter_paths": [self._adapters[name] for name in active],
            "adapter_strengths": list(active.values()),
            **picture,
        }
        request.update(_variations(asked, seeds))
        further = _further_runs(asked)
        if further and seeds is None:
            request["seeds"], seeds = self._seeds_of_further_runs(asked)
        request.update(further)
        return request, seeds

    def _begin(self, asked, value):
        """((height, width), what the request has of a picture to begin with)"""
        return (value["height"], value["width"]), {}

    def _seeds_of_further_runs(self, asked):
        """(seeds, those that the output has), where the noise of the first run has none."""
        generators = asked["generator"] if isinstance(asked["generator"], (list, tuple)) else [asked["generator"]]
        if any(_arrays.is_torch(each, "Generator") for each in generators):
            return [each.initial_seed() & _MAX_SEED for each in generators], None
        seeds = [_random_seed()] if generators == [None] else [whole(each, "generator", 0, _MAX_SEED) for each in generators]
        return seeds, seeds

    def _embeds(self, given, what):
        """Arrays [tokens, width] of a list of them, or of one array [prompts, tokens, width]."""
        if given is None:
            return []
        if not isinstance(given, (list, tuple)):
            given = list(given) if getattr(given, "ndim", 0) == 3 else [given]
        arrays = [_arrays.floats(each, f"{what} {i}") for i, each in enumerate(given)]
        width = self._info["text_width"]
        for i, array in enumerate(arrays):
            if array.ndim != 2 or array.shape[1] != width or array.shape[0] == 0:
                raise InvalidArgument(f"{what} {i} must have the shape (tokens, {width}), found {array.shape}")
        if not arrays:
            raise InvalidArgument(f"{what} is empty")
        return arrays

    def _noise(self, latents, generator, shape):
        """(given latents or None, seeds or None)"""
        if latents is not None:
            return _arrays.floats(latents, "latents", shape), None
        generators = generator if isinstance(generator, (list, tuple)) else [generator]
        if len(generators) not in (1, shape[0]):
            raise InvalidArgument(f"{len(generators)} generators for {shape[0]} pictures; give one for all, or one each")
        if any(_arrays.is_torch(each, "Generator") for each in generators):
            return self._torch_noise(generators, shape), None
        if generators == [None]:
            return None, [_random_seed()]
        return None, [whole(each, "generator", 0, _MAX_SEED) for each in generators]

    def _torch_noise(self, generators, shape):
        """As diffusers' randn_tensor draws it: by the generators themselves, which move on."""
        torch = sys.modules["torch"]
        if not all(_arrays.is_torch(each, "Generator") for each in generators):
            raise TypeError("generator must be torch.Generators or ints, not both")
        shapes = [shape] if len(generators) == 1 else [(1, *shape[1:])] * len(generators)
        drawn = [torch.randn(size, generator=each, device=each.device, dtype=getattr(torch, self.dtype)).cpu()
                 for each, size in zip(generators, shapes)]
        return _arrays.floats(torch.cat(drawn), "latents")

    def _step_callback(self, asked):
        callback = asked["callback_on_step_end"]
        if callback is None:
            return None
        names = asked["callback_on_step_end_tensor_inputs"]
        as_torch = _wants_torch(asked)

        def step(index, timestep, shape, data, preview):
            latents = _arrays.from_bytes(shape, data)
            told = {"latents": sys.modules["torch"].from_numpy(latents) if as_torch else latents} if "latents" in names else {}
            if "preview" in names:
                told["preview"] = _arrays.as_pil(_each_preview(*preview))
            changed = callback(self, index, timestep, told)
            if changed is None:
                return None
            if not isinstance(changed, dict):
                raise TypeError(f"callback_on_step_end must return a dict or None, found {type(changed).__name__}")
            if "latents" not in changed:
                return None
            return _arrays.floats(changed["latents"], "the latents of callback_on_step_end", shape)

        return step

    def _output(self, asked, pictures, drawn, report, revised, seeds):
        import json

        if asked["output_type"] == "latent":
            images = _arrays.from_bytes(*drawn)
            if _wants_torch(asked):
                torch = sys.modules["torch"]
                images = torch.from_numpy(images).to(getattr(torch, self.dtype))
        else:
            images = _converted(pictures, asked["output_type"])
        if not asked["return_dict"]:
            return (images,)
        return ErnieImagePipelineOutput(images, revised, seeds, json.loads(report))


def _wants_torch(asked):
    """Whether the caller has handed in something of torch's."""
    generator = asked["generator"]
    first = generator[0] if isinstance(generator, (list, tuple)) and generator else generator
    return _arrays.is_torch(first, "Generator") or _arrays.is_torch(asked["latents"], "Tensor")


def _converted(pictures, output_type):
    return {"pil": _arrays.as_pil, "np": _arrays.as_numpy, "pt": _arrays.as_torch}[output_type](pictures)


def _each_preview(height, width, rgb):
    size = height * width * 3
    return [(height, width, rgb[begin:begin + size]) for begin in range(0, len(rgb), size)]


def _variations(asked, seeds):
    """What the request has of them."""
    given, strength = asked["variation_seeds"], asked["variation_strength"]
    if given is None and strength is None:
        return {}
    if given is None or strength is None:
        raise InvalidArgument("variation_seeds and variation_strength belong together; give both")
    if seeds is None:
        raise InvalidArgument("a variation needs ints as generator: noise that was given, or that torch has drawn, has no seed here")
    if isinstance(given, (list, tuple)):
        numbers = [whole(each, "variation_seeds", 0, _MAX_SEED) for each in given]
    else:
        numbers = [whole(given, "variation_seeds", 0, _MAX_SEED) + i & _MAX_SEED for i in range(len(seeds))]
    part = number(strength, "variation_strength")
    if not 0 <= part <= 1:
        raise InvalidArgument(f"variation_strength must be 0 to 1, found {part}")
    return {"variation_seeds": numbers, "variation_strength": part}


def _further_runs(asked):
    """What the request has of runs after the first."""
    runs = {}
    if asked.get("hires_scale") is not None:
        runs["hires_scale"] = number(asked["hires_scale"], "hires_scale")
        if not runs["hires_scale"] > 0:
            raise InvalidArgument(f"hires_scale must be above 0, found {runs['hires_scale']}")
    for name in ("hires_height", "hires_width"):
        if asked.get(name) is not None:
            runs[name] = whole(asked[name], name, 1)
    for name, least in (("hires_strength", share), ("hires_steps", lambda value, what: whole(value, what, 1))):
        if asked.get(name) is not None:
            if not runs:
                raise InvalidArgument(f"{name} is of a second run; give hires_scale, or hires_height and hires_width")
            runs[name] = least(asked[name], name)
    boxes, strength = asked["boxes"], asked.get("boxes_strength")
    if strength is not None:
        if boxes is None:
            raise InvalidArgument("boxes_strength is of boxes; give some")
        runs["strength"] = share(strength, "boxes_strength")
    if boxes is not None:
        if isinstance(boxes, str) or any(isinstance(box, str) or len(box) != 4 for box in boxes):
            raise InvalidArgument(f"boxes must be a list of (left, top, width, height), found {boxes!r}")
        runs["boxes"] = [whole(side, "a side of a box") for box in boxes for side in box]
    return runs


def served_keywords(kind):
    """Of a call of a pipeline of that class."""
    import inspect

    return [name for name in inspect.signature(kind.__call__).parameters if name not in ("self", "unserved")]


def call_values(values):
    """Those of the parameters, of a method's locals."""
    return {name: value for name, value in values.items() if name not in ("self", "__class__")}


def _bound_values(pipe, arguments, keywords):
    """The values of ``pipe(*arguments, **keywords)``, defaults included."""
    import inspect

    bound = inspect.signature(type(pipe).__call__).bind(pipe, *arguments, **keywords)
    bound.apply_defaults()
    return call_values({"unserved": {}, **bound.arguments})


class _Bar:
    """tqdm's bar of the steps, if tqdm is there and stderr a terminal (or it was configured)."""

    def __init__(self, config, steps):
        self._bar = None
        if config.get("disable") or not (config or sys.stderr is not None and sys.stderr.isatty()):
            return
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return
        self._bar = tqdm(total=steps, **config)

    @property
    def is_shown(self):
        return self._bar is not None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def show(self, stage, step, steps, _seconds):
        if _STAGES[stage] != "steps":
            return
        if step < self._bar.n or steps != self._bar.total:  # a second run, or fewer steps from a picture
            self._bar.reset(total=steps)
        self._bar.update(step - self._bar.n)
