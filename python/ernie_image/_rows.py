"""Rows of a list of prompts: what a row may say, its key, and the picture that it asks for. For :mod:`ernie_image.ray`."""

import hashlib
import json
from urllib.parse import quote

# What a row may say of its picture, and what JSON and Parquet may say it with.
_WHOLE, _NUMBER = (int,), (int, float)
FIELDS = {
    "prompt": (str,),
    "negative_prompt": (str,),
    "height": _WHOLE,
    "width": _WHOLE,
    "num_inference_steps": _WHOLE,
    "guidance_scale": _NUMBER,
    "seed": _WHOLE,
    "use_pe": (bool,),
}
SETTINGS = tuple(name for name in FIELDS if name not in ("prompt", "seed"))
_MOST_NAME_BYTES = 200  # of a file system's 255, so that an ending has room
_MOST_LINE_CHARACTERS = 1_000_000


class BadRow(ValueError):
    """A row that no picture can be made of; the text says why."""


def canonical(value) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_name(key) -> str:
    """What the files of a key are called, without an ending: one name for each key, whatever characters it has."""
    name = quote(key, safe="")
    return "%2E" + name[1:] if name.startswith(".") else name


def folder_name(key) -> str:
    """Which of 256 folders they lie in."""
    return hashlib.sha256(key.encode()).hexdigest()[:2]


def _no_constants(text):
    raise ValueError(f"{text} is no number of JSON")


def _object(pairs):
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name appears twice in one object")
    return value


def parse_line(line: bytes):
    """The row of a line of JSON, or None for an empty line or a comment."""
    stripped = line.strip()
    if not stripped or stripped.startswith(b"#"):
        return None
    if len(stripped) > _MOST_LINE_CHARACTERS:
        raise BadRow(f"the line has {len(stripped)} bytes; at most {_MOST_LINE_CHARACTERS} are read")
    try:
        row = json.loads(stripped.decode("utf-8"), parse_constant=_no_constants, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise BadRow(f"the line is not UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BadRow(f"the line is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise BadRow(f"the line is no JSON object, but {type(row).__name__}")
    return row


def check(row, keep=()):
    """Raises BadRow for what is no row of a list. ``keep``: columns that may be there and mean nothing here."""
    unknown = sorted(name for name in row if name not in FIELDS and name != "key" and name not in keep)
    if unknown:
        raise BadRow(f"unknown column {unknown[0]!r}; known are key, {', '.join(FIELDS)}. "
                     "One that shall only be copied into the record is named by keep")
    if not isinstance(row.get("prompt"), str):
        raise BadRow(f"prompt must be text, found {row.get('prompt')!r}")
    for name, kinds in FIELDS.items():
        value = row.get(name)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise BadRow(f"{name} must be {' or '.join(kind.__name__ for kind in kinds)}, found {value!r}")
    seed = row.get("seed")
    if seed is not None and not 0 <= seed < 2**64:
        raise BadRow(f"seed must be 0 to {2**64 - 1}, found {seed}")


def key_of(row) -> str:
    """The row's own, text or a whole number; or what its other columns come to, so that equal rows are one."""
    key = row.get("key")
    if key is None:
        return digest({name: value for name, value in row.items() if value is not None})[:32]
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise BadRow(f"key must be text or a whole number, found {key!r}")
    key = str(key)
    try:
        name = file_name(key)
    except UnicodeEncodeError:
        raise BadRow("key has a lone surrogate, which is no text") from None
    if not 0 < len(name) <= _MOST_NAME_BYTES:
        raise BadRow(f"key must have 1 to {_MOST_NAME_BYTES} bytes as a file's name, found {len(name)}")
    return key


def seed_of(row, key) -> int:
    """The row's own, or one that comes of the key, so that a picture drawn again is the same."""
    seed = row.get("seed")
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) if seed is None else seed
