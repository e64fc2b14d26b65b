"""The same calls to diffusers' ErnieImagePipeline and to ours, on the models of tests/data: arrays within the limits of the
goldens (docs/numerics.md), every keyword once.  differential.py [-v]

Needs torch, diffusers with ErnieImagePipeline and transformers 5; exits with 77, saying so, where they are not installed.
"""
import pathlib
import sys
import unittest

try:
    import torch
    from diffusers import ErnieImagePipeline as Reference
except (ImportError, RuntimeError) as error:
    print(f"skipped: {error}")
    sys.exit(77)
import numpy as np

from ernie_image import ErnieImagePipeline

MODELS = pathlib.Path(__file__).resolve().parents[2] / "tests/data/reference/models"
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

    def test_what_both_refuse(self):
        for asked in (dict(prompt=None), dict(prompt="a", prompt_embeds=[torch.zeros(2, 3)]), dict(prompt="a", height=40), dict(prompt=["a", "b"], negative_prompt=["c"])):
            for pipe in self.pipes["tiny_a"]:
                with self.assertRaises(ValueError):
                    pipe(**{"height": 32, "width": 32, "num_inference_steps": 1, "use_pe": False, **asked})

    def test_signatures_agree(self):
        import inspect

        theirs, ours = (inspect.signature(pipe.__call__).parameters for pipe in (Reference, ErnieImagePipeline))
        self.assertEqual([name for name in ours if name != "unserved"], list(theirs))

    @classmethod
    def tearDownClass(cls):
        missing = set(KEYWORDS) - cls.served
        assert not missing, f"not tried: {missing}"


if __name__ == "__main__":
    unittest.main()
