#!/usr/bin/env python3
"""Make a newly trained model the embedded one, with all that the repository keeps of its pictures.

    python put_in_place.py --model DIR --program build/ernie-image

    models/emoji-tiny                    a copy of --model
    tests/data/emoji-tiny                six pictures with their tensors, by the Python pipeline (train_tiny.py --only-eval)
    docs/images/emoji_tiny_contact_sheet.png
    docs/images/*.png with a record      drawn again by the program, from the settings in the file

The program has to be built anew in between, since the model is part of it: --build says how. What is left to do by hand is printed.
"""
import argparse
import json
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IMAGES = ROOT / "docs/images"
LIMIT_BYTES = 16 << 20
BY_HAND = """By hand:
  docs/images/web_page.png          a screenshot of the page
  docs/numerics.md                  figures of the embedded model (quantisation, int8 on Ascend)
  tests/pipeline/quantization_test  measured figures in its comments; its limits should hold
  tools/emoji_tiny/README.md        figures, and docs that say what the model can do (README, tutorial, questions)
Tests that draw with it:
  pipeline_test io_test jobs_test --gtest_filter='EmbeddedModel*:Quantized*:Preview*'
  commands_test --gtest_filter='Rerun*:Generate*:Inspect*', eval_test, the web and package tests"""


def redraw(program, path):
    """The picture at `path` again, from its own record."""
    record = json.loads(Image.open(path).info["ernie_image"])
    subprocess.run([program, "generate", "--quiet", "--overwrite", "--no-enhance", "--model", "embedded:emoji-tiny",
                    "--prompt", record["prompts"][0], "--seed", str(record["seeds"][0]), "--steps", str(record["num_inference_steps"]),
                    "--dtype", record["dtype"], "--cpu-kernels", record["cpu_kernels"], "--output", path], check=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True, type=pathlib.Path)
    ap.add_argument("--program", required=True, type=pathlib.Path)
    ap.add_argument("--build", default="cmake --build --preset release --target ernie-image", help="run in the repository")
    ap.add_argument("--threads", default="2")
    args = ap.parse_args()
    program = args.program.resolve()
    size = sum(f.stat().st_size for f in args.model.rglob("*") if f.is_file())
    if size > LIMIT_BYTES:
        sys.exit(f"{args.model} has {size} bytes; at most {LIMIT_BYTES} are built into the program")
    shutil.copytree(args.model, ROOT / "models/emoji-tiny", dirs_exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        shutil.copytree(args.model, scratch / "model")
        subprocess.run([sys.executable, HERE / "train_tiny.py", "--only-eval", "--out", scratch / "model", "--work", scratch,
                        "--threads", args.threads], check=True)
        shutil.copytree(scratch / "golden", ROOT / "tests/data/emoji-tiny", dirs_exist_ok=True)
        shutil.copy(scratch / "contact_sheet.png", IMAGES / "emoji_tiny_contact_sheet.png")
    subprocess.run(shlex.split(args.build), cwd=ROOT, check=True)
    for path in sorted(IMAGES.glob("*.png")):
        if "ernie_image" in Image.open(path).info:
            redraw(program, path)
    print(f"{size} bytes\n{BY_HAND}")


if __name__ == "__main__":
    main()
