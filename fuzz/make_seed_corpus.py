#!/usr/bin/env python3
"""Writes the seed inputs of the fuzzers: make_seed_corpus.py FOLDER (one folder a fuzzer is made in it)."""

import json
import pathlib
import struct
import sys
import zlib


def safetensors_seeds():
    def file(header, data=b""):
        text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
        return struct.pack("<Q", len(text)) + text + data

    def entry(dtype, shape, begin, end):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    yield "empty", file({})
    yield "two", file({"a": entry("F32", [2, 2], 0, 16), "b": entry("BF16", [], 16, 18)}, bytes(18))
    yield "metadata", file({"__metadata__": {"format": "pt"}, "x": entry("I64", [1], 0, 8)}, bytes(8))
    yield "unaligned", file({"a": entry("U8", [1], 0, 1), "b": entry("F64", [1], 1, 9)}, bytes(9))
    yield "types", file({t: entry(t, [1], i, i + 1) for i, t in enumerate(["BOOL", "I8", "F8_E4M3", "F8_E5M2"])},
                        bytes(4))
    notes = {"ernie_image.packed": "1", "ernie_image.packed.w": "int8 16 32"}
    header = {"__metadata__": notes, "w": entry("U8", [1, 704], 0, 704)}
    padding = -(8 + len(json.dumps(header, separators=(",", ":")))) % 64
    text = json.dumps(header, separators=(",", ":")).encode() + b" " * padding
    yield "packed", file(text, bytes(704))
    yield "overflow", file({"a": entry("U8", [2**32, 2**32], 0, 0)})
    yield "git_lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1234\n"
    yield "web_page", b"<!DOCTYPE html><html></html>"


def gguf_seeds():
    def string(text):
        return struct.pack("<Q", len(text)) + text.encode()

    def note(key, kind, value):
        return string(key) + struct.pack("<I", kind) + value

    def file(tensors, notes=(), order="<"):
        infos, data = b"", b""
        for name, dims, kind, content in tensors:
            data += bytes(-len(data) % 32)
            infos += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, len(data))
            data += content
        head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(notes)) + b"".join(notes) + infos
        return head + bytes(-len(head) % 32) + data

    blocks = {"q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q5_0": (6, 32, 22), "q5_1": (7, 32, 24), "q8_0": (8, 32, 34),
              "q2_k": (10, 256, 84), "q3_k": (11, 256, 110), "q4_k": (12, 256, 144), "q5_k": (13, 256, 176),
              "q6_k": (14, 256, 210), "iq2_xxs": (16, 256, 66), "iq4_nl": (20, 32, 18), "iq4_xs": (23, 256, 136),
              "tq1_0": (34, 256, 54), "tq2_0": (35, 256, 66), "mxfp4": (39, 32, 17), "nvfp4": (40, 64, 36)}
    for name, (kind, width, size) in blocks.items():
        yield name, file([("w.weight", [width, 2], kind, bytes(range(1, 1 + 2 * size % 200)) * 3 + bytes(2 * size))])
    yield "numbers", file([("a", [2], 0, bytes(8)), ("b", [2, 2], 1, bytes(8)), ("c", [], 30, bytes(2)),
                           ("d", [1], 27, bytes(8)), ("e", [0, 3], 28, b"")])
    yield "notes", file([], [note("a", 4, bytes(4)), note("b", 8, string("text")), note("c", 9, struct.pack("<IQ", 8, 1) +
                        string("x")), note("general.alignment", 4, struct.pack("<I", 64)), note("f", 6, bytes(4))])
    yield "shape", file([("w", [6], 0, bytes(24))],
                        [note("comfy.gguf.orig_shape.w", 9, struct.pack("<IQii", 5, 2, 2, 3))])
    yield "llama", file([("blk.0.attn_norm.weight", [2], 0, bytes(8)), ("blk.0.attn_q.weight", [2, 4], 0, bytes(32)),
                         ("token_embd.weight", [2, 3], 0, bytes(24)), ("output.weight", [2, 3], 0, bytes(24))],
                        [note("mistral3.attention.key_length", 4, struct.pack("<I", 4))])
    yield "factor", file([("m.weight", [64, 1], 40, bytes(36)), ("m.scale", [1], 0, bytes(4))])
    yield "big_endian", (b"GGUF" + struct.pack(">IQQ", 3, 1, 0) + struct.pack(">Q", 1) + b"a" +
                         struct.pack(">IQIQ", 1, 2, 0, 0) + bytes(32))


def quantized_seeds():
    def file(tensors, metadata=None):
        header, data = {}, b""
        if metadata:
            header["__metadata__"] = metadata
        for name, (dtype, shape, content) in tensors.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
            data += content
        text = json.dumps(header, separators=(",", ":")).encode()
        return struct.pack("<Q", len(text)) + text + data

    def marker(value):
        text = json.dumps(value).encode()
        return ("U8", [len(text)], text)

    def f32(*shape):
        count = 1
        for extent in shape:
            count *= extent
        return ("F32", list(shape), struct.pack("<f", 0.5) * count)

    codes = bytes(range(64))
    eight = ("I8", [8, 8], codes)
    fp8 = ("F8_E4M3", [8, 8], codes)
    yield "fp8", file({"m.weight": fp8, "m.weight_scale": f32(), "m.comfy_quant": marker({"format": "float8_e4m3fn"})})
    yield "fp8_metadata", file({"m.weight": fp8, "m.weight_scale": f32()}, {
        "_quantization_metadata": json.dumps({"layers": {"m": {"format": "float8_e4m3fn"}}})})
    yield "fp8_legacy", file({"m.weight": fp8, "m.scale_weight": f32(1), "scaled_fp8": ("F8_E4M3", [2], b"ab")})
    yield "fp8_bare", file({"m.weight": fp8, "n.weight": ("F8_E5M2", [64], codes)})
    yield "int8", file({"m.weight": eight, "m.weight_scale": f32(8, 1),
                        "m.comfy_quant": marker({"format": "int8_tensorwise"})})
    yield "convrot", file({"m.weight": ("I8", [4, 16], codes), "m.weight_scale": f32(4, 1), "m.comfy_quant": marker(
        {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 16})})
    yield "nvfp4", file({"m.weight": ("U8", [16, 8], codes * 2), "m.weight_scale": ("F8_E4M3", [128, 4], bytes(512)),
                         "m.weight_scale_2": f32(), "m.comfy_quant": marker({"format": "nvfp4"})})
    yield "mxfp8", file({"m.weight": ("F8_E4M3", [2, 32], codes), "m.weight_scale": ("F8_E8M0", [128, 4], bytes(512)),
                         "m.comfy_quant": marker({"format": "mxfp8"})})
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [8, 16]}
    yield "nf4", file({"m.weight": ("U8", [64, 1], codes), "m.weight.absmax": f32(2), "m.weight.quant_map": f32(16),
                       "m.weight.quant_state.bitsandbytes__nf4": marker(state)})
    nested = dict(state, nested_blocksize=256, nested_offset=0.5)
    yield "fp4_nested", file({
        "m.weight": ("U8", [64, 1], codes), "m.weight.absmax": ("U8", [2], b"ab"), "m.weight.quant_map": f32(16),
        "m.weight.nested_absmax": f32(1), "m.weight.nested_quant_map": f32(256),
        "m.weight.quant_state.bitsandbytes__fp4": marker(nested)})
    yield "bnb_int8", file({"m.weight": eight, "m.SCB": f32(8), "m.weight_format": ("U8", [], b"\0")})
    yield "quanto", file({"m.weight._data": eight, "m.weight._scale": f32(8, 1), "m.input_scale": f32()})
    yield "quanto_int4", file({"m.weight._data._data": ("U8", [8, 8], codes), "m.weight._scale": f32(16, 1),
                               "m.weight._shift": f32(16, 1)})
    yield "torchao", file({"m._weight_qdata": eight, "m._weight_scale": f32(8, 1),
                           "m._weight_zero_point": ("I8", [8, 1], bytes(8))})
    yield "sdnq", file({"m.weight": eight, "m.scale": f32(1, 8), "n.weight": ("U8", [64], codes),
                        "n.scale": f32(8, 2, 1), "n.zero_point": f32(8, 2, 1)})
    yield "svd", file({"m.weight": eight, "m.scale": f32(8, 1), "m.svd_up": f32(8, 2), "m.svd_down": f32(2, 8)})
    packed = ("I32", [8, 2], codes)
    shape = ("I64", [2], struct.pack("<qq", 8, 16))
    yield "ct_int4", file({"m.weight_packed": packed, "m.weight_shape": shape, "m.weight_scale": f32(8, 2),
                           "m.weight_zero_point": ("I32", [1, 2], bytes(8))})
    yield "ct_nvfp4", file({"m.weight_packed": ("U8", [4, 16], codes), "m.weight_scale": ("F8_E4M3", [4, 2], bytes(8)),
                            "m.weight_global_scale": f32(1)})
    yield "modelopt", file({"m.weight": ("U8", [4, 16], codes), "m.weight_scale": ("F8_E4M3", [4, 2], bytes(8)),
                            "m.weight_scale_2": f32()})
    yield "vae", file({"vae.decoder.mid.block_1.norm1.weight": f32(4), "vae.decoder.up.3.block.0.conv1.weight": f32(4),
                       "vae.decoder.up.0.upsample.conv.bias": f32(4)})
    yield "narrow", file({"a": ("F4", [2, 3], b"abc"), "b": ("F6_E2M3", [4], b"abc"), "c": ("C64", [1], bytes(8))})


def config_seeds():
    yield "flat", b'{"a": 5, "b": 1.5e3, "c": "text", "d": null}'
    yield "lists", b'{"a": [1, 2, 3], "b": [true, "x", -1]}'
    yield "nested", b'{"text_config": {"a": false, "text_config": {"b": 18446744073709551615}}}'
    yield "escapes", b'{"a": "\\u0041\\ud83d\\udc3c\\n", "b": ""}'
    yield "deep", b'{"a":' + b"[" * 70 + b"]" * 70 + b"}"


def png_seeds():
    def chunk(kind, data=b""):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def file(width, height, depth, colour, rows, before=b"", interlace=0):
        header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows)) +
                chunk(b"IEND"))

    rows = b"\0\1\2\3\4\5\6"
    yield "rgb", file(2, 1, 8, 2, rows)
    yield "grey16", file(1, 1, 16, 0, b"\0\x12\x34")
    yield "palette", file(2, 1, 1, 3, b"\0\x40", chunk(b"PLTE", b"\1\2\3\4\5\6") + chunk(b"tRNS", b"\x10"))
    yield "rgba_filtered", file(1, 2, 8, 6, b"\1\1\2\3\4\2\1\1\1\1")
    yield "interlaced", file(2, 2, 8, 0, b"\0\1\0\2\0\3\4", interlace=1)
    text = (chunk(b"tEXt", b"parameters\0a caf\xe9") + chunk(b"zTXt", b"z\0\0" + zlib.compress(b"packed")) +
            chunk(b"iTXt", b"i\0\0\0en\0i\0" + "静".encode()) +
            chunk(b"iTXt", b"j\0\1\0\0\0" + zlib.compress("🐼".encode())))
    yield "texts", file(2, 1, 8, 2, rows, text)
    yield "huge_claim", file(16384, 16384, 16, 6, rows)


def tokenizer_seeds():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}

    def tokenizer(**changes):
        vocabulary = {c: i + 2 for i, c in enumerate(map(chr, [*range(33, 127), *range(161, 173), *range(174, 324)]))}
        vocabulary.update({"<s>": 0, "</s>": 1, "aa": 258, "aab": 259})
        special = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                    "normalized": False, "special": True} for i, t in enumerate(["<s>", "</s>"])]
        whole = {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\p{N}|\\s+|[^\\s\\p{L}\\p{N}]+"},
                 "behavior": "Isolated", "invert": False}, byte_level]},
            "post_processor": byte_level, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "ignore_merges": False, "vocab": vocabulary, "merges": [["a", "a"], ["aa", "b"]]},
        }
        whole.update(changes)
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()

    yield "plain", tokenizer()
    yield "bos", tokenizer(post_processor={
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}})
    yield "byte_level_only", tokenizer(pre_tokenizer=byte_level, added_tokens=[])


def request_seeds():
    yield "get", b"hGET /v1/jobs?limit=3 HTTP/1.1\r\nHost: localhost:7860\r\n\r\n"
    yield "post", (b"hPOST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
                   b"Origin: http://localhost\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
    yield "body", (b'b{"prompt":"a","size":"64x96","n":2,"seed":[1,2],"num_inference_steps":8,"guidance_scale":1.5,'
                   b'"use_pe":false,"output_format":"webp","output_compression":90,"model":"x/Model"}')
    yield "keys", b"k# who\nalice:0123456789abcdef:20:1.5\nbob:fedcba9876543210\n"
    yield "bearer", b"aBearer 0123456789abcdef"
    yield "basic", b"aBasic YTowMTIzNDU2Nzg5YWJjZGVm"
    yield "base64", b"6AP8="
    yield "form", (b'f--X\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cat\r\n--X\r\nContent-Disposition: form-data; '
                   b'name=image; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--X--\r\n')


def chat_template_seeds():
    yield "released", (b"{{- bos_token }}[SYSTEM_PROMPT]You write prompts.[/SYSTEM_PROMPT]\n{%- for message in messages %}\n"
                       b"{%- if message['role'] == 'user' %}\n{{- '[INST]' + message['content'] + '[/INST]' }}\n"
                       b"{%- elif message['role'] == 'assistant' %}\n{%- generation %}{{ message['content'] }}{{ eos_token }}"
                       b"{% endgeneration %}\n{%- endif %}\n{%- endfor %}")


def prompt_lines_seeds():
    yield "lines", b"\xef\xbb\xbfa fox\r\n\r\n \t\na dog\n\xe7\x8c\xab"


def tokenizer_config_seeds():
    yield "config", (b'{"model_max_length":512,"bos_token":"<s>","added_tokens_decoder":{"2":{"content":"<s>","special":true,'
                     b'"normalized":false,"lstrip":false,"rstrip":false,"single_word":false}}}')
    yield "object", b'{"model_max_length":1e30,"bos_token":{"content":"<s>","special":true}}'

JOB_REQUEST = (b'{"enhance":false,"format":"png","guidance":1.0,"height":32,"kind":0,"model":"emoji-tiny","negative_prompt":"",'
               b'"previews":0,"priority":1,"prompt":"a panda","quality":100,"seeds":[7],"steps":2,"trace":false,"width":32}')


def chunks_of(png):
    """Kinds and data."""
    at = 8
    while at + 12 <= len(png):
        length, kind = struct.unpack(">I4s", png[at:at + 8])
        yield kind, png[at + 8:at + 8 + length]
        at += 12 + length


def project():
    return pathlib.Path(__file__).resolve().parent.parent


def record_seeds():
    """What pictures of the documentation say of themselves."""
    for path in sorted((project() / "docs/images").glob("*.png")):
        for kind, data in chunks_of(path.read_bytes()):
            keyword, _, text = data.partition(b"\0")
            if kind == b"iTXt":
                text = text[4:]
            if kind in (b"tEXt", b"iTXt") and keyword in (b"ernie_image", b"parameters"):
                yield f"{path.stem}-{keyword.decode()}", (b"r" if keyword == b"ernie_image" else b"i") + text
    yield "settings", b"ia fox\nNegative prompt: blurry\nSteps: 8, Sampler: Euler, CFG scale: 1, Seed: 1, Size: 64x64, Model: \"a, b\""


def jobs_seeds():
    request = JOB_REQUEST
    yield "request", b"r" + request
    yield "progress", b'p{"fraction":0.5,"preview":1,"stage":"transformer","step":4,"steps":8,"seconds_left":1.5}'
    outcome = (b'{"enhanced_prompt":"a red fox","images":[{"content_type":"image/png","height":64,"sha256":"' + b"0a" * 32 +
               b'","size":1000,"width":64,"seed":1}],"prompt_tokens":3}')
    yield "outcome", b"o" + outcome
    yield "worker", (b'w{"current_job":"","device":"cpu","guidance":4.0,"has_enhancer":true,"height":64,"model":"m","name":"w",'
                     b'"pixels_per_second":0.0,"seconds_per_step":0.5,"size_multiple":16,"steps":8,"width":96}')
    yield "short", b"s\x01\x02\x80\xff" + request[:60]
    hash_fields = [b"owner", b"ann", b"request", request, b"state", b"completed", b"version", b"3", b"created_ms", b"1700000000000",
                   b"attempts", b"1", b"cancel", b"0", b"outcome", outcome]
    yield "hash", b"h" + b"\0".join(hash_fields)
    yield "waiting", b"h" + b"\0".join(hash_fields[:4] + [b"state", b"queued", b"position", b"2"])


def batch_seeds():
    """As docs/formats.md has them, and what is near to be refused."""
    settings = {"prompt": "a fox", "negative_prompt": "blurry", "seed": 7, "output": "fox.png", "width": 96, "height": 64,
                "num_inference_steps": 8, "guidance_scale": 2.5, "hires_scale": 2, "variation_seeds": [3], "variation_strength": 0.2}
    yield "folder", b'f# three pictures\n{"prompt": "a red apple"}\n\n{"prompt": "an owl", "seed": 1}\r\n{"prompt": "a <lora:style:0.5> fox"}'
    yield "numbered", b"n" + b"".join(json.dumps({"prompt": prompt}).encode() + b"\n" for prompt in ("a fox", "\u84dd", ""))
    yield "settings", b"f" + json.dumps(settings).encode()
    yield "twice", b'f{"prompt":"a","output":"a.png"}\n{"prompt":"b","output":"a.png"}'
    yield "elsewhere", b'f{"prompt":"a","output":"../a.webp"}\n{"prompt":"b","output":"/tmp/a.jpg"}'


def stored_seeds():
    digest = {"bytes": 3, "sha256": "0a" * 32}
    manifest = {"format": 1, "quantization": "int8", "components": ["transformer"], "source": {"name": "a", "hash": "b"},
                "max_shard_bytes": 1000, "files": {"vae/config.json": digest, "model_index.json": digest}}
    yield "manifest", b"m" + json.dumps(manifest).encode()
    entry = {"format": 1, "recipe": {"prompt": "a fox"}, "text": "a red fox", "ids": [1, 2], "rendered_prompt": "[a fox]",
             "prompt_tokens": 3, "finished": True, "checksum": "0a" * 32}
    yield "entry", b"e" + json.dumps(entry).encode()


def picture_seeds():
    """A JPEG and a WebP, of 1 x 1 pixel, besides what PNGs there are."""
    yield from png_seeds()
    yield "jpeg", bytes.fromhex(
        "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706080c0a0c0c0b0a0b0b0d0e12100d0e"
        "110e0b0b1016101113141515150c0f171816141812141514ffc0000b080001000101011100ffc40014000100000000000000000000000000000009ffc4001410"
        "0100000000000000000000000000000000ffda0008010100003f0054dfffd9")
    yield "webp", bytes.fromhex("524946461a000000574542505650384c0d0000002f0000001007101111888808fe0700")



def small_adapter(metadata=None, **shapes):
    """A file of F32 tensors of those shapes; "__" in a name stands for a dot."""
    header, data = ({} if metadata is None else {"__metadata__": metadata}), b""
    for index, (name, shape) in enumerate(shapes.items()):
        values = 1
        for extent in shape:
            values *= extent
        end = len(data) + 4 * values
        header[name.replace("__", ".")] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), end]}
        data += struct.pack("<f", 0.25 + index) * values
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def adapter_seeds():
    """Each kind once, small, and the examples of tests/data, as the programs wrote them."""
    lora = {"transformer__small__0__lora_A__weight": [2, 4], "transformer__small__0__lora_B__weight": [6, 2]}
    yield "lora", small_adapter(**lora, transformer__small__0__alpha=[])
    yield "rows", small_adapter(**lora, transformer__small__0__dora_scale=[6, 1])
    yield "columns", small_adapter(**lora, transformer__small__0__dora_scale=[1, 4])
    yield "flattened", small_adapter(**{"lora_unet_small_0.lora_down.weight": [2, 4, 1, 1],
                                        "lora_unet_small_0.lora_up.weight": [6, 2, 1, 1],
                                        "lora_unet_small_0.diff_b": [6]})
    yield "lokr", small_adapter(small__0__lokr_w1=[2, 2], small__0__lokr_w2_a=[3, 1], small__0__lokr_w2_b=[1, 2],
                                small__0__alpha=[1], small__0__dora_scale=[6])
    yield "loha", small_adapter(lycoris_small_square__hada_w1_a=[4, 2], lycoris_small_square__hada_w1_b=[2, 4],
                                lycoris_small_square__hada_w2_a=[4, 1], lycoris_small_square__hada_w2_b=[1, 4])
    yield "full", small_adapter(diffusion_model__small__0__diff=[6, 4], diffusion_model__small__norm__set_weight=[4])
    yield "table", small_adapter(base_model__model__small__table__lora_embedding_A=[2, 8],
                                 base_model__model__small__table__lora_embedding_B=[4, 2])
    yield "metadata", small_adapter(metadata={"lora_adapter_metadata": json.dumps(
        {"transformer.r": 2, "transformer.lora_alpha": 3, "transformer.use_rslora": True,
         "transformer.alpha_pattern": {"small.0": 5, "a(b|c)*": 1}})}, **lora)
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests/data/formats/lora"
    for path in sorted(folder.glob("*/*")):
        is_adapter = path.suffix == ".safetensors" and path.name != "expected.safetensors"
        if is_adapter or path.name == "adapter_config.json":
            yield f"{path.parent.name}-{path.name}", path.read_bytes()


def main():
    root = pathlib.Path(sys.argv[1])
    for name, seeds in [("adapter", adapter_seeds), ("batch", batch_seeds), ("chat_template", chat_template_seeds), ("prompt_lines", prompt_lines_seeds),
                        ("tokenizer_config", tokenizer_config_seeds), ("config", config_seeds), ("gguf", gguf_seeds), ("jobs", jobs_seeds), ("png", png_seeds),
                        ("picture", picture_seeds), ("record", record_seeds), ("stored", stored_seeds),
                        ("quantized", quantized_seeds), ("request", request_seeds),
                        ("safetensors", safetensors_seeds), ("tokenizer", tokenizer_seeds)]:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, content in seeds():
            (folder / seed).write_bytes(content)


if __name__ == "__main__":
    main()
