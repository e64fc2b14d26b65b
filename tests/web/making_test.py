"""Making pictures in the page: from the prompt to the gallery, and what may happen on the way."""
import pathlib
import tempfile
import unittest

from browser import SLOW, PageTest
from selenium.webdriver.common.keys import Keys


class Making(PageTest):
    def test_a_prompt_becomes_a_picture(self):
        self.fill("#prompt", "a red apple on a blue background")
        self.switch_enhancer(False)
        self.press(Keys.CONTROL, Keys.ENTER)
        self.wait(lambda: self.visible(".tile") and self.pictures_loaded(), "the picture is there")
        self.assertEqual(self.prompts(), ["a red apple on a blue background"])
        self.assertFalse(self.visible(".card"))
        [job] = self.server.jobs()
        request = job["request"]
        size = self.script("const i = document.querySelector('.tile img'); return [i.naturalWidth, i.naturalHeight]")
        self.assertEqual(size, [request["width"], request["height"]])
        self.wait(lambda: "apple" in self.text("#announcer"), "it is announced")

    def test_a_prompt_is_text_and_nothing_else(self):
        prompt = "a <b>bold</b> tree & <img src=nowhere onerror=alert(1)>"
        self.generate_and_wait(prompt)
        self.assertEqual(self.prompts(), [prompt])
        self.assertFalse(self.exists("img[src=nowhere]"))

    def test_progress_and_preview_are_shown_and_cancel_stops(self):
        self.generate("a long job", **SLOW)
        self.wait(lambda: self.visible(".frame img"), "an unfinished picture is shown")
        self.wait(lambda: self.find("progress").get_property("value") > 0, "the bar moves")
        self.assertRegex(self.text(".stage-name"), r"Drawing, step \d+ of \d+")
        self.assertRegex(self.text(".time-left"), r"\d+ (s|min) left")
        self.assertRegex(self.browser.title, r"\d+%")
        self.click(".card .cancel")
        self.wait(lambda: not self.visible(".card"), "the job is gone")
        self.assertEqual([job["status"] for job in self.server.jobs()], ["cancelled"])
        self.assertFalse(self.exists(".tile"))

    def test_it_says_which_of_several_pictures_is_drawn(self):
        self.generate("two apples", count="2", **SLOW)
        self.wait(lambda: self.text(".stage-name").startswith("Drawing, picture 1 of 2, step "), "it is said")
        self.click(".card .cancel")
        self.wait(lambda: not self.visible(".card"), "the job is gone")
        self.generate("two more", count="2", steps="60", width="64", height="64")
        self.wait(lambda: self.text(".stage-name").startswith("Drawing, picture 2 of 2, step "), "it is said of the second")

    def test_a_lora_is_chosen_with_its_strength_and_kept(self):
        self.wait(lambda: self.visible("#lora-add"), "the server has some")
        self.click("#lora-add")
        self.assertEqual(self.find(".lora select").get_property("value"), "style")
        self.fill(".lora input", "1000")
        self.fill("#prompt", "a styled tree")
        self.click("#generate")
        self.assertIn("-100", self.text("#form-error"))
        self.fill(".lora input", "0.5")
        self.generate_and_wait("a styled tree")
        [job] = self.server.jobs()
        self.assertEqual(job["request"]["loras"], [{"name": "style", "strength": 0.5}])
        self.browser.refresh()
        self.wait(lambda: self.visible(".lora input"), "it is chosen still")
        self.assertEqual(self.find(".lora input").get_property("value"), "0.5")
        self.click(".lora button")
        self.generate_and_wait("a plain tree")
        self.assertEqual(self.server.jobs()[0]["request"]["loras"], [])

    def test_several_jobs_wait_and_a_waiting_one_can_be_cancelled(self):
        self.generate("first", **SLOW)
        self.generate("second", **SLOW)
        self.generate("third", **SLOW)
        self.wait(lambda: len(self.find_all(".card[data-status=queued]")) == 2, "two jobs wait")
        self.wait(lambda: "3" in self.text("#queue-button"), "the queue is counted")
        self.click("#queue-button")
        self.wait(lambda: len(self.find_all("#queue-jobs .badge")) == 3, "the queue lists three")
        self.wait(lambda: self.exists("#queue-workers .badge.running"), "and who works")
        self.assertEqual([title.text for title in self.find_all("#queue-jobs .row-title")], ["first", "second", "third"])
        self.assertEqual([badge.text for badge in self.find_all("#queue-jobs .badge")][1:], ["#1", "#2"])
        self.press(Keys.ESCAPE)
        self.click(".card:nth-child(3) .cancel")
        self.wait(lambda: len(self.find_all(".card")) == 2, "the third is gone")
        for job in self.server.jobs():
            if job["status"] in ("queued", "running"):
                self.server.request("POST", f"/v1/jobs/{job['id']}/cancel")
        self.wait(lambda: not self.visible(".card"), "what others cancel goes as well")

    def test_reload_keeps_settings_and_pictures(self):
        self.generate_and_wait("a tree", steps="3", count="2")
        self.browser.refresh()
        self.wait(lambda: len(self.find_all(".tile")) == 2 and self.pictures_loaded(), "the pictures are back")
        self.wait_until_ready()
        self.assertEqual(self.value("#prompt"), "a tree")
        self.assertEqual(self.value("#steps"), "3")
        self.assertEqual(self.value("#count"), "2")

    def test_reload_in_mid_job_finds_it_again(self):
        self.generate("a long job", **SLOW)
        self.wait(lambda: self.visible(".frame img"), "it runs")
        self.browser.refresh()
        self.wait(lambda: self.visible(".card[data-status=running]"), "it is found")
        self.click(".card .cancel")
        self.wait(lambda: not self.visible(".card"), "it is gone")

    def test_two_tabs_show_the_same(self):
        first = self.browser.current_window_handle
        self.browser.switch_to.new_window("tab")
        second = self.browser.current_window_handle
        self.open_page()
        self.generate_and_wait("from the second tab")
        self.browser.switch_to.window(first)
        self.wait(lambda: self.prompts() == ["from the second tab"] and self.pictures_loaded(), "the first tab has it")
        self.click(".tile-open")
        self.click("#viewer-delete")
        self.click("#confirm-yes")
        self.wait(lambda: not self.exists(".tile"), "it is deleted")
        self.browser.switch_to.window(second)
        self.wait(lambda: not self.exists(".tile"), "the second tab knows")
        self.assertEqual(self.server.jobs(), [])

    def test_a_killed_server_loses_no_job(self):
        self.expects_failing_requests = True
        self.generate("survives", steps="200", width="256", height="256")
        self.wait(lambda: self.visible(".frame img"), "it runs")
        self.server.kill()
        self.wait(lambda: self.visible("#banner"), "the page says that the server is away")
        self.server.start()
        self.wait(lambda: not self.visible("#banner"), "the page is connected again")
        self.wait(lambda: self.prompts() == ["survives"] and self.pictures_loaded(), "the picture is there")
        self.assertEqual([job["status"] for job in self.server.jobs()], ["completed"])

    def test_what_is_sent_while_the_server_is_away_arrives_once(self):
        self.expects_failing_requests = True
        self.server.kill()
        self.generate("patient")
        self.wait(lambda: self.visible(".card[data-status=unsent]"), "the job waits to be sent")
        self.server.start()
        self.wait(lambda: self.prompts() == ["patient"], "the picture is there")
        self.assertEqual(len(self.server.jobs()), 1)

    def test_the_prompt_is_enhanced_edited_and_drawn(self):
        self.fill("#prompt", "a crown")
        self.click("#enhance")
        self.wait(lambda: self.value("#enhanced"), "the enhanced prompt is shown")
        self.assertNotEqual(self.value("#enhanced"), "a crown")
        self.fill("#enhanced", "a golden crown, edited")
        self.click("#generate")
        self.wait(lambda: self.prompts() == ["a golden crown, edited"], "the picture is there")
        job = next(job for job in self.server.jobs() if job["kind"] == "image")
        self.assertFalse(job["request"]["use_pe"])

    def test_the_switch_enhances_and_the_viewer_shows_the_text(self):
        self.fill("#prompt", "a crown")
        self.switch_enhancer(True)
        self.click("#generate")
        self.wait(lambda: self.visible(".tile"), "the picture is there")
        self.click(".tile-open")
        [job] = self.server.jobs()
        self.assertTrue(job["enhanced_prompt"])
        self.assertEqual(self.text(".viewer-enhanced p"), job["enhanced_prompt"].strip())

    def test_settings_of_a_picture_make_the_same_picture(self):
        self.generate_and_wait("a blue whale", steps="4")
        self.click(".tile-open")
        self.click("#viewer-use")
        [job] = self.server.jobs()
        self.assertEqual(self.value("#seed"), str(job["images"][0]["seed"]))
        self.assertEqual(self.value("#prompt"), "a blue whale")
        self.click("#generate")
        self.wait(lambda: len(self.find_all(".tile")) == 2, "the second picture is there")
        first, second = [self.server.request("GET", job["images"][0]["url"]) for job in self.server.jobs()]
        self.assertEqual(first, second)

    def test_seeds_keep_all_their_digits(self):
        largest = str(2**64 - 1)
        self.click("label:has([value=fixed])")
        self.generate_and_wait("exact", seed=largest)
        self.assertEqual(self.server.jobs()[0]["request"]["seeds"], [int(largest)])
        self.click(".tile-open")
        self.assertIn(largest, self.text("#viewer-facts"))

    def test_reuse_last_takes_the_seed_of_the_last_picture(self):
        self.generate_and_wait("a pear")
        self.click("#seed-reuse")
        self.assertEqual(self.value("#seed"), str(self.server.jobs()[0]["request"]["seeds"][0]))

    def test_the_negative_prompt_comes_with_guidance(self):
        self.assertFalse(self.visible("#negative"))
        self.fill("#guidance", "2.5")
        self.fill("#negative", "blurry")
        self.generate_and_wait("a fox")
        request = self.server.jobs()[0]["request"]
        self.assertEqual((request["guidance_scale"], request["negative_prompt"]), (2.5, "blurry"))

    def test_more_pictures_come_page_by_page(self):
        for number in range(30):
            self.server.submit(prompt=f"number {number}", width=64, height=64, seed=number, use_pe=False)
        self.server.wait_for_all()
        self.browser.refresh()
        self.wait(lambda: len(self.find_all(".tile")) == 24, "the first page is there")
        self.click("#show-more")
        self.wait(lambda: len(self.find_all(".tile")) == 30, "the rest is there")
        self.assertFalse(self.visible("#show-more"))
        self.assertEqual(self.prompts(), [f"number {number}" for number in reversed(range(30))])

    def test_download_gives_the_file(self):
        self.generate_and_wait("a red door")
        with tempfile.TemporaryDirectory() as folder:
            self.browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": folder})
            self.click(".tile-open")
            self.click("#viewer-download")
            [job] = self.server.jobs()
            file = pathlib.Path(folder) / f"a-red-door-{job['images'][0]['seed']}.png"
            picture = self.server.request("GET", job["images"][0]["url"])
            # The browser takes the name with an empty file and puts the whole one in its place.
            self.wait(lambda: file.exists() and file.read_bytes() == picture, "the file is there and whole")

    def test_the_slider_compares_two_pictures(self):
        self.generate_and_wait("one")
        self.generate_and_wait("two")
        self.script("document.querySelectorAll('.tile-compare')[0].click()")
        self.assertTrue(self.visible("#compare-bar"))
        self.script("document.querySelectorAll('.tile-compare')[1].click()")
        self.wait(lambda: self.visible("#compare"), "they are compared")
        right_edge = "return getComputedStyle(document.querySelector('#compare-right')).clipPath"
        before = self.script(right_edge)
        self.press(Keys.ARROW_RIGHT)
        self.assertNotEqual(self.script(right_edge), before)
        self.assertEqual(self.value("#compare-slider"), "50.5")
        self.assertIn("two", self.text("#compare-facts"))
        self.press(Keys.ESCAPE)
        self.wait(lambda: not self.visible("#compare") and not self.exists(".tile.chosen"), "nothing is selected")


if __name__ == "__main__":
    unittest.main()
