"""The same calls to diffusers' ErnieImagePipeline and to ours, on the models of tests/data: arrays within the limits of the
goldens (docs/numerics.md), every keyword once; pictures from pictures beside what tools/reference composes of diffusers' parts, which
has no such pipeline.  differential.py [-v]

Needs torch, diffusers with ErnieImagePipeline and transformers 5; exits with 77, saying so, where they are not installed.
"""
import inspect
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/reference"))
try:
    import torch
    from diffusers import ErnieImagePipeline as Reference
    from diffusers import ZImageImg2ImgPipeline, ZImageInpaintPipeline
    from refgen import encoder, img2img
    from refgen.cases import Recorder
except (ImportError, RuntimeError) as error:
    print(f"skipped: {error}")
    sys.exit(77)
import numpy as np

from ernie_image import ErnieImageImg2ImgPipeline, ErnieImageInpaintPipeline, ErnieImagePipeline

MODELS = ROOT / "tests/data/reference/models"
KEYWORDS = ("prompt", "negative_prompt", "height", "width", "num_inference_steps", "guidance_scale", "num_images_per_prompt",
            "generator", "latents", "prompt_embeds", "negative_prompt_embeds", "output_type", "return_dict", "callback_on_step_end",
            "callback_on_step_end_tensor_inputs", "use_pe")
LATENT_NMSE = 1e-8  # with guidance; without it 1e-9
PIXEL_SHARE = 1e-3  # of values that differ by one


def seeded(*seeds):
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    return generators[0] if len(generators) == 1 else generators


class Differential(unittest.TestCase):
    served = set()

    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        cls.pipes = {}
        for name in ("tiny_a", "tiny_b"):
            theirs = Reference.from_pretrained(MODELS / name, torch_dtype=torch.float32, local_files_only=True)
            theirs.set_progress_bar_config(disable=True)
            ours = ErnieImagePipeline.from_pretrained(MODELS / name, torch_dtype=torch.float32, local_files_only=True)
            cls.pipes[name] = (theirs, ours)

    def both(self, make, model="tiny_a"):
        """Both outputs; generators move, so that each call gets its own keywords."""
        theirs, ours = self.pipes[model]
        base = {"height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 1.0, "use_pe": False}
        self.served.update(make())
        return theirs(**{**base, **make()}), ours(**{**base, **make()})

    def same_latents(self, make, limit=1e-9, model="tiny_a"):
        theirs, ours = self.both(lambda: dict(make(), output_type="latent"), model)
        self.assertEqual((ours.images.shape, ours.images.dtype), (theirs.images.shape, theirs.images.dtype))
        error = ((ours.images - theirs.images) ** 2).sum() / (theirs.images**2).sum()
        self.assertLessEqual(float(error), limit)

    def test_prompt_height_width_steps(self):
        for model in ("tiny_a", "tiny_b"):
            self.same_latents(lambda: dict(prompt="a red fox", generator=seeded(1), height=32, width=64, num_inference_steps=4), model=model)
        self.same_latents(lambda: dict(prompt="", generator=seeded(1)))

    def test_negative_prompt_and_guidance_scale(self):
        for negative in ("blurry", ["blurry", "low quality"], None):
            self.same_latents(lambda: dict(prompt=["a fox", "a longer prompt of a dog"], negative_prompt=negative, guidance_scale=4.0,
                                           generator=seeded(5)), LATENT_NMSE)

    def test_num_images_per_prompt_and_generators(self):
        self.same_latents(lambda: dict(prompt=["a", "b"], num_images_per_prompt=2, generator=seeded(3)))
        self.same_latents(lambda: dict(prompt=["a", "b"], num_images_per_prompt=2, generator=seeded(1, 2, 3, 4)))

    def test_a_generator_that_has_been_used_goes_on(self):
        theirs, ours = self.pipes["tiny_a"]
        asked = dict(prompt="a fox", height=32, width=32, num_inference_steps=1, guidance_scale=1.0, use_pe=False, output_type="latent")
        for pipe, generator in ((theirs, seeded(9)), (ours, seeded(9))):
            pipe(**asked, generator=generator)
            pipe.second, pipe.state = pipe(**asked, generator=generator).images, generator.get_state()
        torch.testing.assert_close(ours.second, theirs.second, rtol=1e-4, atol=1e-4)
        self.assertTrue(torch.equal(ours.state, theirs.state))

    def test_latents(self):
        noise = torch.randn(1, 128, 2, 2, generator=seeded(4))
        self.same_latents(lambda: dict(prompt="a fox", latents=noise.clone()))

    def test_output_types(self):
        for kind in ("pil", "np", "pt"):
            theirs, ours = self.both(lambda: dict(prompt=["a fox", "a dog"], generator=seeded(2), output_type=kind))
            self.assertIs(type(ours.images), type(theirs.images))
            ours, theirs = (np.stack([np.asarray(image, np.float64) for image in each.images]) for each in (ours, theirs))
            self.assertEqual(ours.shape, theirs.shape)
            if kind != "pil":
                # Ours have 256 levels.
                self.assertLessEqual(np.abs(ours - theirs).max(), 1.1 / 255)
                ours, theirs = np.rint(ours * 255), np.rint(theirs * 255)
            self.assertLessEqual(np.abs(ours - theirs).max(), 1)
            self.assertLessEqual((ours != theirs).mean(), PIXEL_SHARE)

    def test_return_dict(self):
        theirs, ours = self.both(lambda: dict(prompt="a fox", generator=seeded(2), return_dict=False))
        self.assertEqual((type(ours), len(ours)), (type(theirs), len(theirs)))
        theirs, ours = self.both(lambda: dict(prompt="a fox", generator=seeded(2)))
        self.assertEqual((list(ours.keys()), ours.revised_prompts), ([k for k in theirs.keys() if theirs[k] is not None], None))

    def test_callback_on_step_end(self):
        seen = {}

        def follow(pipe, step, timestep, tensors):
            seen.setdefault(type(pipe), []).append((step, float(timestep), tensors["latents"].clone()))
            return {"latents": tensors["latents"] * 0.5}

        self.same_latents(lambda: dict(prompt="a fox", generator=seeded(6), num_inference_steps=3, callback_on_step_end=follow,
                                       callback_on_step_end_tensor_inputs=["latents"]))
        for theirs, ours in zip(seen[Reference], seen[ErnieImagePipeline]):
            self.assertEqual(theirs[0], ours[0])
            self.assertAlmostEqual(theirs[1], ours[1], places=3)
            torch.testing.assert_close(ours[2], theirs[2], rtol=1e-4, atol=1e-4)
        self.assertEqual(len(seen[ErnieImagePipeline]), 3)

    def test_use_pe(self):
        """The words are drawn from another generator than torch's: both write, and draw what they wrote."""
        theirs, ours = self.pipes["tiny_a"]
        theirs.pe_tokenizer.model_max_length = 4  # of new tokens
        asked = dict(prompt=["a fox"], height=32, width=32, num_inference_steps=1, guidance_scale=1.0)
        for pipe in (theirs, ours):
            output = pipe(**asked, generator=seeded(1), use_pe=True)
            self.assertEqual([type(text) for text in output.revised_prompts], [str])
            self.assertNotEqual(output.revised_prompts, ["a fox"])
        self.served.add("use_pe")

    def test_prompt_embeds_and_negative_prompt_embeds(self):
        for model in ("tiny_a", "tiny_b"):
            encode = self.pipes[model][0].encode_prompt
            embeds = encode(["a fox", "a longer prompt of a dog"], torch.device("cpu"))
            negative = encode(["blurry", ""], torch.device("cpu"))
            self.same_latents(lambda: dict(prompt_embeds=embeds, negative_prompt_embeds=negative, guidance_scale=4.0,
                                           num_images_per_prompt=2, generator=seeded(8)), LATENT_NMSE, model)

    def composed(self, spec, model):
        """The tensors of a case of tools/reference, in float32, and its picture, uint8 [1, H, W, 3]."""
        pixels, recorder = encoder.picture("differential", 1, *spec["size"]), Recorder()
        with torch.no_grad():
            img2img.run(self.pipes[model][0], spec, pixels, None, recorder, "")
        return recorder.tensors, pixels.numpy()

    def same_as_composed(self, kind, spec, model="tiny_a", **keywords):
        tensors, pixels = self.composed(spec, model)
        ours = kind.from_pipe(self.pipes[model][1])
        given = {name: value for name, value in spec.items() if name not in ("size", "seed", "mask")}
        for image in (pixels[0], torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255):
            asked = dict(given, image=image, **keywords)
            drawn = ours(**asked, generator=seeded(spec["seed"]), output_type="latent").images
            error = ((drawn - tensors["latents.final"]) ** 2).sum() / (tensors["latents.final"] ** 2).sum()
            self.assertLessEqual(float(error), LATENT_NMSE)
        drawn = np.rint(ours(**asked, generator=seeded(spec["seed"]), output_type="np").images * 255)
        expected = tensors["image.put_back" if "mask_image" in keywords else "image.uint8"].numpy().astype(np.float32)
        self.assertEqual(drawn.shape, expected.shape)
        self.assertLessEqual(np.abs(drawn - expected).max(), 1)
        self.assertLessEqual((drawn != expected).mean(), PIXEL_SHARE)

    def test_image_and_strength(self):
        one = dict(prompt="a red fox", seed=7, size=(64, 64), num_inference_steps=8, guidance_scale=1.0, strength=0.6)
        for model in ("tiny_a", "tiny_b"):
            self.same_as_composed(ErnieImageImg2ImgPipeline, one, model)
        self.same_as_composed(ErnieImageImg2ImgPipeline, dict(prompt=["a fox", "a dog"], negative_prompt="blurry", seed=5, size=(48, 80),
                                                              num_inference_steps=10, guidance_scale=4.0, strength=0.45))

    def test_image_and_mask_image(self):
        for strength in (0.7, 1.0):
            spec = dict(prompt="a red fox", seed=7, size=(64, 80), num_inference_steps=6, guidance_scale=1.0, strength=strength, mask=True)
            self.same_as_composed(ErnieImageInpaintPipeline, spec, mask_image=img2img.make_mask(*spec["size"]))

    def test_keywords_of_pictures_are_those_of_z_image(self):
        """In their order; what is not served is refused by name, and what is ours alone is given by name alone."""
        pipes = {ErnieImageImg2ImgPipeline: ZImageImg2ImgPipeline, ErnieImageInpaintPipeline: ZImageInpaintPipeline}
        for kind, reference in pipes.items():
            parameters = inspect.signature(kind.__call__).parameters.values()
            ours = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD and each.name not in ("self", "use_pe")]
            theirs = inspect.signature(reference.__call__).parameters
            self.assertEqual(ours, [name for name in theirs if name in ours])
            self.assertEqual(inspect.signature(kind.__call__).parameters["strength"].default, theirs["strength"].default)
            for name in set(theirs) - set(ours) - {"self"}:
                with self.assertRaisesRegex(TypeError, f"does not serve {name}; it serves prompt"):
                    kind.from_pipe(self.pipes["tiny_a"][1])("a fox", **{name: None})

    def test_keywords_of_from_pretrained(self):
        """Each that diffusers describes is served, or refused by name."""
        described = set(re.findall(r"^ +(\w+) \(`", Reference.from_pretrained.__doc__, re.M)) - {"kwargs"}
        self.assertIn("variant", described)
        served = set(inspect.signature(ErnieImagePipeline.from_pretrained).parameters)
        self.assertIn("dtype", described & served)
        for name in described - served:
            with self.assertRaisesRegex(TypeError, f"does not serve {name}; it serves torch_dtype"):
                ErnieImagePipeline.from_pretrained(MODELS / "tiny_a", **{name: None})

    def test_what_both_refuse(self):
        for asked in (dict(prompt=None), dict(prompt="a", prompt_embeds=[torch.zeros(2, 3)]), dict(prompt="a", height=40), dict(prompt=["a", "b"], negative_prompt=["c"])):
            for pipe in self.pipes["tiny_a"]:
                with self.assertRaises(ValueError):
                    pipe(**{"height": 32, "width": 32, "num_inference_steps": 1, "use_pe": False, **asked})

    def test_signatures_agree(self):
        theirs, ours = (inspect.signature(pipe.__call__).parameters for pipe in (Reference, ErnieImagePipeline))
        self.assertEqual([name for name in ours if ours[name].kind is ours[name].POSITIONAL_OR_KEYWORD], list(theirs))

    @classmethod
    def tearDownClass(cls):
        missing = set(KEYWORDS) - cls.served
        assert not missing, f"not tried: {missing}"


if __name__ == "__main__":
    unittest.main()
