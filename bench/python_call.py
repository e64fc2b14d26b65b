#!/usr/bin/env python3
"""What Python costs: importing the package beside an interpreter that imports nothing, a call beside the same call of the C library, and
from Ctrl-C to KeyboardInterrupt. All in turns; least, median and most, in milliseconds.

    PYTHONPATH=build/python build/python-venv/bin/python bench/python_call.py --library build/libernie_image_c.so
"""
import argparse
import ctypes
import signal
import statistics
import subprocess
import sys
import time

MODEL = "embedded:emoji-tiny"
SMALL = {"height": 16, "width": 16, "num_inference_steps": 1}


class Request(ctypes.Structure):
    """The first members of ernie_image_request, as a caller has them that is older than the others."""

    _fields_ = [("struct_size", ctypes.c_size_t), ("prompts", ctypes.POINTER(ctypes.c_char_p)), ("prompt_count", ctypes.c_size_t),
                ("negative_prompts", ctypes.c_void_p), ("negative_prompt_count", ctypes.c_size_t), ("height", ctypes.c_int32),
                ("width", ctypes.c_int32), ("num_inference_steps", ctypes.c_int32), ("num_images_per_prompt", ctypes.c_int32),
                ("guidance_scale", ctypes.c_double), ("seeds", ctypes.POINTER(ctypes.c_uint64)), ("seed_count", ctypes.c_size_t)]


def library_call(path):
    """A function that draws a small picture by the C library alone."""
    library = ctypes.CDLL(path)
    for name in ("ernie_image_load", "ernie_image_generate"):
        getattr(library, name).restype = ctypes.c_void_p
    library.ernie_image_generate.argtypes = [ctypes.c_void_p, ctypes.POINTER(Request), ctypes.c_void_p]
    library.ernie_image_result_free.argtypes = [ctypes.c_void_p]
    pipeline = library.ernie_image_load(None, None)
    prompts, seeds = (ctypes.c_char_p * 1)(b"a cat"), (ctypes.c_uint64 * 1)(1)
    request = Request(ctypes.sizeof(Request), prompts, 1, None, 0, SMALL["height"], SMALL["width"], 1, 1, 1.0, seeds, 1)

    def call():
        result = library.ernie_image_generate(pipeline, ctypes.byref(request), None)
        assert result
        library.ernie_image_result_free(result)

    return call


def milliseconds(call):
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


def show(what, samples):
    print(f"{what:44s} {min(samples):8.2f} {statistics.median(samples):8.2f} {max(samples):8.2f}   of {len(samples)}")


def measure_import(rounds):
    run = lambda script: milliseconds(lambda: subprocess.run([sys.executable, "-c", script], check=True))
    pairs = [(run("pass"), run("import ernie_image")) for _ in range(rounds)]
    show("an interpreter", [bare for bare, _ in pairs])
    show("one that imports ernie_image", [whole for _, whole in pairs])
    show("the import: difference in each turn", [whole - bare for bare, whole in pairs])


def measure_calls(path, rounds):
    from ernie_image import ErnieImagePipeline

    pipe = ErnieImagePipeline.from_pretrained(MODEL)
    kinds = {
        "the C library": library_call(path),
        "pipe(output_type=\"np\")": lambda: pipe("a cat", **SMALL, guidance_scale=1, generator=1, use_pe=False, output_type="np"),
        "pipe(), with PIL": lambda: pipe("a cat", **SMALL, guidance_scale=1, generator=1, use_pe=False),
        "pipe(), with a callback": lambda: pipe("a cat", **SMALL, guidance_scale=1, generator=1, use_pe=False,
                                                callback_on_step_end=lambda *_: None),
    }
    samples = {name: [] for name in kinds}
    for turn in range(rounds + 5):
        for name, call in list(kinds.items())[:: 1 if turn % 2 else -1]:
            took = milliseconds(call)
            if turn >= 5:  # what is made at the first call is there
                samples[name].append(took)
    for name, of_it in samples.items():
        show(name, of_it)
        if name != "the C library":
            show("  more than the library in the same turn", [a - b for a, b in zip(of_it, samples["the C library"])])


def measure_stopping(rounds):
    script = f"""
import ernie_image
pipe = ernie_image.ErnieImagePipeline.from_pretrained({MODEL!r})
try:
    pipe("a cat", height=1024, width=1024, num_inference_steps=500, use_pe=False, callback_on_step_end=lambda *_: print("at work", flush=True))
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    samples = []
    for i in range(rounds):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(0.1 * i)  # anywhere in a step
        process.send_signal(signal.SIGINT)
        samples.append(milliseconds(lambda: [line for line in process.stdout if line == "stopped\n"]))
        process.wait()
    show("from Ctrl-C to the end of the process", samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="libernie_image_c.so")
    parser.add_argument("--rounds", type=int, default=200, help="calls of each kind")
    arguments = parser.parse_args()
    print(f"{'milliseconds':44s} {'least':>8s} {'median':>8s} {'most':>8s}")
    measure_import(20)
    measure_calls(arguments.library, arguments.rounds)
    measure_stopping(5)


if __name__ == "__main__":
    main()
