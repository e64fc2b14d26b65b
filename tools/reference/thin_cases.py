"""Drops tensors from recorded cases, so that the repository stays small.

Five of the fully recorded cases repeat, for other latents, the VAE's inner activations that three
other cases hold already. This removes them from `tensors.safetensors` and brings `case.json`
(tensor list, SHA-256) in line. Running it again changes nothing.

    python thin_cases.py ../../tests/data/reference/cases
"""

import hashlib
import json
import pathlib
import struct
import sys

# Kept in full: tiny_a/01 (square), tiny_a/02 (wide), tiny_a/11 (one token), tiny_b/01 (bf16 file).
THINNED = [
    "tiny_a/03_batch_two_lengths",
    "tiny_a/05_guidance_negative",
    "tiny_a/06_empty_prompt",
    "tiny_b/02_batch_guidance",
    "tiny_b/03_truncated_long",
]


def is_dropped(name):
    return name.startswith("vae.") and name not in ("vae.input", "vae.output")


def thin_safetensors(raw):
    """The same file without the dropped tensors; the others keep their order and bytes."""
    (header_size,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + header_size])
    data = raw[8 + header_size :]
    metadata = header.pop("__metadata__", None)
    kept = {} if metadata is None else {"__metadata__": metadata}
    chunks = []
    offset = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if is_dropped(name):
            continue
        begin, end = entry["data_offsets"]
        chunks.append(data[begin:end])
        kept[name] = {**entry, "data_offsets": [offset, offset + end - begin]}
        offset += end - begin
    text = json.dumps(kept, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(chunks)


def thin_case(folder):
    tensor_path = folder / "tensors.safetensors"
    case_path = folder / "case.json"
    case = json.loads(case_path.read_text())
    case["tensors"] = {k: v for k, v in case["tensors"].items() if not is_dropped(k)}
    thinned = thin_safetensors(tensor_path.read_bytes())
    case["tensor_file_sha256"] = hashlib.sha256(thinned).hexdigest()
    tensor_path.write_bytes(thinned)
    case_path.write_text(json.dumps(case, indent=1, ensure_ascii=False) + "\n")


def main():
    root = pathlib.Path(sys.argv[1])
    for name in THINNED:
        thin_case(root / name)


if __name__ == "__main__":
    main()
