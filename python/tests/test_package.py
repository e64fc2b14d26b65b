"""What a user of the package may rely on, on the embedded model.  python -m unittest, with the package on the path."""
import asyncio
import io
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from contextlib import redirect_stdout

import numpy as np

import ernie_image
from ernie_image import ErnieImagePipeline

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = {"height": 16, "width": 16, "num_inference_steps": 1, "use_pe": False}  # quickly drawn
LONG = {"height": 1024, "width": 1024, "num_inference_steps": 500, "use_pe": False}


def python(script, *arguments):
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class PackageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pipe = ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")

    def refused(self, kind, part, **keywords):
        with self.assertRaises(kind) as caught:
            self.pipe(**{"prompt": "a cat", **SMALL, **keywords})
        self.assertIn(part, str(caught.exception))


class Pictures(PackageTest):
    def test_are_those_of_the_program(self):
        program = pathlib.Path(ernie_image.__file__).parent / "bin" / "ernie-image"
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "panda.png"
            subprocess.run([program, "generate", "--model", "embedded:emoji-tiny", "--no-enhance", "--prompt", "a panda", "--seed", "7",
                            "--quiet", "--output", path], check=True)
            drawn = self.pipe("a panda", generator=7, use_pe=False).images[0]
            from PIL import Image

            self.assertEqual(Image.open(path).tobytes(), drawn.tobytes())
            record = ernie_image.read_record(path)
        self.assertEqual(record["prompts"], ["a panda"])
        self.assertEqual(drawn.size, (64, 64))

    def test_output_types_are_one_picture(self):
        asked = dict(SMALL, prompt=["a cat", "a dog"], num_images_per_prompt=2, generator=[1, 2, 3, 4])
        pil = self.pipe(**asked).images
        array = self.pipe(**asked, output_type="np").images
        latents = self.pipe(**asked, output_type="latent").images
        self.assertEqual((len(pil), pil[0].mode), (4, "RGB"))
        self.assertEqual((array.shape, array.dtype), ((4, 16, 16, 3), np.float32))
        self.assertEqual((latents.shape, latents.dtype), ((4, 64, 1, 1), np.float32))
        np.testing.assert_array_equal(np.rint(array * 255).astype(np.uint8), np.stack([np.asarray(image) for image in pil]))
        decoded = self.pipe.decode(latents, 16, 16)
        self.assertEqual([image.tobytes() for image in decoded], [image.tobytes() for image in pil])

    def test_are_encoded_and_decoded(self):
        drawn = self.pipe("a panda on a pink background", generator=1, use_pe=False).images[0]
        latents = self.pipe.encode(drawn)
        self.assertEqual((latents.shape, latents.dtype), ((1, 64, 4, 4), np.float32))
        np.testing.assert_array_equal(self.pipe.encode(np.asarray(drawn)), latents)
        self.assertGreater(ernie_image.metrics.psnr(self.pipe.decode(latents, 64, 64)[0], drawn), 20)

    def test_return_a_tuple_or_what_diffusers_returns(self):
        drawn = self.pipe("a cat", **SMALL)
        self.assertIs(drawn[0], drawn.images)
        self.assertIs(drawn["images"], drawn.images)
        self.assertEqual(drawn.keys(), ["images"])
        self.assertIsNone(drawn.revised_prompts)
        self.assertIn("seconds", drawn.report)
        (images,) = self.pipe("a cat", **SMALL, return_dict=False)
        self.assertEqual(len(images), 1)
        again = pickle.loads(pickle.dumps(drawn))
        self.assertEqual(again.images[0].tobytes(), drawn.images[0].tobytes())

    def test_defaults_are_the_models_own_for_the_embedded_one_and_those_of_diffusers_else(self):
        asked = {}

        class Looked(Exception):
            pass

        def look(request, *_):
            asked.update(request)
            raise Looked

        pipe = ErnieImagePipeline.from_pretrained(ROOT / "tests/data/reference/models/tiny_a", pe=None)
        pipe._work.native = type("Native", (), {"generate": staticmethod(look), "cancel": staticmethod(lambda: None)})
        with self.assertRaises(Looked):
            pipe("a cat")
        self.assertEqual([asked[name] for name in ("height", "width", "num_inference_steps", "guidance_scale")], [1024, 1024, 50, 4.0])
        self.assertEqual(self.pipe.info["height"], 64)

    def test_seeds_draw_the_same_again_and_none_is_random(self):
        first, second = self.pipe("a cat", **SMALL), self.pipe("a cat", **SMALL)
        self.assertNotEqual(first.seeds, second.seeds)
        again = self.pipe("a cat", **SMALL, generator=first.seeds[0])
        self.assertEqual(again.images[0].tobytes(), first.images[0].tobytes())

    def test_guidance_uses_the_negative_prompt(self):
        draw = lambda **keywords: self.pipe("a cat", **{**SMALL, "generator": 1, **keywords}).images[0].tobytes()
        self.assertEqual(draw(negative_prompt="red", guidance_scale=1), draw(guidance_scale=0))
        self.assertNotEqual(draw(negative_prompt="red", guidance_scale=4), draw(negative_prompt="", guidance_scale=4))

    def test_latents_replace_the_noise_however_they_lie_in_memory(self):
        noise = np.random.default_rng(1).standard_normal((1, 64, 1, 2)).astype(np.float32)
        draw = lambda latents: self.pipe("a cat", latents=latents, **{**SMALL, "width": 32}).images[0].tobytes()
        expected = draw(noise)
        self.assertEqual(draw(np.asfortranarray(noise)), expected)
        self.assertEqual(draw(np.repeat(noise, 2, axis=1)[:, ::2]), expected)
        self.assertEqual(draw(noise.astype(np.float64)), expected)
        self.assertEqual(draw(memoryview(noise)), expected)
        self.assertEqual(draw(noise.astype(">f4")), expected)
        backwards = np.ascontiguousarray(noise[..., ::-1])[..., ::-1]
        self.assertEqual(draw(backwards), expected)
        pictures = [self.pipe.decode(latents, 16, 32)[0].tobytes() for latents in (noise, np.asfortranarray(noise), backwards)]
        self.assertEqual(pictures, pictures[:1] * 3)

    def test_latents_of_a_callback_replace_the_runs_however_they_lie_in_memory(self):
        asked = dict(SMALL, prompt="a cat", width=32, generator=1, output_type="latent")
        noise = np.random.default_rng(2).standard_normal((1, 64, 1, 2)).astype(np.float32)
        for given in (np.asfortranarray(noise), noise.astype(np.float64), memoryview(noise)):
            np.testing.assert_array_equal(self.pipe(**asked, callback_on_step_end=lambda *_: {"latents": given}).images, noise)


class BadInput(PackageTest):
    def test_keywords_that_are_not_served_are_named(self):
        self.refused(TypeError, "strength", strength=0.5)
        self.refused(ValueError, "jpeg", output_type="jpeg")
        self.refused(ValueError, "pred", callback_on_step_end_tensor_inputs=["pred"])
        with self.assertRaisesRegex(TypeError, "revision.*it serves torch_dtype"):
            ErnieImagePipeline.from_pretrained(revision="main")
        with self.assertRaisesRegex(ValueError, "float16"):
            ErnieImagePipeline.from_pretrained(torch_dtype="float16")
        with self.assertRaisesRegex(ValueError, "int9"):
            ErnieImagePipeline.from_pretrained(quantization="int9")
        with self.assertRaises(FileNotFoundError):
            ErnieImagePipeline.from_pretrained("/nowhere/model")

    def test_values_that_cannot_be_served(self):
        self.refused(ValueError, "prompt", prompt=None)
        self.refused(TypeError, "prompt", prompt=7)
        self.refused(ValueError, "zero character at 1", prompt="a\0b")
        self.refused(ValueError, "surrogate", prompt="\ud800")
        self.refused(ValueError, "negative_prompt must have same length as prompt (1)", negative_prompt=["a", "b"])
        self.refused(ValueError, "divisible by 16", height=20)
        self.refused(TypeError, "height", height=16.0)
        self.refused(ValueError, "num_inference_steps", num_inference_steps=0)
        self.refused(TypeError, "guidance_scale", guidance_scale="4")
        self.refused(ValueError, "guidance_scale is too large", guidance_scale=10**400)
        self.refused(ValueError, "prompt", prompt=[])
        self.refused(ValueError, "num_images_per_prompt must be 1 to 1024", num_images_per_prompt=1025)
        self.refused(ValueError, "height", height=2**40)
        self.refused(TypeError, "callback_on_step_end must be a function", callback_on_step_end=7)
        self.refused(ValueError, "guidance scale", guidance_scale=float("nan"))
        self.refused(ValueError, "2 generators for 1 pictures", generator=[1, 2])
        self.refused(TypeError, "generator", generator="seed")
        self.refused(ValueError, "generator", generator=-1)

    def test_latents_that_are_none(self):
        self.refused(ValueError, "(1, 64, 1, 1), found (1, 64, 1, 2)", latents=np.zeros((1, 64, 1, 2), np.float32))
        self.refused(TypeError, "int64", latents=np.zeros((1, 64, 1, 1), np.int64))
        self.refused(TypeError, "list", latents=[[0.0]])
        self.refused(TypeError, "complex64", latents=np.zeros((1, 64, 1, 1), np.complex64))
        self.refused(TypeError, "object", latents=np.zeros((1, 64, 1, 1), object))
        self.refused(ValueError, "found ()", latents=np.float32(0).reshape(()))
        self.refused(ValueError, "found (64,)", latents=np.zeros(64, np.float32))
        noise = np.zeros((1, 64, 1, 1), np.float32)
        noise[0, 5] = np.nan
        self.refused(ValueError, "nan at 5", latents=noise)

    def test_embeds_that_are_none(self):
        width = self.pipe.info["text_width"]
        self.refused(ValueError, "both", prompt_embeds=[np.zeros((2, width))])
        self.refused(ValueError, f"(tokens, {width}), found (2, 3)", prompt=None, prompt_embeds=[np.zeros((2, 3))])
        self.refused(ValueError, "negative_prompt_embeds is empty", negative_prompt_embeds=[])
        self.refused(ValueError, "nan at 0", prompt=None, prompt_embeds=[np.full((2, width), np.nan)])
        self.refused(ValueError, "2 negative prompt states for 1 prompts", guidance_scale=4,
                     negative_prompt_embeds=[np.zeros((2, width))] * 2)

    def test_latents_to_be_decoded_that_are_none(self):
        good = np.zeros((1, 64, 2, 1), np.float32)
        self.assertEqual(self.pipe.decode(good, 32, 16)[0].size, (16, 32))
        for latents, height, width, kind, part in (
                (good, 16, 32, ValueError, "(n, 64, 1, 2), found (1, 64, 2, 1)"), (good[0], 32, 16, ValueError, "found (64, 2, 1)"),
                (good * np.nan, 32, 16, ValueError, "nan at 0"), (good.astype(int), 32, 16, TypeError, "int64"),
                (good, 40, 16, ValueError, "divide by 16"), (good, 32.0, 16, TypeError, "height"), (good[:0], 32, 16, ValueError, "")):
            with self.assertRaises(kind) as caught:
                self.pipe.decode(latents, height, width)
            self.assertIn(part, str(caught.exception))

    def test_pictures_to_be_encoded_that_are_none(self):
        for image, kind, part in (
                (np.zeros((20, 16, 3), np.uint8), ValueError, "height 20 does not divide by 16"), (None, TypeError, "NoneType"),
                (np.zeros((16, 16), np.uint8), ValueError, "[height, width, 3]"), (np.zeros((16, 16, 3), int), TypeError, "int64"),
                (np.full((16, 16, 3), np.nan), ValueError, "0..1"), (np.zeros((0, 16, 3), np.uint8), ValueError, "[0, 16, 3]")):
            with self.assertRaises(kind) as caught:
                self.pipe.encode(image)
            self.assertIn(part, str(caught.exception))

    def test_values_beside_pictures_that_cannot_be_served(self):
        tokenizer = self.pipe.tokenizer
        for ids in ([2**40], [-1]):
            with self.assertRaisesRegex(ValueError, "a token id must be"):
                tokenizer.decode(ids)
        for call in (lambda: tokenizer.decode(["5"]), lambda: tokenizer.encode(b"cat"), lambda: self.pipe.enhance(3),
                     lambda: self.pipe.set_adapters("x", ["y"]) or self.pipe.load_lora_weights(5),
                     lambda: ernie_image.quantize("a", "b", max_shard_bytes="many"), lambda: ernie_image.read_record(3.5)):
            with self.assertRaises((TypeError, ValueError)):
                call()
        with self.assertRaisesRegex(ValueError, "int3"):
            ernie_image.quantize(ROOT / "tests/data/reference/models/tiny_a", "/nowhere/output", "int3")

    def test_a_closed_pipeline_says_so(self):
        pipe = ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")
        pipe.close()
        pipe.close()
        for call in (lambda: pipe("a cat", **SMALL), lambda: pipe.enhance("a cat"), lambda: asyncio.run(pipe.agenerate("a cat", **SMALL)),
                     lambda: pipe.decode(np.zeros((1, 64, 1, 1), np.float32), 16, 16),
                     lambda: pipe.encode(np.zeros((16, 16, 3), np.uint8)), lambda: pipe.load_lora_weights("/nowhere")):
            with self.assertRaisesRegex(ValueError, "the pipeline was freed"):
                call()
        self.assertEqual(pipe.info["height"], 64)
        pipe.cancel()

    def test_a_pipeline_is_not_pickled(self):
        with self.assertRaisesRegex(TypeError, "load it in the process"):
            pickle.dumps(self.pipe)

    def test_a_forked_child_is_told(self):
        script = """
import os, ernie_image
pipe = ernie_image.ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")
child = os.fork()
if child == 0:
    try:
        pipe("a cat", height=16, width=16, num_inference_steps=1, use_pe=False)
    except ernie_image.Unsupported as error:
        os._exit(42 if "forked" in str(error) else 1)
    os._exit(2)
other = os.fork()
if other == 0:  # its own is of use, and the interpreter ends as ever
    own = ernie_image.ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")
    raise SystemExit(40 + len(own("a cat", height=16, width=16, num_inference_steps=1, use_pe=False).images))
print(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
        out, err = python(script).communicate(timeout=120)
        self.assertEqual(out.split(), ["41", "42"], err)

    def test_a_fork_in_the_midst_of_a_run(self):
        script = """
import os, threading, ernie_image
pipe = ernie_image.ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")
def fork(*_):
    child = os.fork()
    if child == 0:
        try:
            pipe.close()
        finally:
            os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(len(pipe("a cat", height=16, width=16, num_inference_steps=1, use_pe=False, callback_on_step_end=fork).images))
"""
        out, err = python(script).communicate(timeout=120)
        self.assertEqual(out.split(), ["7", "1"], err)


class Callbacks(PackageTest):
    def test_are_called_here_with_what_diffusers_gives(self):
        seen = []

        def look(pipe, step, timestep, tensors):
            seen.append((pipe, step, timestep, tensors["latents"].shape, threading.get_ident()))
            return tensors

        self.pipe("a cat", **{**SMALL, "num_inference_steps": 2}, callback_on_step_end=look)
        self.assertEqual([(s[0] is self.pipe, s[1], s[3], s[4]) for s in seen],
                         [(True, step, (1, 64, 1, 1), threading.get_ident()) for step in range(2)])
        self.assertAlmostEqual(seen[0][2], 1000, places=3)

    def test_may_change_the_latents(self):
        asked = dict(SMALL, prompt="a cat", generator=1, output_type="latent")
        plain = self.pipe(**asked).images
        changed = self.pipe(**asked, callback_on_step_end=lambda *told: {"latents": told[3]["latents"] * 2}).images
        np.testing.assert_array_equal(changed, plain * 2)
        self.refused(ValueError, "must have the shape", callback_on_step_end=lambda *_: {"latents": np.zeros(3, np.float32)})
        self.refused(ValueError, "nan at 0", callback_on_step_end=lambda *told: {"latents": told[3]["latents"] * np.nan})

    def test_may_raise_and_the_pipeline_stays_usable(self):
        def fail(*_):
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            self.pipe("a cat", **LONG | {"height": 16, "width": 16}, callback_on_step_end=fail)
        self.assertEqual(len(self.pipe("a cat", **SMALL).images), 1)

    def test_may_end_the_interpreter(self):
        script = """
import sys, ernie_image
pipe = ernie_image.ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")
pipe("a cat", height=16, width=16, num_inference_steps=500, use_pe=False, callback_on_step_end=lambda *_: sys.exit(3))
"""
        process = python(script)
        _, err = process.communicate(timeout=120)
        self.assertEqual((process.returncode, err), (3, ""))

    def test_of_text_may_raise(self):
        def fail(_):
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            self.pipe.enhance("a cat", on_text=fail)
        with self.assertRaises(TypeError):
            self.pipe.enhance("a cat", on_text=7)
        self.assertEqual(len(self.pipe("a cat", **SMALL).images), 1)

    def test_may_return_what_is_no_answer(self):
        self.refused(TypeError, "must return a dict or None, found int", callback_on_step_end=lambda *_: 3)
        self.refused(TypeError, "int64", callback_on_step_end=lambda *_: {"latents": np.zeros((1, 64, 1, 1), np.int64)})

    def test_may_close_the_pipeline(self):
        pipe = ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")
        with self.assertRaises(ernie_image.Error):
            pipe("a cat", **dict(SMALL, num_inference_steps=500), callback_on_step_end=lambda *_: pipe.close())
        with self.assertRaisesRegex(ValueError, "the pipeline was freed"):
            pipe("a cat", **SMALL)

    def test_threads_that_share_a_pipeline_draw_or_are_refused(self):
        said, expected = [], self.pipe("a cat", **SMALL, generator=1).images[0].tobytes()

        def draw():
            for _ in range(10):
                try:
                    said.append(self.pipe("a cat", **SMALL, generator=1).images[0].tobytes() == expected)
                except ernie_image.Busy:
                    said.append(None)

        threads = [threading.Thread(target=draw) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(said), 30)
        self.assertNotIn(False, said)
        self.assertIn(True, said)

    def test_a_second_call_meanwhile_is_refused(self):
        inside = []

        def draw_again(*_):
            with self.assertRaisesRegex(ernie_image.Busy, "at work"):
                self.pipe("a dog", **SMALL)
            other = threading.Thread(target=self.draw_elsewhere, args=(inside,))
            other.start()
            other.join()

        self.pipe("a cat", **SMALL, callback_on_step_end=draw_again)
        self.assertEqual(inside, ["busy"])

    def draw_elsewhere(self, said):
        try:
            self.pipe("a dog", **SMALL)
        except ernie_image.Busy:
            said.append("busy")


class Stopping(PackageTest):
    def test_ctrl_c_stops_a_long_run_and_the_pipeline_stays_usable(self):
        script = """
import sys, time, ernie_image
pipe = ernie_image.ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")
long = dict(height=1024, width=1024, num_inference_steps=500, use_pe=False)
try:
    print("drawing", flush=True)
    pipe("a cat", **long)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(len(pipe("a cat", height=16, width=16, num_inference_steps=1, use_pe=False).images))
"""
        process = python(script)
        self.assertEqual(process.stdout.readline(), "drawing\n")
        time.sleep(0.3)  # wherever it is then
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        self.assertEqual(process.stdout.readline(), "interrupted\n")
        # A second is promised; on a busy machine it may be more.
        self.assertLess(time.monotonic() - began, 10)
        out, err = process.communicate(timeout=120)
        self.assertEqual(out, "1\n", err)

    def test_the_interpreter_ends_in_the_midst_of_a_run(self):
        for where in ("daemon", "thread", "executor", "task"):
            with self.subTest(where):
                self.end_in_the_midst(where)

    def end_in_the_midst(self, where):
        script = """
import sys, threading, ernie_image
pipe = ernie_image.ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")
pipe("a cat", height=16, width=16, num_inference_steps=1, use_pe=False)
begun = threading.Event()
long = dict(height=512, width=512, num_inference_steps=500, use_pe=False, callback_on_step_end=lambda *_: begun.set())
if sys.argv[1] == "executor":
    import concurrent.futures
    pool = concurrent.futures.ThreadPoolExecutor()
    pool.submit(pipe, "a cat", **long)
elif sys.argv[1] == "task":
    import asyncio
    loop = asyncio.new_event_loop()
    task = loop.create_task(pipe.agenerate("a cat", **long))
    loop.call_later(0, lambda: loop.run_in_executor(None, lambda: begun.wait() and loop.call_soon_threadsafe(loop.stop)))
    loop.run_forever()
else:
    threading.Thread(target=pipe, args=("a cat",), kwargs=long, daemon=sys.argv[1] == "daemon").start()
begun.wait()
"""
        process = python(script, where)
        _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        self.assertNotIn("Fatal", err)

    def test_cancel_from_another_thread(self):
        threading.Timer(0.2, self.pipe.cancel).start()
        with self.assertRaises(ernie_image.Cancelled):
            self.pipe("a cat", **LONG)

    def test_asyncio_draws_and_cancels(self):
        async def draw():
            both = await asyncio.gather(*(self.pipe.agenerate("a cat", **SMALL, generator=i) for i in range(2)))
            task = asyncio.create_task(self.pipe.agenerate("a cat", **LONG))
            await asyncio.sleep(0.2)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            return both + [await self.pipe.agenerate("a cat", **SMALL, generator=0)]

        first, second, third = asyncio.run(draw())
        self.assertEqual(first.images[0].tobytes(), third.images[0].tobytes())
        self.assertNotEqual(first.images[0].tobytes(), second.images[0].tobytes())


class Adapters(unittest.TestCase):
    def test_are_loaded_joined_and_taken_off_as_in_diffusers(self):
        formats = ROOT / "tests/data/formats"
        pipe = ErnieImagePipeline.from_pretrained(ROOT / "tests/data/reference/models/tiny_b")
        draw = lambda: pipe("a cat", height=32, width=32, num_inference_steps=1, guidance_scale=1, generator=1, use_pe=False,
                            output_type="latent").images
        plain = draw()
        pipe.load_lora_weights(formats / "lora/diffusers_plain", weight_name="pytorch_lora_weights.safetensors", adapter_name="a")
        with_a = draw()
        self.assertFalse(np.array_equal(with_a, plain))
        pipe.load_lora_weights(formats / "lora/kohya/ot_lora.safetensors", adapter_name="b")
        self.assertEqual(pipe.get_active_adapters(), ["b"])
        self.assertFalse(np.array_equal(draw(), with_a))
        pipe.set_adapters(["a", "b"], [1.0, 0.0])
        np.testing.assert_array_equal(draw(), with_a)
        pipe.disable_lora()
        np.testing.assert_array_equal(draw(), plain)
        pipe.enable_lora()
        pipe.delete_adapters("b")
        self.assertEqual(pipe.get_list_adapters(), {"transformer": ["a"]})
        pipe.unload_lora_weights()
        np.testing.assert_array_equal(draw(), plain)
        with self.assertRaises(FileNotFoundError):
            pipe.load_lora_weights("/nowhere.safetensors")
        with self.assertRaisesRegex(ValueError, "no adapter 'x'"):
            pipe.set_adapters("x")
        with self.assertRaisesRegex(TypeError, "tensors"):
            pipe.load_lora_weights({})


class TheRest(PackageTest):
    def test_the_enhancer_writes_and_is_used(self):
        pieces = []
        written = self.pipe.enhance("a cat", temperature=0, max_tokens=6, on_text=pieces.append)
        self.assertIn(written, "".join(pieces))
        drawn = self.pipe("a cat", height=16, width=16, num_inference_steps=1, generator=1)
        self.assertEqual(len(drawn.revised_prompts), 1)
        self.assertNotEqual(drawn.revised_prompts, ["a cat"])
        again = self.pipe(drawn.revised_prompts, **SMALL, generator=1)
        self.assertEqual(again.images[0].tobytes(), drawn.images[0].tobytes())
        with self.assertRaisesRegex(ValueError, "temperature"):
            self.pipe.enhance("a cat", temperature=-1)

    def test_tokenizer(self):
        tokenizer = ernie_image.Tokenizer.from_pretrained("embedded:emoji-tiny")
        ids = tokenizer.encode("a red apple")
        self.assertEqual(tokenizer.decode(ids), "a red apple")
        self.assertEqual(self.pipe.tokenizer(["a red apple"])["input_ids"], [ids])

    def test_metrics(self):
        a = np.zeros((16, 16, 3), np.uint8)
        b = a.copy()
        b[0, 0] = 255
        metrics = ernie_image.metrics.compare(a, b)
        self.assertEqual(metrics.max_absolute_difference, 255)
        self.assertAlmostEqual(metrics.nmse_percent, 100 / 256)
        self.assertEqual(ernie_image.metrics.psnr(a, a), float("inf"))
        self.assertEqual(ernie_image.metrics.ssim(a, a), 1)
        with self.assertRaisesRegex(ValueError, "differ in size"):
            ernie_image.metrics.ssim(a, b[:8])
        with self.assertRaisesRegex(ValueError, "uint8"):
            ernie_image.metrics.ssim(a / 255, b)

    def test_records(self):
        record = ernie_image.read_record(ROOT / "docs/images/panda.png")
        self.assertEqual(record["prompts"], ["a panda on a pink background"])
        with self.assertRaises(FileNotFoundError):
            ernie_image.read_record("/nowhere.png")
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            with self.assertRaises(ernie_image.CorruptFile):
                ernie_image.read_record(file.name)
        program = pathlib.Path(ernie_image.__file__).parent / "bin" / "ernie-image"
        with tempfile.TemporaryDirectory() as folder:
            for kind in ("jpg", "webp"):
                path = os.path.join(folder, f"cat.{kind}")
                subprocess.run([program, "generate", "--model", "embedded:emoji-tiny", "--no-enhance", "-p", "a cat", "--steps", "1",
                                "--quiet", "--output", path], check=True)
                self.assertEqual(ernie_image.read_record(path)["prompts"], ["a cat"])

    def test_quantize(self):
        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, "int8")
            ernie_image.quantize(ROOT / "tests/data/reference/models/tiny_a", output, "int8")
            drawn = ErnieImagePipeline.from_pretrained(output)("a cat", **SMALL, guidance_scale=1, generator=1)
            self.assertEqual(drawn.images[0].size, (16, 16))

    def test_precision_and_device(self):
        pipe = ErnieImagePipeline.from_pretrained("embedded:emoji-tiny", torch_dtype="bfloat16")
        self.assertEqual((pipe.dtype, pipe.device), ("bfloat16", "cpu"))
        self.assertIs(pipe.to("cpu"), pipe)
        half = pipe("a cat", **SMALL, generator=1, output_type="latent").images
        full = pipe.to("float32")("a cat", **SMALL, generator=1, output_type="latent").images
        self.assertFalse(np.array_equal(half, full))
        np.testing.assert_allclose(half, full, atol=0.3)
        with self.assertRaises(ernie_image.Error):
            pipe.to("abacus")
        self.assertEqual(len(pipe("a cat", **SMALL).images), 1)

    def test_import_loads_neither_torch_nor_numpy_nor_pillow(self):
        script = "import sys, ernie_image; print([m for m in ('torch', 'numpy', 'PIL', 'tqdm', 'asyncio', 'dataclasses', 'inspect') if m in sys.modules])"
        out, err = python(script).communicate(timeout=60)
        self.assertEqual(out.strip(), "[]", err)

    def test_a_script_of_three_lines_without_torch(self):
        script = """
import sys
from ernie_image import ErnieImagePipeline
pipe = ErnieImagePipeline.from_pretrained()
pipe("a panda on a pink background", use_pe=False).images[0].save(sys.argv[1])
assert "torch" not in sys.modules
"""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "panda.png")
            process = python(script, path)
            _, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, err)
            self.assertGreater(os.path.getsize(path), 100)

    def test_progress_is_told_to_tqdm_where_it_is(self):
        script = """
import sys, types
class Bar:
    def __init__(self, total, **told):
        self.n, self.total = 0, total
        print("total", total, sorted(told))
    def update(self, n):
        self.n += n
        print("at", self.n)
    def reset(self, total):
        self.n, self.total = 0, total
        print("again", total)
    def close(self):
        print("closed")
sys.modules["tqdm"], sys.modules["tqdm.auto"] = types.ModuleType("tqdm"), types.ModuleType("tqdm.auto")
sys.modules["tqdm.auto"].tqdm = Bar
import ernie_image
pipe = ernie_image.ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")
asked = dict(height=16, width=16, num_inference_steps=2, use_pe=False)
pipe("a cat", **asked)
pipe.set_progress_bar_config(desc="cat")
pipe("a cat", **asked, hires_scale=1, hires_steps=1)
pipe.set_progress_bar_config(disable=True)
pipe("a cat", **asked)
"""
        out, err = python(script).communicate(timeout=120)
        self.assertEqual(out.splitlines(), ["total 2 ['desc']", "at 1", "at 2", "again 1", "at 1", "closed"], err)

    def test_arrays_are_not_copied_on_the_way_in(self):
        from ernie_image import _arrays

        class Exporter:
            def __init__(self, array):
                self.array = array

            def __dlpack__(self, **keywords):
                return self.array.__dlpack__(**keywords)

            def __dlpack_device__(self):
                return self.array.__dlpack_device__()

        noise = np.random.default_rng(1).standard_normal((1, 64, 1, 1)).astype(np.float32)
        for given in (noise, memoryview(noise), Exporter(noise)):
            self.assertTrue(np.shares_memory(_arrays.floats(given, "latents"), noise))
        drawn = lambda latents: self.pipe("a cat", **SMALL, latents=latents).images[0].tobytes()
        self.assertEqual(drawn(Exporter(noise)), drawn(noise))

    def test_the_program_is_run_by_the_module(self):
        done = subprocess.run([sys.executable, "-m", "ernie_image", "--version"], capture_output=True, text=True, check=True)
        self.assertIn(ernie_image.__version__, done.stdout)

    def test_is_typed_and_documented(self):
        folder = pathlib.Path(ernie_image.__file__).parent
        self.assertTrue((folder / "py.typed").exists())
        self.assertIn("class Pipeline", (folder / "_native.pyi").read_text())
        text = io.StringIO()
        with redirect_stdout(text):
            help(ErnieImagePipeline)
        for word in ("from_pretrained", "[pictures, C, h, w]", "Raises", "torch_dtype"):
            self.assertIn(word, text.getvalue())
        undocumented = [name for name in ernie_image.__all__ if not getattr(ernie_image, name).__doc__]
        self.assertEqual(undocumented, [])


if __name__ == "__main__":
    unittest.main()
