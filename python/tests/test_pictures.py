"""Pictures from pictures, within masks, drawn again and varied: what a user may rely on, on the embedded model."""
import asyncio
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
from PIL import Image

import ernie_image
from ernie_image import ErnieImageImg2ImgPipeline, ErnieImageInpaintPipeline
from test_package import SMALL, PackageTest

PROGRAM = pathlib.Path(ernie_image.__file__).parent / "bin" / "ernie-image"


def colours(height, width):
    """uint8 [height, width, 3] of which no two pixels are alike."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) % 256], axis=2).astype(np.uint8)


class PicturesTest(PackageTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.again = ErnieImageImg2ImgPipeline.from_pipe(cls.pipe)
        cls.within = ErnieImageInpaintPipeline.from_pipe(cls.pipe)

    def drawn(self, pipe, **keywords):
        base = {"num_inference_steps": 2, "generator": 1}
        return pipe("a cat", **{**base, **keywords}).images[0]

    def is_refused(self, pipe, kind, part, **keywords):
        with self.assertRaises(kind) as caught:
            self.drawn(pipe, **keywords)
        self.assertIn(part, str(caught.exception))

    def as_program(self, *flags):
        """What the program draws with the same prompt, seed and steps."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "drawn.png"
            subprocess.run([PROGRAM, "generate", "--model", "embedded:emoji-tiny", "--no-enhance", "--prompt", "a cat", "--seed", "1",
                            "--steps", "2", "--quiet", "--output", path, *flags], check=True)
            return Image.open(path).convert("RGB")

    def assertSame(self, a, b):
        self.assertEqual((a.size, a.tobytes()), (b.size, b.tobytes()))


class FromPictures(PicturesTest):
    def test_are_those_of_the_program(self):
        picture = Image.fromarray(colours(32, 48))
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            picture.save(file.name)
            self.assertSame(self.drawn(self.again, image=picture, strength=0.5), self.as_program("--image", file.name, "--strength", "0.5"))
            self.assertSame(self.drawn(self.again, image=picture, strength=0.5, strength_mode="exact"),
                            self.as_program("--image", file.name, "--strength", "0.5", "--strength-mode", "exact"))

    def test_strength_1_leaves_nothing_of_the_picture(self):
        size = {"height": 16, "width": 16}
        self.assertSame(self.drawn(self.again, image=colours(16, 16), strength=1), self.drawn(self.pipe, use_pe=False, **size))

    def test_latents_and_callbacks_are_of_the_steps_that_run(self):
        seen = []
        latents = self.again("a cat", colours(16, 16), 0.5, num_inference_steps=4, generator=1, output_type="latent",
                             callback_on_step_end=lambda pipe, step, timestep, told: seen.append(told["latents"])).images
        self.assertEqual(len(seen), 2)
        np.testing.assert_array_equal(latents, seen[-1])
        drawn = self.drawn(self.again, image=colours(16, 16), strength=0.5, num_inference_steps=4)
        self.assertSame(self.pipe.decode(latents, 16, 16)[0], drawn)

    def test_pictures_of_every_form(self):
        array = colours(16, 32)
        expected = self.drawn(self.again, image=Image.fromarray(array), strength=0.5)
        wide = np.zeros((16, 64, 3), np.uint8)
        wide[:, ::2] = array
        clear = np.dstack([array, np.full((16, 32), 255, np.uint8)])
        for image in (array, [array], array[None], array / 255, (array / 255).astype(np.float32), wide[:, ::2], np.asfortranarray(array),
                      memoryview(array), Image.fromarray(clear)):
            self.assertSame(self.drawn(self.again, image=image, strength=0.5), expected)
        clear[..., 3] = 0
        white = np.full_like(array, 255)
        self.assertSame(self.drawn(self.again, image=Image.fromarray(clear), strength=0.5),
                        self.drawn(self.again, image=white, strength=0.5))

    def test_sizes(self):
        self.assertEqual(self.drawn(self.again, image=colours(24, 40), strength=0.5).size, (48, 32))
        self.assertEqual(self.drawn(self.again, image=colours(128, 256), strength=0.5).size, (96, 48))  # of 64 x 64 pixels
        self.assertEqual(self.drawn(self.again, image=colours(24, 48), strength=0.5, height=16).size, (32, 16))
        noise = np.random.default_rng(1).integers(0, 256, (20, 40, 3), np.uint8)
        scaled = Image.fromarray(noise).resize((32, 16), Image.Resampling.LANCZOS)
        # What a black mask gives back is the picture as it was scaled.
        self.assertSame(self.drawn(self.within, image=noise, mask_image=np.zeros((20, 40), bool), height=16, width=32), scaled)

    def test_what_cannot_be_served(self):
        image = colours(16, 16)
        refused = lambda kind, part, **keywords: self.is_refused(self.again, kind, part, **{"image": image, **keywords})
        refused(ValueError, "`image` is missing", image=None)
        refused(TypeError, "found str", image="picture.png")
        refused(TypeError, "int64", image=image.astype(np.int64))
        refused(ValueError, "0..1", image=image.astype(np.float32))
        refused(ValueError, "0..1", image=np.full((16, 16, 3), np.nan))
        refused(ValueError, "[height, width, 3]", image=image[..., 0])
        refused(ValueError, "[height, width, 3]", image=np.zeros((0, 16, 3), np.uint8))
        refused(ValueError, "a list of 2", image=[image, image])
        for strength in (0, 1.5, -1, float("nan")):
            refused(ValueError, "strength must be above 0 and at most 1", strength=strength)
        refused(TypeError, "strength", strength="much")
        refused(ValueError, "'loud' is none of diffusers", strength_mode="loud")
        refused(ValueError, "divisible by 16", height=20)
        refused(TypeError, "height", height=16.0)
        refused(TypeError, "does not serve sigmas; it serves prompt, image, strength", sigmas=[1.0])
        refused(ValueError, "(1, 64, 1, 1)", latents=np.zeros((1, 64, 2, 2), np.float32))

    def test_one_model_has_all_three_classes(self):
        from_text = ernie_image.ErnieImagePipeline.from_pipe(self.within)
        self.assertIn("ErnieImageInpaintPipeline", repr(self.within))
        self.assertSame(self.drawn(from_text, use_pe=False, height=16, width=16), self.drawn(self.pipe, use_pe=False, height=16, width=16))
        with self.assertRaisesRegex(TypeError, "from_pipe"):
            ErnieImageImg2ImgPipeline.from_pipe("embedded:emoji-tiny")
        loaded = ErnieImageImg2ImgPipeline.from_pretrained("embedded:emoji-tiny")
        from_text = ernie_image.ErnieImagePipeline.from_pipe(loaded)
        loaded.close()
        self.is_refused(from_text, ValueError, "was freed", **SMALL)

    def test_asyncio_takes_the_same_keywords(self):
        image = colours(16, 16)
        drawn = asyncio.run(self.again.agenerate("a cat", image, 0.5, num_inference_steps=2, generator=1)).images[0]
        self.assertSame(drawn, self.drawn(self.again, image=image, strength=0.5))


class WithinMasks(PicturesTest):
    def setUp(self):
        self.image = colours(16, 32)
        self.mask = np.zeros((16, 32), np.uint8)
        self.mask[4:12, 8:24] = 255

    def test_are_those_of_the_program(self):
        with tempfile.TemporaryDirectory() as folder:
            image, mask = (f"{folder}/{name}.png" for name in ("image", "mask"))
            Image.fromarray(self.image).save(image)
            Image.fromarray(self.mask).save(mask)
            given = ("--image", image, "--mask", mask, "--strength", "1")
            self.assertSame(self.drawn(self.within, image=self.image, mask_image=self.mask), self.as_program(*given))
            self.assertSame(self.drawn(self.within, image=self.image, mask_image=self.mask, padding_mask_crop=2),
                            self.as_program(*given, "--inpaint-area", "masked", "--padding", "2"))

    def test_what_is_black_stays_byte_for_byte(self):
        drawn = np.asarray(self.drawn(self.within, image=self.image, mask_image=self.mask))
        changed = (drawn != self.image).any(axis=2)
        self.assertTrue(changed.any())
        self.assertFalse(changed[self.mask == 0].any())
        loose = np.asarray(self.drawn(self.within, image=self.image, mask_image=self.mask, puts_back=False))
        self.assertTrue((loose != self.image).any(axis=2)[self.mask == 0].any())
        black = self.drawn(self.within, image=self.image, mask_image=np.zeros((16, 32), bool))
        np.testing.assert_array_equal(np.asarray(black), self.image)

    def test_masks_of_every_form(self):
        expected = self.drawn(self.within, image=self.image, mask_image=Image.fromarray(self.mask))
        for mask in (self.mask, self.mask[None], self.mask[..., None], self.mask[None, None], self.mask > 0, self.mask / 255,
                     Image.fromarray(self.mask).convert("RGB"), [self.mask], np.asfortranarray(self.mask)):
            self.assertSame(self.drawn(self.within, image=self.image, mask_image=mask), expected)

    def test_a_part_is_drawn_of_a_picture_of_any_size(self):
        image = colours(37, 81)
        mask = np.zeros((37, 81), np.uint8)
        mask[20:25, 50:60] = 255
        drawn = np.asarray(self.drawn(self.within, image=image, mask_image=mask, padding_mask_crop=4, height=16, width=16))
        self.assertEqual(drawn.shape, image.shape)
        changed = (drawn != image).any(axis=2)
        self.assertTrue(changed.any())
        self.assertFalse(changed[mask == 0].any())
        nothing = self.drawn(self.within, image=image, mask_image=np.zeros((37, 81), bool), padding_mask_crop=4, height=16, width=16)
        np.testing.assert_array_equal(np.asarray(nothing), image)

    def test_what_cannot_be_served(self):
        refused = lambda kind, part, **keywords: self.is_refused(self.within, kind, part,
                                                                 **{"image": self.image, "mask_image": self.mask, **keywords})
        refused(ValueError, "`mask_image` is missing", mask_image=None)
        refused(ValueError, "`image` is missing", image=None)
        refused(ValueError, "[height, width]", mask_image=np.zeros((4, 4, 3), np.uint8))
        refused(ValueError, "[height, width]", mask_image=np.zeros((0, 4), np.uint8))
        refused(ValueError, "0..1", mask_image=np.full((4, 4), np.inf))
        refused(TypeError, "int32", mask_image=np.zeros((4, 4), np.int32))
        refused(TypeError, "mask_image must be a PIL image", mask_image=7)
        refused(TypeError, "padding_mask_crop", padding_mask_crop=1.5)
        refused(ValueError, "padding_mask_crop", padding_mask_crop=-1)
        refused(TypeError, "masked_image_latents", masked_image_latents=np.zeros(3))
        refused(TypeError, "hires_scale", hires_scale=2)


class FurtherRuns(PicturesTest):
    SIZE = {"height": 16, "width": 16, "use_pe": False}
    FLAGS = ("--height", "16", "--width", "16")

    def test_are_those_of_the_program(self):
        self.assertSame(self.drawn(self.pipe, **self.SIZE, hires_scale=2, hires_steps=3, hires_strength=0.6),
                        self.as_program(*self.FLAGS, "--hires", "2", "--hires-steps", "3", "--hires-strength", "0.6"))
        self.assertSame(self.drawn(self.pipe, **self.SIZE, hires_height=32, hires_width=48), self.as_program(*self.FLAGS, "--hires", "48x32"))
        self.assertSame(self.drawn(self.pipe, **self.SIZE, boxes=[(0, 0, 8, 8), [4, 4, 8, 8]], boxes_strength=0.9),
                        self.as_program(*self.FLAGS, "--boxes", "0,0,8,8", "--boxes", "4,4,8,8", "--strength", "0.9"))
        self.assertSame(self.drawn(self.pipe, **self.SIZE, variation_seeds=9, variation_strength=0.3),
                        self.as_program(*self.FLAGS, "--variation-seed", "9", "--variation-strength", "0.3"))

    def test_an_int_varies_each_seed_of_a_list_by_one_that_follows(self):
        asked = dict(self.SIZE, num_images_per_prompt=2, generator=[1, 2], num_inference_steps=1, variation_strength=0.5)
        listed, counted = (self.pipe("a cat", **asked, variation_seeds=seeds).images for seeds in ([7, 8], 7))
        for a, b in zip(listed, counted):
            self.assertSame(a, b)

    def test_given_noise_is_enlarged_with_that_of_the_generator(self):
        noise = np.random.default_rng(1).standard_normal((1, 64, 1, 1)).astype(np.float32)
        asked = dict(self.SIZE, num_inference_steps=1, latents=noise, hires_scale=2)
        first = self.pipe("a cat", **asked)
        self.assertEqual(first.images[0].size, (32, 32))
        self.assertSame(self.pipe("a cat", **asked, generator=first.seeds[0]).images[0], first.images[0])
        self.assertSame(self.pipe("a cat", **asked, generator=5).images[0], self.pipe("a cat", **asked, generator=5).images[0])

    def test_previews_are_small_pictures(self):
        seen = []
        self.pipe(["a cat", "a dog"], **dict(self.SIZE, width=32), num_inference_steps=2, callback_on_step_end_tensor_inputs=["preview"],
                  callback_on_step_end=lambda pipe, step, timestep, told: seen.append(told))
        self.assertEqual([sorted(told) for told in seen], [["preview"]] * 2)
        self.assertEqual([image.size for image in seen[0]["preview"]], [(8, 4)] * 2)

    def test_what_cannot_be_served(self):
        refused = lambda kind, part, **keywords: self.is_refused(self.pipe, kind, part, **{**self.SIZE, **keywords})
        refused(ValueError, "hires_scale must be above 0", hires_scale=0)
        refused(ValueError, "hires_scale must be above 0", hires_scale=float("nan"))
        refused(ValueError, "the scale of the second run must be 1.0 to 8.0", hires_scale=100)
        refused(TypeError, "hires_width", hires_width="wide", hires_height=16)
        refused(ValueError, "second run", hires_width=32)
        refused(ValueError, "is of a second run", hires_strength=0.5)
        refused(ValueError, "is of a second run", hires_steps=2)
        refused(ValueError, "hires_strength must be above 0", hires_scale=2, hires_strength=2)
        refused(ValueError, "decoded pictures", hires_scale=2, output_type="latent")
        refused(ValueError, "not within the picture", boxes=[(8, 8, 16, 16)])
        refused(ValueError, "(left, top, width, height)", boxes=[(1, 2, 3)])
        refused(ValueError, "(left, top, width, height)", boxes="1234")
        refused(TypeError, "a side of a box", boxes=[(0.5, 0, 8, 8)])
        refused(ValueError, "17 boxes", boxes=[(0, 0, 8, 8)] * 17)
        refused(ValueError, "boxes_strength is of boxes", boxes_strength=0.5)
        refused(ValueError, "belong together", variation_seeds=1)
        refused(ValueError, "belong together", variation_strength=0.1)
        refused(ValueError, "variation_strength must be 0 to 1", variation_seeds=1, variation_strength=2)
        refused(ValueError, "variation needs ints", variation_seeds=1, variation_strength=0.5,
                latents=np.zeros((1, 64, 1, 1), np.float32))


if __name__ == "__main__":
    unittest.main()
