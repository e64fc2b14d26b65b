"""Pictures as input: chosen, painted on, extended, and compared with what was made of them."""
import base64
import pathlib
import struct
import tempfile
import unittest
import zlib

from browser import PageTest
from server import png_of
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

# What the page sends, kept where a test can look at it.
RECORD = """
window.sent = [];
const original = window.fetch;
window.fetch = (path, options = {}) => {
  if (options.method === "POST" && path === "/v1/jobs") window.sent.push(JSON.parse(options.body));
  return original(path, options);
};
"""


def grey_of(url):
    """Rows of a PNG data URL's first channel, as the browser's canvas writes it."""
    data = base64.b64decode(url.split(",")[1])
    at, body, size = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        chunk = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, _, colour = struct.unpack(">IIBB", chunk[:10])
            size = (width, height, {2: 3, 6: 4}[colour])
        body += chunk if kind == b"IDAT" else b""
        at += 12 + length
    width, height, channels = size
    raw, rows, above = zlib.decompress(body), [], bytearray(width * channels)
    for y in range(height):
        start = y * (width * channels + 1)
        row = unfiltered(raw[start], bytearray(raw[start + 1:start + 1 + width * channels]), above, channels)
        rows.append(list(row[::channels]))
        above = row
    return rows


def unfiltered(kind, row, above, channels):
    for i in range(len(row)):
        a = row[i - channels] if i >= channels else 0
        b, c = above[i], above[i - channels] if i >= channels else 0
        nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
        row[i] = (row[i] + [0, a, b, (a + b) // 2, nearest][kind]) % 256
    return row


class Editing(PageTest):
    def setUp(self):
        super().setUp()
        self.script(RECORD)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def choose(self, width=96, height=64):
        path = self.folder / "in.png"
        path.write_bytes(png_of(width, height))
        self.find("#picture-file").send_keys(str(path))
        self.wait(lambda: self.visible("#picture-settings"), "the picture is there")

    def sent(self):
        return self.script("return window.sent")

    def box(self, selector):
        return self.script("return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector)

    def open_editor(self):
        self.click("#picture-paint")
        self.wait(lambda: self.visible("#editor"), "the editor is open")

    def drag(self, selector, start, by):
        """`start`: from the middle of the element."""
        chain = ActionChains(self.browser, duration=20)
        chain.move_to_element_with_offset(self.find(selector), *start).click_and_hold().move_by_offset(*by).release().perform()

    def painted(self):
        """How much of the picture is."""
        return self.script("""
            const canvas = document.querySelector("#editor-mask");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((value, i) => i % 4 === 3 && value > 127).length / (data.length / 4);""")

    def test_a_picture_is_chosen_and_a_result_becomes_the_next_one(self):
        self.choose()
        self.fill("#strength", "0.5")
        self.assertEqual(self.text("#strength-hint"), "Keeps the composition; things change. 4 of 8 steps run.")
        self.fill("#strength", "1")
        self.assertTrue(self.text("#strength-hint").startswith("Keeps nothing"))
        self.fill("#strength", "0.5")
        self.generate_and_wait("a red apple")
        [job] = self.server.jobs()
        self.assertEqual(job["request"]["image"]["strength"], 0.5)
        self.assertEqual((job["images"][0]["width"], job["images"][0]["height"]), (80, 48))
        self.assertFalse(job["request"]["use_pe"])
        self.click("#picture-remove")
        self.wait(lambda: not self.visible("#picture-settings"), "it is gone")
        self.click(".tile-open")
        self.click("#viewer-begin")
        self.wait(lambda: self.visible("#picture-settings"), "the result is in the form")
        self.generate_and_wait("a green apple")
        self.assertNotEqual(self.server.jobs()[0]["request"]["image"]["sha256"], job["request"]["image"]["sha256"])

    def test_before_and_after(self):
        self.generate_and_wait("a red apple")
        self.click(".tile-open")
        self.assertFalse(self.visible("#viewer-before"))  # it was made from nothing
        self.click("#viewer-begin")
        self.wait(lambda: self.visible("#picture-settings"), "the result is in the form")
        self.generate_and_wait("a green apple")
        self.open_page()  # what was made here is known after a reload too
        self.wait(lambda: len(self.find_all(".tile")) == 2, "the pictures are there")
        self.click(".tile-open")
        self.wait(lambda: self.visible("#viewer-before"), "it is offered")
        self.click("#viewer-before")
        self.wait(lambda: self.script("return document.querySelector('#compare-left').naturalWidth") == 64, "it is shown")
        self.press(Keys.HOME)
        self.assertEqual(self.script("return document.querySelector('#compare-stage').style.getPropertyValue('--split')"), "0%")

    def test_variations_and_a_second_run(self):
        self.generate_and_wait("a red apple")
        seed = self.server.jobs()[0]["images"][0]["seed"]
        self.click(".tile-open")
        self.click("#viewer-vary")
        self.assertEqual(self.value("#variation-strength"), "0.3")
        self.fill("#count", "2")
        self.click("#generate")
        self.wait(lambda: len(self.find_all(".tile")) == 3, "the variations are there")
        job = self.server.jobs()[0]["request"]
        self.assertEqual((job["seeds"], job["variation_strength"]), ([seed, seed], 0.3))
        self.assertEqual(len(set(job["variation_seeds"])), 2)
        self.click(".tile-open")
        self.wait(lambda: "Variation" in self.text("#viewer-facts"), "it is told")
        self.press(Keys.ESCAPE)
        self.click("details:has(#hires-scale) summary")
        self.fill("#variation-strength", "")
        self.fill("#count", "1")
        self.fill("#hires-scale", "9")
        self.click("#generate")
        self.assertIn("Times larger", self.text("#form-error"))
        self.fill("#hires-scale", "2")
        self.fill("#hires-strength", "0.5")
        self.generate_and_wait("a red apple")
        job = self.server.jobs()[0]
        self.assertEqual((job["images"][0]["width"], job["request"]["hires_strength"]), (128, 0.5))
        self.assertNotIn("variation_strength", job["request"])

    def test_a_file_that_is_no_picture_is_said(self):
        path = self.folder / "in.png"
        path.write_bytes(b"no picture")
        self.find("#picture-file").send_keys(str(path))
        self.wait(lambda: "no picture" in self.text("#notes"), "it is said")
        self.assertFalse(self.visible("#picture-settings"))

    def test_a_picture_is_dropped(self):
        self.script("""
            const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "in.png", { type: "image/png" }));
            for (const type of ["dragenter", "dragover", "drop"]) {
              document.querySelector("#picture-field").dispatchEvent(
                new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
            }""", base64.b64encode(png_of(64, 64)).decode())
        self.wait(lambda: self.visible("#picture-settings"), "it is there")

    def test_a_part_is_painted(self):
        self.choose()
        self.assertFalse(self.visible("#mask-settings"))
        self.open_editor()
        self.drag("#editor-mask", (0, 0), (60, 0))
        first = self.painted()
        self.assertGreater(first, 0.01)
        self.drag("#editor-mask", (-100, -50), (60, 0))
        second = self.painted()
        self.assertGreater(second, first)
        self.click("#editor-undo")
        self.assertEqual(self.painted(), first)
        self.click("#editor-invert")
        self.assertAlmostEqual(self.painted(), 1 - first, delta=0.01)
        self.press(Keys.CONTROL, "z")
        self.assertEqual(self.painted(), first)
        self.click("[name=tool][value=eraser] + span")
        self.script("document.querySelector('#brush-size').value = 50")
        self.drag("#editor-mask", (0, 0), (70, 0))
        self.assertEqual(self.painted(), 0)
        self.click("#editor-undo")
        self.click("#editor-done")
        self.wait(lambda: self.visible("#mask-settings"), "a part is chosen")
        self.assertEqual(self.value("#strength"), "1")
        self.generate_and_wait("a cat")
        [request] = self.sent()
        self.assertEqual((request["mask_blur"], request["strength"]), (4, 1))
        mask = grey_of(request["mask"])
        self.assertEqual((len(mask[0]), len(mask)), (96, 64))
        self.assertEqual((mask[32][50], mask[0][0], mask[63][95]), (255, 0, 0))
        [job] = self.server.jobs()
        self.assertEqual(job["status"], "completed")
        self.assertEqual(job["request"]["image"]["mask"]["blur"], 4)
        # What is closed without "Done" is as it was.
        self.open_editor()
        self.click("#editor-clear")
        self.press(Keys.ESCAPE)
        self.open_editor()
        self.assertAlmostEqual(self.painted(), first, delta=0.001)
        self.press(Keys.ESCAPE)
        self.click("#masked-area")
        self.generate_and_wait("a dog")
        self.assertEqual(self.sent()[1]["inpaint_area"], "masked")
        self.assertNotIn("width", self.sent()[1])
        image = self.server.jobs()[0]["images"][0]
        self.assertEqual((image["width"], image["height"]), (96, 64))
        self.click("#mask-remove")
        self.assertFalse(self.visible("#mask-settings"))
        self.generate_and_wait("a fox")
        self.assertNotIn("mask", self.sent()[2])

    def test_edges_are_dragged(self):
        self.choose(64, 64)
        self.open_editor()
        scale = self.find("#editor-picture").rect["width"] / 64
        self.drag("#edge-right", (0, 0), (round(32 * scale), 0))
        self.assertEqual(self.text("#edge-right"), "+32")
        self.find("#edge-top").send_keys(Keys.ARROW_UP)
        self.assertEqual(self.find("#edge-top").get_attribute("aria-valuenow"), "16")
        self.assertEqual(self.text("#editor-extent"), "96 × 80")
        self.find("#edge-left").send_keys(Keys.ARROW_RIGHT)  # inwards: nothing is cut off
        self.assertEqual(self.text("#edge-left"), "")
        self.click("#editor-done")
        self.wait(lambda: self.visible("#mask-settings"), "it is taken over")
        self.generate_and_wait("a beach")
        [request] = self.sent()
        self.assertEqual(request["outpaint"], [0, 16, 32, 0])
        self.assertNotIn("mask", request)
        [job] = self.server.jobs()
        self.assertEqual(job["status"], "completed")
        self.assertEqual(job["request"]["image"]["mask"]["outpaint"], [0, 16, 32, 0])

    def test_details_are_framed(self):
        self.choose(96, 64)
        self.open_editor()
        self.click("[name=tool][value=box] + span")
        scale = self.find("#editor-picture").rect["width"] / 96
        self.drag("#editor-mask", (round(-8 * scale), round(-16 * scale)), (round(24 * scale), round(16 * scale)))
        self.drag("#editor-mask", (0, 0), (round(30 * scale), 3))  # far too flat: a slip
        self.drag("#editor-mask", (round(30 * scale), round(20 * scale)), (round(21 * scale), round(14 * scale)))  # ends at the edge
        self.click("#editor-done")
        self.wait(lambda: self.visible("#mask-settings"), "a part is chosen")
        self.assertFalse(self.visible("#mask-blur-field") or self.visible("#masked-area-field"))
        self.assertEqual(self.value("#strength"), "0.6")
        self.assertEqual((self.value("#width"), self.value("#height")), ("80", "48"))
        self.generate_and_wait("an owl")
        [request] = self.sent()
        self.assertNotIn("mask", request)
        self.assertNotIn("mask_blur", request)
        # (40, 16) to (64, 32) and (78, 52) to the corner, of a picture of 96x64; the result has 80x48.
        for box, wanted in zip(request["boxes"], ([33, 12, 20, 12], [65, 39, 15, 9]), strict=True):
            for value, about in zip(box, wanted, strict=True):
                self.assertAlmostEqual(value, about, delta=1)
        [job] = self.server.jobs()
        self.assertEqual((job["status"], job["request"]["boxes"]), ("completed", request["boxes"]))
        self.open_editor()
        self.click("#editor-undo")
        self.click("#editor-undo")
        self.click("#editor-done")
        self.assertFalse(self.visible("#mask-settings"))

    def test_it_works_with_a_finger_on_a_phone(self):
        self.resize(390, 844)
        self.open_page()
        self.script(RECORD)
        self.choose()
        self.open_editor()
        self.assertLessEqual(self.script("return document.documentElement.scrollWidth"), 390)
        for selector in ("#editor-done", "#editor-undo", "#editor-stage"):
            box = self.box(selector)
            self.assertGreaterEqual(box["left"], 0)
            self.assertLessEqual(box["right"], 390)
            self.assertLessEqual(box["bottom"], 844)
        box = self.box("#editor-mask")
        x, y = box["left"] + box["width"] / 2, box["top"] + box["height"] / 2
        def touch(kind, *points):
            self.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {
                "type": kind, "touchPoints": [{"x": px, "y": py} for px, py in points]})
        touch("touchStart", (x - 30, y))
        for step in range(1, 6):
            touch("touchMove", (x - 30 + 12 * step, y))
        touch("touchEnd")
        self.wait(lambda: self.painted() > 0.01, "the finger painted")
        self.click("#editor-done")
        self.wait(lambda: self.visible("#mask-settings"), "it is taken over")


if __name__ == "__main__":
    unittest.main()
