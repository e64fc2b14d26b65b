"""Pictures from pictures, with the names that diffusers has for that in its other pipelines: it has none of ERNIE-Image's."""

from __future__ import annotations


from . import _images
from ._errors import InvalidArgument
from ._pipeline import ErnieImagePipeline, call_values
from ._values import share, text, whole
from ._work import Run

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Sequence, Union

_STRENGTH_MODES = ("diffusers", "sdcpp", "comfyui", "a1111", "exact")


class ErnieImageImg2ImgPipeline(ErnieImagePipeline):
    """A picture drawn anew: loaded as :class:`ErnieImagePipeline`, or from one with ``from_pipe``."""

    def __call__(self, prompt: Union[str, Sequence[str], None] = None, image: Any = None, strength: float = 0.6,
                 height: Optional[int] = None, width: Optional[int] = None, num_inference_steps: Optional[int] = None,
                 guidance_scale: Optional[float] = None, negative_prompt: Union[str, Sequence[str], None] = "",
                 num_images_per_prompt: int = 1, generator: Any = None, latents: Any = None, prompt_embeds: Any = None,
                 negative_prompt_embeds: Any = None, output_type: str = "pil", return_dict: bool = True,
                 callback_on_step_end: Optional[Callable[..., Any]] = None,
                 callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",), use_pe: bool = False, *,
                 strength_mode: str = "diffusers", hires_scale: Optional[float] = None, hires_height: Optional[int] = None,
                 hires_width: Optional[int] = None, hires_strength: Optional[float] = None, hires_steps: Optional[int] = None,
                 boxes: Optional[Sequence[Sequence[int]]] = None, variation_seeds: Union[None, int, Sequence[int]] = None,
                 variation_strength: Optional[float] = None, **unserved):
        """Draws from a picture. What is not said here is as ``help(ErnieImagePipeline.__call__)`` has it.

        image: one, for all: a PIL image, an array of uint8 or of floats in 0..1 [height, width, 3], or a torch tensor
            [3, height, width]. Where height and width are others than its own, it is scaled to them, as diffusers does.
        height, width: None is the picture's own size, made smaller to as many pixels as the model's own size has.
        strength: how much is drawn anew, above 0 to 1, which leaves nothing of the picture; of boxes as well. Fewer steps run.
        strength_mode: whose way of counting makes it steps: "diffusers", "sdcpp", "comfyui", "a1111", or "exact".
        latents: in place of the noise that covers the picture.
        use_pe: off, since the prompt enhancer knows nothing of the picture.
        boxes: parts of the picture; nothing else of it is then drawn.
        """
        return self._call(Run(), call_values(locals()))

    def _begin(self, asked, value):
        picture = self._given(asked)
        height, width = self._size((picture.height, picture.width), asked)
        return (height, width), {**self._picture(picture, height, width), **self._strength(asked)}

    def _given(self, asked):
        if asked["image"] is None:
            raise InvalidArgument("`image` is missing: the picture to begin with")
        return _images.picture(asked["image"], "image")

    def _size(self, given, asked, grows=False):
        own = self._info["height"] * self._info["width"]
        return _images.size(given, self._sides(asked), own, self._info["size_multiple"], grows)

    @staticmethod
    def _sides(asked):
        return tuple(None if asked[name] is None else whole(asked[name], name, 1) for name in ("height", "width"))

    @staticmethod
    def _picture(picture, height, width):
        from PIL import Image

        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        return {"image": (height, width, picture.tobytes())}

    @staticmethod
    def _strength(asked):
        mode = text(asked["strength_mode"], "strength_mode")
        if mode not in _STRENGTH_MODES:
            raise InvalidArgument(f"strength_mode {mode!r} is none of {', '.join(_STRENGTH_MODES)}")
        return {"strength": share(asked["strength"], "strength"), "strength_mode": mode}


class ErnieImageInpaintPipeline(ErnieImageImg2ImgPipeline):
    """Parts of a picture drawn anew: loaded as :class:`ErnieImagePipeline`, or from one with ``from_pipe``."""

    def __call__(self, prompt: Union[str, Sequence[str], None] = None, image: Any = None, mask_image: Any = None,
                 strength: float = 1.0, height: Optional[int] = None, width: Optional[int] = None,
                 num_inference_steps: Optional[int] = None, guidance_scale: Optional[float] = None,
                 negative_prompt: Union[str, Sequence[str], None] = "", num_images_per_prompt: int = 1, generator: Any = None,
                 latents: Any = None, prompt_embeds: Any = None, negative_prompt_embeds: Any = None, output_type: str = "pil",
                 return_dict: bool = True, callback_on_step_end: Optional[Callable[..., Any]] = None,
                 callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",), use_pe: bool = False, *,
                 padding_mask_crop: Optional[int] = None, puts_back: bool = True, strength_mode: str = "diffusers",
                 boxes: Optional[Sequence[Sequence[int]]] = None, variation_seeds: Union[None, int, Sequence[int]] = None,
                 variation_strength: Optional[float] = None, **unserved):
        """Draws within a mask. What is not said here is as ``help(ErnieImageImg2ImgPipeline.__call__)`` has it.

        mask_image: white is drawn anew, black stays as it is, byte for byte, and grey is a mixture: a PIL image, an array or tensor
            [height, width] of uint8, bool or floats in 0..1. It is scaled to the picture.
        strength: 1 owes nothing to what was there, but fits its surroundings.
        padding_mask_crop: draws only the masked part and so many pixels of the picture around it, at height and width (None: as many
            pixels as the model's own size has), and puts that back scaled: the result has the picture's size, which may be any.
        puts_back: False leaves the pixels outside the mask as the decoder gives them, as diffusers does without padding_mask_crop.
        """
        return self._call(Run(), call_values(locals()))

    def _begin(self, asked, value):
        from PIL import Image

        if asked["mask_image"] is None:
            raise InvalidArgument("`mask_image` is missing: where the picture is drawn anew")
        picture, drawn = self._given(asked), _images.mask(asked["mask_image"], "mask_image")
        padding = asked["padding_mask_crop"]
        given = (picture.height, picture.width)
        if padding is None:
            height, width = self._size(given, asked)
            held = self._picture(picture, height, width)
        else:
            padding = whole(padding, "padding_mask_crop")
            drawn = drawn.resize(picture.size, Image.Resampling.BILINEAR) if drawn.size != picture.size else drawn
            height, width = self._size(_images.masked_size(drawn, padding) or given, asked, grows=True)
            held = {**self._picture(picture, *given), "mask_padding": padding}
        held_height, held_width, _ = held["image"]
        if drawn.size != (held_width, held_height):
            drawn = drawn.resize((held_width, held_height), Image.Resampling.BILINEAR)
        if not asked["puts_back"]:
            held["drawn_as_it_is"] = True
        return (height, width), {**held, "mask": drawn.tobytes(), **self._strength(asked)}
