"""The tokenizer of a model."""

import os
from typing import Dict, List, Sequence, Union

from . import _native
from ._errors import InvalidArgument


def text(value, what) -> str:
    """``value``, if it is text that the library can take."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be str, found {type(value).__name__}")
    if "\0" in value:
        raise InvalidArgument(f"{what} has a zero character at {value.index(chr(0))}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} has a lone surrogate at {error.start}, which is no text") from error
    return value


class Tokenizer:
    """Text to token ids as the text encoder is fed with them, and back."""

    def __init__(self, model=None):
        """model: a folder or hub id, a tokenizer.json, or None for the embedded model."""
        self._native = _native.Tokenizer(None if model is None else text(os.fsdecode(model), "model"))

    @classmethod
    def from_pretrained(cls, model=None) -> "Tokenizer":
        return cls(model)

    def encode(self, prompt: str) -> List[int]:
        """Cut to the model's limit; never empty."""
        return self._native.encode(text(prompt, "the text"))

    def decode(self, ids: Sequence[int]) -> str:
        """Without special tokens; ids without a token are left out."""
        return self._native.decode([int(i) for i in ids])

    def __call__(self, prompt: Union[str, Sequence[str]]) -> Dict[str, list]:
        """``{"input_ids": ...}`` of one text or several, as tokenizers of transformers give it."""
        if isinstance(prompt, str):
            return {"input_ids": self.encode(prompt)}
        return {"input_ids": [self.encode(each) for each in prompt]}
