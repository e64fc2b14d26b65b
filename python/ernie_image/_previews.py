"""Calls that show what is becoming of the pictures. For :mod:`ernie_image.ray` and the nodes of ComfyUI."""


class _Previewing:
    """A native pipeline that is asked for previews, and keeps the last ones."""

    def __init__(self, native):
        self._native = native
        self.pictures = []

    def __getattr__(self, name):
        return getattr(self._native, name)

    def generate(self, request, on_progress, on_step, _with_previews):
        def step(index, timestep, shape, data, preview):
            height, width, rgb = preview
            size = height * width * 3
            self.pictures = [(height, width, rgb[begin:begin + size]) for begin in range(0, len(rgb), size)]
            return on_step(index, timestep, shape, data, preview)

        return self._native.generate(request, on_progress, step, True)


def call_with_previews(pipe, on_step, *arguments, **keywords):
    """``pipe(*arguments, **keywords)``; ``on_step(step, pictures)`` is called in this thread after each step, counted from 1, with small PIL
    images, one for each picture. What it raises ends the run."""
    from . import _arrays

    native = pipe._work.native
    previewing = _Previewing(native)
    pipe._work.native = previewing
    try:
        return pipe(*arguments, **keywords, callback_on_step_end_tensor_inputs=[],
                    callback_on_step_end=lambda _, step, *__: on_step(step + 1, _arrays.as_pil(previewing.pictures)))
    finally:
        pipe._work.native = native
