"""A headless Chromium, the page in it, and what every test of the page needs."""
import contextlib
import json
import shutil
import sys
import time
import unittest

try:
    from selenium import webdriver
except ImportError:
    print("skipped: no selenium")
    sys.exit(77)
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from server import DEADLINE_S, Server

# Long enough to be watched and cancelled, 20 s and more; nobody waits for its end.
SLOW = {"steps": "200", "width": "512", "height": "512"}


if not shutil.which("chromedriver"):
    print("skipped: no chromedriver")
    sys.exit(77)


def start_browser(language="en"):
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--lang={language}",
                     "--window-size=1280,900", "--disable-background-networking"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)


class PageTest(unittest.TestCase):
    """A browser for the class, a server for each test. After each test the console must hold no error, and no request
    may have gone anywhere but to the server."""

    expects_failing_requests = False  # a test sets it where the server is away or refuses

    @classmethod
    def setUpClass(cls):
        cls.browser = start_browser()
        cls.addClassCleanup(cls.browser.quit)

    def setUp(self):
        self.start_server()
        self.resize(1280, 900)
        self.emulate_scheme("light")
        self.open_page()

    def start_server(self, **options):
        self.server = Server(**options)
        self.addCleanup(self.server.close)

    def tearDown(self):
        for handle in self.browser.window_handles[1:]:
            self.browser.switch_to.window(handle)
            self.browser.close()
        self.browser.switch_to.window(self.browser.window_handles[0])
        self.browser.get("about:blank")
        errors = [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]
        if self.expects_failing_requests:
            errors = [error for error in errors if "Failed to load resource" not in error and "net::ERR" not in error]
        hosts = self.requested_elsewhere()
        self.assertEqual(errors, [])
        self.assertEqual(hosts, [])

    def requested_elsewhere(self):
        messages = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        urls = [message["params"]["request"]["url"] for message in messages
                if message["method"] == "Network.requestWillBeSent"]
        own = (self.server.url + "/", "data:", f"blob:{self.server.url}/", "about:", "chrome:")
        return [url for url in urls if not url.startswith(own)]

    # --- looking

    def open_page(self):
        self.browser.get(self.server.url + "/")
        self.wait_until_ready()

    def wait_until_ready(self):
        self.wait(lambda: self.exists("#sizes input:checked"), "the form is ready")

    def resize(self, width, height):
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})

    def emulate_scheme(self, scheme):
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                     {"features": [{"name": "prefers-color-scheme", "value": scheme},
                                                   {"name": "prefers-reduced-motion", "value": "reduce"}]})

    def script(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def exists(self, selector):
        return bool(self.find_all(selector))

    def visible(self, selector):
        with contextlib.suppress(StaleElementReferenceException):
            return any(element.is_displayed() for element in self.find_all(selector))
        return False

    def text(self, selector):
        return self.find(selector).text

    def value(self, selector):
        return self.find(selector).get_property("value")

    def focused(self):
        return self.script("return document.activeElement.id || document.activeElement.className")

    def wait(self, condition, what):
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(StaleElementReferenceException):
                if condition():
                    return
            if time.monotonic() > deadline:
                self.fail(f"waited in vain until {what}")
            time.sleep(0.05)

    # --- doing

    def click(self, selector):
        """What stands there when it is clicked: the page draws a card anew with each news of its job."""
        def clicked():
            element = self.find(selector)
            self.script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.wait(clicked, f"{selector} could be clicked")

    def fill(self, selector, text):
        element = self.find(selector)
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(Keys.CONTROL, Keys.NULL)
        element.send_keys(Keys.DELETE)
        element.send_keys(text)

    def press(self, *keys):
        chain = ActionChains(self.browser)
        for key in keys[:-1]:
            chain.key_down(key)
        chain.send_keys(keys[-1])
        for key in keys[:-1]:
            chain.key_up(key)
        chain.perform()

    def set_size(self, width, height):
        self.click(".size.custom")
        self.fill("#width", width)
        self.fill("#height", height)

    def generate(self, prompt, **settings):
        self.fill("#prompt", prompt)
        if "width" in settings:
            self.set_size(settings.pop("width"), settings.pop("height"))
        for name, text in settings.items():
            self.fill(f"#{name}", text)
        self.switch_enhancer(False)
        self.click("#generate")

    def switch_enhancer(self, on):
        if self.visible("#use-pe") and self.find("#use-pe").is_selected() != on:
            self.click("#use-pe")

    def generate_and_wait(self, prompt, **settings):
        before = len(self.find_all(".tile"))
        self.generate(prompt, **settings)
        self.wait(lambda: len(self.find_all(".tile")) > before and self.pictures_loaded(), "the picture is there")

    def pictures_loaded(self):
        return self.script("return [...document.querySelectorAll('.tile img')].every(i => i.naturalWidth > 0)")

    def prompts(self):
        return self.script("return [...document.querySelectorAll('.tile-text')].map(e => e.textContent)")
