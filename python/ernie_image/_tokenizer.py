"""The tokenizer of a model."""

from __future__ import annotations

import os

from . import _native
from ._values import text, whole

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from typing import Dict, List, Sequence, Union


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
        return self._native.decode([whole(i, "a token id") for i in ids])

    def __call__(self, prompt: Union[str, Sequence[str]]) -> Dict[str, list]:
        """``{"input_ids": ...}`` of one text or several, as tokenizers of transformers give it."""
        if isinstance(prompt, str):
            return {"input_ids": self.encode(prompt)}
        return {"input_ids": [self.encode(each) for each in prompt]}
