"""Loader, adapter, enhancer, sampler and decoder. Each is a thin call of ``ernie_image.ErnieImagePipeline``; progress, previews and
the button that cancels are ComfyUI's own.

A LATENT of these nodes is packed, [pictures, C, h, w], as the transformer has it: this decoder takes it, and SaveLatent and LoadLatent
keep it; ComfyUI's VAE nodes have another layout.
"""

import contextlib
import dataclasses
import threading
from typing import Any, Tuple

_CATEGORY = "ernie-image"
_MODEL = "ERNIE_IMAGE_MODEL"
_POLL_SECONDS = 0.1
_MOST_SIDE_PX = 16384


@dataclasses.dataclass(frozen=True)
class _Model:
    """A pipeline, and the adapters that are to be used with it on this wire."""

    pipe: Any
    adapters: Tuple[Tuple[str, float], ...] = ()

    def prepare(self):
        pipe = self.pipe
        loaded = pipe.get_list_adapters().get("transformer", [])
        for path, _ in self.adapters:
            if path not in loaded:
                pipe.load_lora_weights(path, adapter_name=path)
        pipe.set_adapters([path for path, _ in self.adapters], [strength for _, strength in self.adapters])
        return pipe


@contextlib.contextmanager
def _cancellable(pipe):
    """What is done within ends soon after ComfyUI is told to cancel, with the exception that ComfyUI expects."""
    import comfy.model_management
    import ernie_image

    done = threading.Event()

    def watch():
        while not done.wait(_POLL_SECONDS):
            if comfy.model_management.processing_interrupted():
                pipe.cancel()

    watcher = threading.Thread(target=watch, daemon=True, name="ernie-image cancel")
    watcher.start()
    try:
        yield
    except ernie_image.Cancelled:
        comfy.model_management.throw_exception_if_processing_interrupted()
        raise
    finally:
        done.set()
        watcher.join()


def _choice(values, tooltip):
    return (values, {"tooltip": tooltip})


class ErnieImageLoader:
    DESCRIPTION = "Opens a model on a device. Nothing is downloaded."
    CATEGORY = _CATEGORY
    FUNCTION = "load"
    RETURN_TYPES = (_MODEL,)
    RETURN_NAMES = ("model",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("STRING", {"default": "", "tooltip": "A folder in the diffusers layout, a hub id in the local caches, or a "
                                     "file with the transformer. Empty: the small model that the package carries."}),
                "device": ("STRING", {"default": "cpu", "tooltip": "cpu, cuda, cuda:1, ascend ..."}),
                "dtype": _choice(["float32", "bfloat16"], "The precision of activations."),
                "quantization": _choice(["none", "int8", "int4"], "Bits of the transformer's weights."),
            }
        }

    def load(self, model, device, dtype, quantization):
        from ernie_image import ErnieImagePipeline

        pipe = ErnieImagePipeline.from_pretrained(model.strip() or "embedded:emoji-tiny", device=device.strip() or "cpu", torch_dtype=dtype,
                                                  quantization=None if quantization == "none" else quantization)
        pipe.set_progress_bar_config(disable=True)
        return (_Model(pipe),)


class ErnieImageLora:
    DESCRIPTION = "Adds a LoRA or one of its kin, of ComfyUI's folder loras. Several may follow each other."
    CATEGORY = _CATEGORY
    FUNCTION = "add"
    RETURN_TYPES = (_MODEL,)
    RETURN_NAMES = ("model",)

    @classmethod
    def INPUT_TYPES(cls):
        import folder_paths

        return {
            "required": {
                "model": (_MODEL,),
                "lora_name": _choice(folder_paths.get_filename_list("loras"), "The adapter's file."),
                "strength": ("FLOAT", {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.05}),
            }
        }

    def add(self, model, lora_name, strength):
        import folder_paths

        path = folder_paths.get_full_path_or_raise("loras", lora_name)
        others = tuple(each for each in model.adapters if each[0] != path)
        return (dataclasses.replace(model, adapters=(*others, (path, strength))),)


class ErnieImageEnhancer:
    DESCRIPTION = "Lets the model's language model write a prompt out."
    CATEGORY = _CATEGORY
    FUNCTION = "enhance"
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("prompt",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": (_MODEL,),
                "prompt": ("STRING", {"multiline": True, "dynamicPrompts": True}),
                "width": _size("width"),
                "height": _size("height"),
                "temperature": ("FLOAT", {"default": 0.6, "min": 0.0, "max": 2.0, "step": 0.05,
                                          "tooltip": "0: the most likely words every time."}),
                "seed": ("INT", {"default": 42, "min": 0, "max": 2**64 - 1, "control_after_generate": True}),
            }
        }

    def enhance(self, model, prompt, width, height, temperature, seed):
        with _cancellable(model.pipe):
            return (model.pipe.enhance(prompt, height or None, width or None, temperature=temperature, seed=seed),)


def _size(side):
    return ("INT", {"default": 0, "min": 0, "max": _MOST_SIDE_PX, "step": 16, "tooltip": f"The {side} in pixels. 0: the model's own."})


class ErnieImageSampler:
    DESCRIPTION = "Draws latents of a prompt, as it stands: an enhancer goes before."
    CATEGORY = _CATEGORY
    FUNCTION = "sample"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": (_MODEL,),
                "prompt": ("STRING", {"multiline": True, "dynamicPrompts": True}),
                "negative_prompt": ("STRING", {"multiline": True, "default": "", "tooltip": "Used where cfg is above 1."}),
                "width": _size("width"),
                "height": _size("height"),
                "steps": ("INT", {"default": 0, "min": 0, "max": 1000, "tooltip": "0: the model's own."}),
                "cfg": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01,
                                  "tooltip": "The guidance scale. 1: without guidance. 0: the model's own."}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 64, "tooltip": "Pictures that are drawn at once."}),
            }
        }

    def sample(self, model, prompt, negative_prompt, width, height, steps, cfg, seed, batch_size):
        import comfy.utils
        import torch

        info = model.pipe.info
        steps = steps or info["num_inference_steps"]
        progress = comfy.utils.ProgressBar(steps)

        def show(_, step, __, told):
            first = told["preview"][0]
            progress.update_absolute(step + 1, steps, ("JPEG", first, max(first.size)))

        with _cancellable(model.pipe):
            drawn = model.prepare()(prompt, negative_prompt, height=height or info["height"], width=width or info["width"],
                                    num_inference_steps=steps, guidance_scale=cfg or info["guidance_scale"],
                                    num_images_per_prompt=batch_size, generator=seed, output_type="latent", use_pe=False,
                                    callback_on_step_end=show, callback_on_step_end_tensor_inputs=["preview"])
        return ({"samples": torch.from_numpy(drawn.images)},)


class ErnieImageDecode:
    DESCRIPTION = "Makes pictures of latents."
    CATEGORY = _CATEGORY
    FUNCTION = "decode"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": (_MODEL,), "samples": ("LATENT",)}}

    def decode(self, model, samples):
        import torch

        latents = samples["samples"]
        channels, multiple = model.pipe.info["latent_channels"], model.pipe.info["size_multiple"]
        if latents.ndim != 4 or latents.shape[1] != channels:
            raise ValueError(f"these latents have the shape {tuple(latents.shape)}; this model's are (pictures, {channels}, h, w), as the node "
                             "ERNIE-Image sampler gives them")
        with _cancellable(model.pipe):
            pictures = model.pipe.decode(latents, latents.shape[2] * multiple, latents.shape[3] * multiple, output_type="np")
        return (torch.from_numpy(pictures),)


NODE_CLASS_MAPPINGS = {each.__name__: each for each in (ErnieImageLoader, ErnieImageLora, ErnieImageEnhancer, ErnieImageSampler,
                                                        ErnieImageDecode)}
NODE_DISPLAY_NAME_MAPPINGS = {
    "ErnieImageLoader": "ERNIE-Image loader",
    "ErnieImageLora": "ERNIE-Image LoRA",
    "ErnieImageEnhancer": "ERNIE-Image enhancer",
    "ErnieImageSampler": "ERNIE-Image sampler",
    "ErnieImageDecode": "ERNIE-Image decode",
}
