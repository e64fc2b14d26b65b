"""Pictures that are there already: found again, kept together, looked at closely, and made the beginning of others."""
import base64
import io
import struct
import unittest
import urllib.request
import zipfile
import zlib

from browser import PageTest
from server import png_of
from selenium.webdriver.common.keys import Keys

# What is given to be downloaded, kept where a test can look at it.
KEEP_BLOBS = """
window.blobs = [];
const original = URL.createObjectURL;
URL.createObjectURL = (blob) => { window.blobs.push(blob); return original(blob); };
"""


def png_with_text(name, text):
    data = name.encode() + b"\0" + text.encode("latin-1")
    chunk = struct.pack(">I", len(data)) + b"tEXt" + data + struct.pack(">I", zlib.crc32(b"tEXt" + data))
    plain = png_of(16, 16)
    return plain[:33] + chunk + plain[33:]  # after the header


class Collecting(PageTest):
    def drop(self, data, target="document.body"):
        self.script("""
            const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
            const files = new DataTransfer();
            files.items.add(new File([bytes], "dropped"));
            for (const type of ["dragover", "drop"]) {
              %s.dispatchEvent(new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true }));
            }""" % target, base64.b64encode(data).decode())

    def form(self):
        return {name: self.value("#" + name) for name in ("prompt", "steps", "seed", "width", "height")}

    def picture(self, job, index=0):
        with urllib.request.urlopen(f"{self.server.url}/v1/jobs/{job['id']}/images/{index}") as answer:
            return answer.read()

    def made(self, prompt, **fields):
        job = self.server.submit(prompt=prompt, use_pe=False, **fields)
        self.server.wait_for_all()
        return job

    def test_enhanced_text_belongs_to_its_prompt(self):
        self.fill("#prompt", "a crown")
        self.click("#enhance")
        self.wait(lambda: self.value("#enhanced"), "the enhanced prompt is shown")
        enhanced = self.value("#enhanced")
        self.generate_and_wait("a fish")
        self.assertFalse(self.visible("#enhanced-field"))
        self.assertEqual(self.server.jobs()[0]["request"]["prompt"], "a fish")
        self.fill("#prompt", "a crown")
        self.wait(lambda: self.visible("#enhanced-field"), "the old prompt has its text again")
        self.assertEqual(self.value("#enhanced"), enhanced)
        # The same with the settings of a picture.
        self.switch_enhancer(True)
        self.click("#enhanced-discard")
        self.click("#generate")
        self.wait(lambda: len(self.find_all(".tile")) == 2, "the picture is there")
        self.click(".tile-open")
        self.click("#viewer-use")
        self.wait(lambda: self.visible("#enhanced-field"), "its enhanced text is in the form")
        self.generate_and_wait("a dog")
        self.assertEqual(self.server.jobs()[0]["request"]["prompt"], "a dog")

    def test_the_toy_says_what_it_is_and_offers_objects(self):
        self.assertIn("emoji-tiny", self.text("#model-name"))
        self.assertIn("151 objects", self.text("#toy"))
        self.click("#toy-objects .chip:nth-child(2)")
        self.assertEqual(self.value("#prompt"), "a panda")

    def test_prompts_are_remembered(self):
        self.assertFalse(self.visible("#history"))
        self.generate_and_wait("a red apple")
        self.generate_and_wait("a panda")
        self.open_page()
        options = [option.text for option in self.find_all("#history option")]
        self.assertEqual(options, ["Earlier prompts", "a panda", "a red apple"])
        self.find_all("#history option")[2].click()
        self.assertEqual(self.value("#prompt"), "a red apple")
        self.assertEqual(self.value("#history"), "")

    def test_a_dropped_picture_of_ours_fills_the_settings(self):
        for number, output_format in enumerate(("png", "jpeg", "webp")):
            seed = 18446744073709551600 + number
            job = self.made(f"a {output_format} owl", seed=seed, size="80x64", output_format=output_format)
            self.drop(self.picture(job))
            self.wait(lambda f=output_format: self.value("#prompt") == f"a {f} owl", "the settings are there")
            self.assertEqual(self.form(), {"prompt": f"a {output_format} owl", "steps": "1", "seed": str(seed), "width": "80",
                                           "height": "64"})
        self.assertFalse(self.visible("#picture-settings"))

    def test_a_dropped_picture_of_a1111s_fills_the_settings(self):
        self.drop(png_with_text("parameters", "a castle\nby a lake\nNegative prompt: fog,\nrain\nSteps: 30, Sampler: Euler a, CFG scale: 7.5, "
                                "Seed: 1234, Size: 500x770, Model: \"x, y\", Variation seed: 5, Variation seed strength: 0.2"))
        self.wait(lambda: self.value("#prompt") == "a castle\nby a lake", "the settings are there")
        self.assertEqual(self.form(), {"prompt": "a castle\nby a lake", "steps": "30", "seed": "1234", "width": "496", "height": "768"})
        self.assertEqual((self.value("#negative"), self.value("#guidance")), ("fog,\nrain", "7.5"))
        self.assertEqual((self.value("#variation-seed"), self.value("#variation-strength")), ("5", "0.2"))

    def test_a_dropped_picture_without_settings_is_an_input(self):
        self.expects_failing_requests = True  # the server reads the files
        for data in (png_of(48, 32), png_with_text("parameters", "no settings")):
            self.drop(data)
            self.wait(lambda: self.visible("#picture-settings"), "it is there")
            self.click("#picture-remove")
        for data in (b"", b"\x89PNG\r\n\x1a\n" + b"\xff" * 40, b"\xff\xd8\xff\xe1\xff\xffExif\0\0MM\0*" + b"\xff" * 30, b"RIFF\xff\xff\xff\xffWEBPEXIF"):
            self.drop(data)
        self.wait(lambda: "no picture" in self.text("#notes"), "what is none is said")
        self.drop(self.picture(self.made("an owl")), "document.querySelector('#picture-field')")
        self.wait(lambda: self.visible("#picture-settings"), "there, it is an input")

    def test_prompts_are_searched_and_favourites_kept(self):
        for prompt in ("a red apple", "a green apple", "a panda"):
            self.made(prompt)
        self.wait(lambda: len(self.find_all(".tile")) == 3, "the pictures are there")
        self.fill("#search", "APPLE red")
        self.wait(lambda: self.prompts() == ["a red apple"], "one is left")
        self.script("document.querySelector('.tile-star').click()")
        self.fill("#search", "nothing")
        self.wait(lambda: self.visible("#nothing-found"), "nothing is found")
        self.fill("#search", " ")
        self.wait(lambda: len(self.find_all(".tile")) == 3, "all are back")
        self.open_page()
        self.click("#only-favourites")
        self.wait(lambda: self.prompts() == ["a red apple"], "it is remembered")

    def test_several_are_downloaded_and_deleted(self):
        self.script(KEEP_BLOBS)
        for prompt in ("a red apple", "a red apple", "a panda"):
            self.made(prompt, seed=3)
        self.wait(lambda: len(self.find_all(".tile")) == 3 and self.pictures_loaded(), "the pictures are there")
        self.click("#select")
        for tile in self.find_all(".tile-open")[1:]:
            tile.click()
        self.assertEqual(self.text("#selection-count"), "2 selected")
        self.click("#selection-zip")
        self.wait(lambda: self.script("return window.blobs.some((blob) => blob.type === 'application/zip')"), "it is made")
        data = self.browser.execute_async_script("""
            const reader = new FileReader();
            reader.onload = () => arguments[0](reader.result.split(",")[1]);
            reader.readAsDataURL(window.blobs.find((blob) => blob.type === "application/zip"));""")
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(data))) as file:
            self.assertIsNone(file.testzip())
            self.assertEqual(file.namelist(), ["a-red-apple-3.png", "a-red-apple-3-2.png"])
            self.assertEqual(file.read("a-red-apple-3.png")[:4], b"\x89PNG")
        self.click("#selection-delete")
        self.click("#confirm-yes")
        self.wait(lambda: self.prompts() == ["a panda"], "they are gone")
        self.assertEqual(len(self.server.jobs()), 1)
        self.assertFalse(self.visible("#selection-bar"))
        self.click(".tile-open")
        self.wait(lambda: self.visible("#viewer"), "a click opens it again")

    def test_pictures_of_a_row_that_is_not_full_are_as_large(self):
        self.made("a panda", n=4)
        self.wait(lambda: len(self.find_all(".tile")) == 4, "the pictures are there")
        for width in (1000, 1280):  # rows of two or three, and a rest
            self.resize(width, 900)
            widths = [tile.rect["width"] for tile in self.find_all(".tile")]
            self.assertLessEqual(max(widths) - min(widths), 1, width)

    def test_one_of_several_is_deleted_alone(self):
        self.made("a panda", n=2, seed=3)
        self.wait(lambda: len(self.find_all(".tile")) == 2 and self.pictures_loaded(), "the pictures are there")
        self.click(".tile-open")
        self.click("#viewer-delete")
        self.click("#confirm-yes")
        self.wait(lambda: len(self.find_all(".tile")) == 1, "one is gone")
        self.assertEqual([len(job["images"]) for job in self.server.jobs()], [1])
        self.open_page()
        self.wait(lambda: len(self.find_all(".tile")) == 1 and self.pictures_loaded(), "the other is still there")
        self.click(".tile-open")
        self.click("#viewer-delete")
        self.click("#confirm-yes")
        self.wait(lambda: not self.exists(".tile"), "the job goes with its last picture")
        self.assertEqual(self.server.jobs(), [])

    def test_a_prompt_is_copied(self):
        """Also on a page over plain http from another machine, which has no clipboard of its own."""
        self.made("a copied panda")
        self.wait(lambda: self.visible(".tile") and self.pictures_loaded(), "the picture is there")
        self.browser.execute_cdp_cmd("Browser.grantPermissions", {
            "origin": self.server.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
        for secure in (True, False):
            self.fill("#prompt", "")
            if not secure:
                self.script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
                self.script("document.execCommand = ((original) => (...order) => { window.ordered = order; "
                            "return original.apply(document, order); })(document.execCommand)")
            self.click(".tile-open")
            self.click("#viewer-copy")
            self.wait(lambda: "copied" in self.text("#notes").lower(), "it is said")
            self.assertEqual(self.text("#viewer-error"), "")
            self.press(Keys.ESCAPE)
            self.find("#prompt").click()
            self.press(Keys.CONTROL, "v")
            self.assertEqual(self.value("#prompt"), "a copied panda")
            self.find("#prompt").send_keys(Keys.CONTROL, "a")
            self.press(Keys.CONTROL, "x")  # and nothing is left for the second time
            self.script("return navigator.clipboard?.writeText('other')")
        self.assertEqual(self.script("return window.ordered"), ["copy"])

    def test_a_picture_is_looked_at_closely(self):
        self.made("a panda", n=2)
        self.wait(lambda: len(self.find_all(".tile")) == 2 and self.pictures_loaded(), "the pictures are there")
        self.click(".tile-open")
        self.wait(lambda: "1 of 2" in self.text("#viewer-facts"), "it says which one it is")
        width = lambda: self.find("#viewer-image").rect["width"]  # noqa: E731
        self.assertGreater(width(), 64)
        self.click("#viewer-zoom")
        self.assertEqual((width(), self.text("#viewer-zoom")), (64, "100%"))
        self.click("#viewer-larger")
        self.assertEqual((width(), self.text("#viewer-zoom")), (128, "200%"))
        self.click("#viewer-image")
        self.assertGreater(width(), 128)
        self.press(Keys.ARROW_RIGHT)
        self.wait(lambda: "2 of 2" in self.text("#viewer-facts"), "the next is shown")


if __name__ == "__main__":
    unittest.main()
