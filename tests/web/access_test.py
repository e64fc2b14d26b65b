"""The page for everybody: keyboard, screen reader, phone, dark and light, two languages, keys and errors."""
import pathlib
import re
import unittest

from browser import SLOW, PageTest
from selenium.webdriver.common.keys import Keys

PAGE = pathlib.Path(__file__).parents[2] / "apps/server/web"
CONTROLS = {"button", "textbox", "slider", "spinbutton", "checkbox", "switch", "radio", "radiogroup", "combobox", "link",
            "dialog", "progressbar", "article", "DisclosureTriangle", "form", "image", "region"}
# WCAG 2.2 AA, 1.4.3: 4.5 for text. A text's background is the nearest opaque colour behind it.
CONTRASTS = """
const channel = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const parse = c => { const [r, g, b, a = 1] = c.match(/[\\d.]+/g).map(Number); return { rgb: [r, g, b].map(v => v / 255), a }; };
const luminance = rgb => rgb.map(channel).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a > 0.99) return c.rgb; }
                      return parse(getComputedStyle(document.documentElement).backgroundColor).rgb; };
const low = [];
for (const e of document.querySelectorAll('body *')) {
  const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!text || !e.checkVisibility({ visibilityProperty: true }) || e.closest(':disabled, .unseen, .over, .count, .skip, noscript, option')) continue;
  if (document.querySelector('dialog[open]') && !e.closest('dialog[open]')) continue;
  const [a, b] = [luminance(parse(getComputedStyle(e).color).rgb), luminance(behind(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) low.push(`${e.tagName}.${e.className} "${e.textContent.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
}
return low;
"""
TOO_WIDE = """
return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('.unseen, .skip, svg')
    && (e.getBoundingClientRect().right > innerWidth + 0.5 || e.getBoundingClientRect().left < -0.5))
  .map(e => `${e.tagName}#${e.id}.${e.className}`);
"""


def language_keys(text, language):
    block = re.search(rf"^  {language}: \{{\n(.*?)^  \}},", text, re.M | re.S).group(1)
    return set(re.findall(r"^    (\w+):", block, re.M))


class Dictionary(unittest.TestCase):
    def test_languages_say_the_same_and_nothing_is_unused(self):
        text = (PAGE / "dictionary.js").read_text()
        english = language_keys(text, "en")
        self.assertEqual(english, language_keys(text, "zh"))
        sources = "".join(file.read_text() for file in PAGE.iterdir() if file.name != "dictionary.js")
        used = set(re.findall(r'data-t(?:-\w+)?="(\w+)"', sources))
        used |= {key for key in english if re.search(rf'["\']{key}["\']', sources)}
        prefixes = re.findall(r"t\(`(\w+_)\$", sources)  # t(`stage_${name}`)
        used |= {key for key in english for prefix in prefixes if key.startswith(prefix)}
        self.assertEqual(used, english)

    def test_the_page_names_nothing_outside_itself(self):
        for file in PAGE.iterdir():
            with self.subTest(file.name):
                urls = set(re.findall(r"https?://[^\s\"'<)]+", file.read_text()))
                self.assertLessEqual(urls, {"http://www.w3.org/2000/svg"})  # the name of a namespace

    def test_only_text_is_put_into_the_page(self):
        for file in PAGE.glob("*.js"):
            with self.subTest(file.name):
                self.assertNotRegex(file.read_text(), r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b")


class Access(PageTest):
    def open_states(self):
        """Everything that the page can show, one after the other."""
        self.generate_and_wait("a picture with a rather long prompt, so that it must be cut off somewhere in a list")
        self.generate_and_wait("second")
        self.fill("#guidance", "2")
        self.click("label:has([value=fixed])")
        self.click("summary")
        self.click(".size.custom")
        yield "gallery"
        self.click(".tile-open")
        yield "viewer"
        self.click("#viewer-delete")
        yield "confirm"
        self.press(Keys.ESCAPE)
        self.press(Keys.ESCAPE)
        self.wait(lambda: not self.visible("dialog"), "the dialogs are closed")
        self.script("document.querySelectorAll('.tile-compare').forEach(button => button.click())")
        yield "compare"
        self.press(Keys.ESCAPE)
        self.wait(lambda: not self.visible("dialog"), "the dialog is closed")
        self.generate("a long job", **SLOW)
        self.wait(lambda: self.visible(".frame img"), "it runs")
        yield "running"
        self.click("#queue-button")
        yield "queue"
        self.press(Keys.ESCAPE)
        self.click(".card .cancel")
        self.wait(lambda: not self.visible(".card"), "the job is gone")

    def nameless(self):
        nodes = self.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [node["role"]["value"] for node in nodes if not node["ignored"] and node["role"]["value"] in CONTROLS
                and not node.get("name", {}).get("value", "").strip()]

    def test_every_control_has_a_name(self):
        for state in self.open_states():
            with self.subTest(state):
                self.assertEqual(self.nameless(), [])

    def test_text_stands_out_from_its_background(self):
        for state in self.open_states():
            for scheme in ("light", "dark"):
                with self.subTest(f"{state}, {scheme}"):
                    self.emulate_scheme(scheme)
                    self.wait(lambda: self.script("return document.documentElement.dataset.theme") == scheme, scheme)
                    self.assertEqual(self.script(CONTRASTS), [])
        self.emulate_scheme("light")

    def test_nothing_is_wider_than_a_phone(self):
        self.resize(390, 844)
        for state in self.open_states():
            for width in (390, 360):
                with self.subTest(f"{state}, {width} px"):
                    self.resize(width, 844)
                    self.assertEqual(self.script(TOO_WIDE), [])
                    self.assertLessEqual(self.script("return document.documentElement.scrollWidth"), width)

    def test_on_a_phone_the_job_comes_into_view(self):
        self.resize(390, 844)
        self.generate("a long job", **SLOW)
        self.wait(lambda: self.script("const e = document.querySelector('.card'); return e !== null && "
                                      "e.getBoundingClientRect().top < innerHeight - 100"), "the job is in view")
        self.click(".card .cancel")
        self.wait(lambda: not self.visible(".card"), "the job is gone")

    def test_keyboard_alone_is_enough(self):
        self.press(Keys.TAB)
        self.assertEqual(self.focused(), "skip")
        self.press(Keys.ENTER)
        self.press(Keys.TAB)
        self.script("document.querySelector('#prompt').focus()")
        self.press("a blue house")
        self.press(Keys.CONTROL, Keys.ENTER)
        self.wait(lambda: self.visible(".tile") and self.pictures_loaded(), "the picture is there")
        self.script("document.querySelector('#generate').focus()")
        for _ in range(8):  # past what searches and selects among the pictures
            self.press(Keys.TAB)
            if self.focused() == "tile-open":
                break
        self.assertEqual(self.focused(), "tile-open")
        outline = self.script("return getComputedStyle(document.activeElement).outlineStyle")
        self.assertEqual(outline, "solid")
        self.press(Keys.ENTER)
        self.assertTrue(self.visible("#viewer"))
        self.assertEqual(self.focused(), "viewer-use")
        self.press(Keys.ESCAPE)
        self.wait(lambda: not self.visible("#viewer") and self.focused() == "tile-open", "the focus is back")

    def test_arrow_keys_turn_the_pages_of_the_viewer(self):
        self.generate_and_wait("older")
        self.generate_and_wait("newer")
        self.click(".tile-open")
        self.assertEqual(self.text(".viewer-prompt"), "newer")
        self.press(Keys.ARROW_RIGHT)
        self.assertEqual(self.text(".viewer-prompt"), "older")
        self.assertFalse(self.find("#viewer-next").is_enabled())
        self.press(Keys.ARROW_LEFT)
        self.assertEqual(self.text(".viewer-prompt"), "newer")

    def test_the_language_changes_and_stays(self):
        self.generate_and_wait("a lamp")
        self.assertEqual(self.script("return document.documentElement.lang"), "en")
        self.click("#language")
        self.assertEqual(self.script("return document.documentElement.lang"), "zh-CN")
        self.assertEqual(self.text("#generate span"), "生成")
        self.assertIn("打开", self.find(".tile-open").get_attribute("aria-label"))
        self.browser.refresh()
        self.wait_until_ready()
        self.assertEqual(self.text("#generate span"), "生成")
        self.click("#language")
        self.assertEqual(self.text("#generate span"), "Generate")

    def test_chinese_browsers_get_chinese(self):
        self.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {
            "source": "Object.defineProperty(navigator, 'languages', { get: () => ['zh-TW', 'en'] })"})
        self.browser.refresh()
        self.wait_until_ready()
        self.assertEqual(self.text("#pictures-title"), "图片")
        type(self).browser.quit()
        type(self).setUpClass()
        self.browser.get(self.server.url)

    def test_the_theme_follows_the_system_until_it_is_chosen(self):
        background = "return getComputedStyle(document.documentElement).backgroundColor"
        self.emulate_scheme("light")
        light = self.script(background)
        self.emulate_scheme("dark")
        self.wait(lambda: self.script(background) != light, "it is dark")
        self.click("#theme")
        self.assertEqual(self.script(background), light)
        self.browser.refresh()
        self.wait_until_ready()
        self.assertEqual(self.script(background), light)
        self.click("#theme")
        self.emulate_scheme("light")
        self.wait(lambda: self.script(background) == light, "it follows again")

    def test_a_prompt_is_text_and_nothing_else(self):
        prompt = "<img src=x onerror=\"document.title='owned'\"><b>bold</b> {model} \" ' \\ \u202e ‮"
        self.server.submit(prompt=prompt, width=64, height=64, use_pe=False)
        self.server.wait_for_all()
        self.browser.refresh()
        self.wait(lambda: self.exists(".tile"), "the picture is there")
        self.assertEqual(self.prompts(), [prompt])
        self.click(".tile-open")
        self.assertFalse(self.exists("main b, dialog b, img[src=x]"))
        self.assertNotIn("owned", self.browser.title)

    def test_mistakes_are_told_where_they_are(self):
        self.click("#generate")
        self.assertIn("Describe", self.text("#form-error"))
        self.assertEqual(self.focused(), "prompt")
        self.fill("#prompt", "a cat")
        self.assertFalse(self.visible("#form-error"))
        self.set_size("100", "64")
        for field, wrong, words in (("width", "100", "multiples"), ("steps", "0", "Steps: from 1 to"), ("seed", "-1", "seed"),
                                    ("seed", "1, 2", "2 seeds for 1 pictures"), ("seed", "18446744073709551616", "seed")):
            with self.subTest(f"{field} {wrong}"):
                if field == "seed":
                    self.click("label:has([value=fixed])")
                before = self.value(f"#{field}")
                self.fill(f"#{field}", wrong)
                self.click("#generate")
                self.assertIn(words, self.text("#form-error"))
                self.assertEqual(self.find(f"#{field}").get_attribute("aria-invalid"), "true")
                self.assertEqual(self.focused(), field)
                self.fill(f"#{field}", "64" if field == "width" else before or "7")
        self.assertEqual(self.server.jobs(), [])

    def test_what_the_server_refuses_is_told(self):
        self.expects_failing_requests = True
        self.fill("#prompt", "a cat")
        self.script("const fetched = window.fetch; window.fetch = (path, options) => "
                    "fetched(path, options?.body ? { ...options, body: options.body.replace(/\"num_inference_steps\":\\d+/, '\"num_inference_steps\":9999') } : options)")
        self.click("#generate")
        self.wait(lambda: self.visible("#form-error"), "the server's words are shown")
        self.assertIn("num_inference_steps", self.text("#form-error"))
        self.assertEqual(self.focused(), "steps")
        self.assertFalse(self.visible(".card"))


class WithKey(PageTest):
    """A server that wants an API key."""

    KEY = "correct-horse-battery-staple"

    def setUp(self):
        self.expects_failing_requests = True  # 401 is how the page learns it
        self.start_server(key=self.KEY)
        self.browser.get(self.server.url + "/")
        self.wait(lambda: self.visible("#key"), "the key is asked for")

    def enter(self, key):
        self.fill("#key-input", key)
        self.press(Keys.ENTER)

    def test_the_key_is_asked_for_once_and_kept(self):
        self.enter("wrong")
        self.wait(lambda: self.visible("#key-error"), "the wrong key is refused")
        self.enter(self.KEY)
        self.wait_until_ready()
        self.generate_and_wait("with a key", **SLOW | {"steps": "5"})
        self.browser.refresh()
        self.wait(lambda: self.visible(".tile") and self.pictures_loaded(), "the picture is back")
        self.assertFalse(self.visible("#key"))

    def test_without_a_key_the_page_says_what_it_needs(self):
        self.press(Keys.ESCAPE)
        self.wait(lambda: self.visible("#banner button"), "the page says so")
        self.click("#banner button")
        self.enter(self.KEY)
        self.wait(lambda: not self.visible("#banner"), "the page works")


if __name__ == "__main__":
    unittest.main()
