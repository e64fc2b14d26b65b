"""Clients as people have them and an OpenAPI validator against `ernie-image serve`.

  clients_test.py PROGRAM      run by the Python of the environment that has requirements.txt
"""

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

from served import Server

try:
    import aiohttp
    import ollama
    import openai
    import webuiapi
    from huggingface_hub import InferenceClient
    from openapi_spec_validator import validate
    from PIL import Image
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
    from sd_backend_client import A1111Webservice, DiffusionParams
except ImportError as error:
    print("SKIPPED: %s; see tests/server/requirements.txt and test.sh" % error)
    sys.exit(77)

PROGRAM = None
KEY = "0123456789abcdef"
PHASES = "coverage,fuzzing,stateful" if os.environ.get("ERNIE_IMAGE_LONG_TESTS") else "fuzzing,stateful"
APPLE = "a red apple on a blue background"


def picture_of(data):
    return Image.open(io.BytesIO(base64.b64decode(data)))


def png_of(colour, hole=None):
    """64 x 64 of one colour; `hole` is transparent."""
    picture = Image.new("RGBA", (64, 64), colour + (255,))
    if hole:
        picture.paste((0, 0, 0, 0), hole)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


class ClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        keys = os.path.join(cls.folder.name, "keys")
        with open(keys, "w", encoding="utf-8") as file:
            file.write("tester:%s\nlimited:fedcba9876543210:1\n" % KEY)
        os.chmod(keys, 0o600)
        cls.server = Server(PROGRAM, "--api-key-file", keys)
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key=KEY, max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()
        cls.folder.cleanup()


class OpenAiClient(ClientTest):
    def test_lists_models(self):
        models = list(self.client.models.list())
        self.assertEqual([model.id for model in models], ["emoji-tiny"])
        for name in ("emoji-tiny", "somebody/emoji-tiny", "gpt-image-2"):
            self.assertEqual(self.client.models.retrieve(name).id, "emoji-tiny")

    def test_makes_pictures_in_each_format(self):
        for name, format_name in (("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")):
            response = self.client.images.generate(prompt=APPLE, n=2, output_format=name, output_compression=90)
            self.assertEqual(len(response.data), 2)
            for image in response.data:
                picture = picture_of(image.b64_json)
                self.assertEqual((picture.format, picture.size), (format_name, (64, 64)))
            self.assertEqual(response.output_format, name)
            self.assertEqual(response.usage.total_tokens, response.usage.input_tokens + 2 * 16)

    def test_takes_every_field(self):
        response = self.client.images.generate(
            prompt=APPLE, model="EMOJI-TINY", n=1, size="96x64", quality="high", response_format="b64_json",
            output_format="png", output_compression=100, background="opaque", moderation="low", style="vivid", user="me",
            extra_body={"seed": [5], "num_inference_steps": 2, "guidance_scale": 1.0, "negative_prompt": "blurry"})
        self.assertEqual(picture_of(response.data[0].b64_json).size, (96, 64))
        self.assertEqual(response.size, "96x64")

    def test_draws_the_same_for_the_same_seed(self):
        first, second = (self.client.images.generate(prompt=APPLE, extra_body={"seed": 7}).data[0].b64_json
                         for _ in range(2))
        self.assertEqual(first, second)

    def test_gives_links(self):
        url = self.client.images.generate(prompt=APPLE, response_format="url").data[0].url
        with urllib.request.urlopen(url) as response:
            self.assertEqual(Image.open(io.BytesIO(response.read())).size, (64, 64))

    def test_streams_partial_images(self):
        events = list(self.client.images.generate(
            prompt=APPLE, stream=True, partial_images=2, extra_body={"num_inference_steps": 60}))
        kinds = [event.type for event in events]
        self.assertEqual(kinds[-1], "image_generation.completed")
        self.assertIn("image_generation.partial_image", kinds)
        self.assertEqual(picture_of(events[0].b64_json).format, "JPEG")
        self.assertEqual(picture_of(events[-1].b64_json).size, (64, 64))

    def test_learns_what_is_wrong(self):
        for fields, name in (({"size": "65x64"}, "size"), ({"n": 99}, "n"), ({"background": "transparent"}, "background")):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.client.images.generate(prompt=APPLE, **fields)
            self.assertEqual(caught.exception.param, name)
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.images.generate(prompt=APPLE, model="sdxl")
        self.assertEqual(caught.exception.code, "model_not_found")
        with self.assertRaises(openai.AuthenticationError) as caught:
            self.client.with_options(api_key="wrong").images.generate(prompt=APPLE)
        self.assertEqual(caught.exception.code, "invalid_api_key")

    def test_edits_a_picture(self):
        picture, mask = png_of((200, 30, 30)), png_of((255, 255, 255), hole=(0, 0, 32, 64))
        edited = self.client.images.edit(image=("in.png", picture), mask=("mask.png", mask), prompt=APPLE, n=2,
                                         extra_body={"num_inference_steps": 2, "seed": 1})
        self.assertEqual(len(edited.data), 2)
        result = picture_of(edited.data[0].b64_json).convert("RGB")
        self.assertEqual(result.size, (64, 64))
        self.assertEqual(result.getpixel((40, 10)), (200, 30, 30))  # outside of the hole
        listed = self.client.images.edit(image=[("in.png", picture)], prompt=APPLE, size="64x64",
                                         extra_body={"num_inference_steps": 2, "strength": 0.5})
        self.assertEqual(picture_of(listed.data[0].b64_json).size, (64, 64))
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.images.edit(image=("in.png", b"no picture"), prompt=APPLE)
        self.assertEqual(caught.exception.param, "image")
        events = list(self.client.images.edit(image=("in.png", picture), prompt=APPLE, stream=True, partial_images=1,
                                              extra_body={"num_inference_steps": 2}))
        self.assertEqual([e.type for e in events], ["image_edit.partial_image", "image_edit.completed"])
        varied = self.client.images.create_variation(image=("in.png", picture), n=1)
        self.assertEqual(picture_of(varied.data[0].b64_json).size, (64, 64))

    def test_takes_our_own_options(self):
        made = self.client.images.generate(prompt=APPLE, n=2, extra_body={
            "seed": [5, 5], "variation_seed": 9, "variation_strength": 0.3, "num_inference_steps": 2, "hires_scale": 2,
            "hires_strength": 0.5, "boxes": [[0, 0, 64, 64]], "strength": 0.4})
        first, second = (picture_of(image.b64_json) for image in made.data)
        self.assertEqual(first.size, (128, 128))
        self.assertNotEqual(first.tobytes(), second.tobytes())

    def test_is_limited_by_its_quota(self):
        limited = self.client.with_options(api_key="fedcba9876543210")
        limited.images.generate(prompt=APPLE)
        with self.assertRaises(openai.RateLimitError) as caught:
            limited.images.generate(prompt=APPLE)
        self.assertGreater(int(caught.exception.response.headers["Retry-After"]), 0)

    def test_works_at_baidus_path(self):
        client = openai.OpenAI(base_url=self.server.url + "/llm/lmapi/v3", api_key=KEY)
        response = client.images.generate(model="emoji-tiny", prompt=APPLE, n=1, response_format="b64_json",
                                          size="64x64", extra_body={"seed": 42, "use_pe": False,
                                                                    "num_inference_steps": 8, "guidance_scale": 1.0})
        self.assertEqual(picture_of(response.data[0].b64_json).size, (64, 64))


class OpenWebUi(ClientTest):
    """Its edit engine "openai" as release 0.12.4 calls it (routers/images.py): a form of aiohttp's, text fields first, the
    picture as `image`, or as `image[]` from a list; the model's name is empty until the admin writes one."""

    def edit(self, name, key=KEY, **fields):
        async def post():
            form = aiohttp.FormData()
            for field, value in {"model": "", "prompt": APPLE, "n": 1, "size": "64x64", "response_format": "b64_json", **fields}.items():
                form.add_field(field, str(value))
            form.add_field(name, io.BytesIO(png_of((200, 30, 30))), filename="3f1c.png", content_type="image/png")
            async with aiohttp.ClientSession() as session:
                async with session.post(self.server.url + "/v1/images/edits", headers={"Authorization": "Bearer " + key},
                                        data=form) as response:
                    return response.status, await response.json(content_type=None)
        return asyncio.run(post())

    def test_edits_a_picture(self):
        for name in ("image", "image[]"):
            status, answer = self.edit(name)
            self.assertEqual(status, 200, answer)
            self.assertEqual(picture_of(answer["data"][0]["b64_json"]).size, (64, 64))
        self.assertEqual(self.edit("image", model="emoji-tiny", background="auto")[0], 200)
        self.assertEqual(self.edit("image", key="wrong")[0], 401)
        self.assertEqual(self.edit("image", model="other")[0], 404)


class A1111Client(ClientTest):
    def setUp(self):
        self.api = webuiapi.WebUIApi(host="127.0.0.1", port=self.server.port, sampler="Euler", steps=4)
        self.api.set_auth("anybody", KEY)

    def test_makes_a_picture_and_reads_it_again(self):
        result = self.api.txt2img(prompt=APPLE, seed=3, cfg_scale=1, width=64, height=64)
        self.assertEqual(result.image.size, (64, 64))
        self.assertEqual((result.info["seed"], result.info["all_seeds"]), (3, [3]))
        info = self.api.png_info(result.image).info
        self.assertIn("Seed: 3", info)
        # The prompt enhancer, on unless a request says otherwise, has written a caption of its own.
        self.assertIn("red apple", info.splitlines()[0])

    def test_draws_from_a_picture(self):
        picture = Image.new("RGB", (64, 64), (30, 200, 30))
        result = self.api.img2img(images=[picture], prompt=APPLE, seed=3, cfg_scale=1, steps=4, width=64, height=64,
                                  denoising_strength=0.5)
        self.assertEqual(result.image.size, (64, 64))
        self.assertIn("Denoising strength: 0.5", result.info["infotexts"][0])
        mask = Image.new("L", (64, 64), 0)
        mask.paste(255, (0, 0, 64, 32))
        result = self.api.img2img(images=[picture], mask_image=mask, prompt=APPLE, cfg_scale=1, steps=4, width=64, height=64,
                                  denoising_strength=0.9, mask_blur=0)  # of the masked part alone, unless told otherwise
        self.assertEqual(result.image.convert("RGB").getpixel((10, 50)), (30, 200, 30))

    def test_draws_larger_and_varies(self):
        common = {"prompt": APPLE, "seed": 3, "cfg_scale": 1, "steps": 2, "width": 64, "height": 64}
        larger = self.api.txt2img(**common, enable_hr=True, hr_scale=2, denoising_strength=0.5)
        self.assertEqual(larger.image.size, (128, 128))
        self.assertIn("Hires upscale: 2", larger.info["infotexts"][0])
        plain, varied, other = (self.api.txt2img(**common, subseed=7, subseed_strength=strength).image.tobytes()
                                for strength in (0, 0.3, 1))
        self.assertEqual(len({plain, varied, other}), 3)

    def test_makes_batches(self):
        result = self.api.txt2img(prompt=APPLE, seed=3, cfg_scale=1, width=64, height=64, batch_size=2, n_iter=2)
        self.assertEqual(len(result.images), 4)
        self.assertEqual(result.info["all_seeds"], [3, 4, 5, 6])

    def test_shows_progress_and_interrupts(self):
        results = []
        asker = threading.Thread(target=lambda: results.append(
            self.api.txt2img(prompt=APPLE, steps=200, cfg_scale=1, width=256, height=256)))
        asker.start()
        deadline = time.monotonic() + 60
        progress = self.api.get_progress()
        while progress["current_image"] is None and time.monotonic() < deadline:
            progress = self.api.get_progress()
        self.assertEqual(picture_of(progress["current_image"]).format, "JPEG")
        self.assertGreater(progress["state"]["sampling_steps"], 0)
        self.api.interrupt()
        asker.join(60)
        self.assertEqual(results[0].images, [])

    def test_finds_its_lists_and_options(self):
        self.assertEqual(self.api.util_get_model_names(), ["emoji-tiny"])
        self.api.util_set_model("emoji")
        self.assertEqual(self.api.util_get_current_model(), "emoji-tiny")
        self.assertEqual(self.api.util_get_sampler_names(), ["Euler"])
        self.assertEqual([s["name"] for s in self.api.get_schedulers()], ["simple"])
        self.assertEqual(self.api.get_loras(), [])
        self.assertEqual([u["name"] for u in self.api.get_upscalers()], ["None"])
        self.api.skip()


class OtherClients(ClientTest):
    def test_hugging_faces_inference_client(self):
        for address in (self.server.url, self.server.url + "/v1"):
            picture = InferenceClient(base_url=address, api_key=KEY).text_to_image(
                APPLE, width=96, height=64, num_inference_steps=2, guidance_scale=1.0, seed=3)
            self.assertEqual(picture.size, (96, 64))

    def test_ollama(self):
        client = ollama.Client(host=self.server.url, headers={"Authorization": "Bearer " + KEY})
        self.assertEqual([model.model for model in client.list().models], ["emoji-tiny:latest"])
        self.assertEqual(client.show("emoji-tiny").capabilities, ["image"])
        whole = client.generate(model="emoji-tiny", prompt=APPLE, width=96, height=64, steps=2)
        self.assertEqual(picture_of(whole.image).size, (96, 64))
        parts = list(client.generate(model="emoji-tiny:latest", prompt=APPLE, steps=3, stream=True))
        self.assertEqual((parts[0].total, parts[-1].done), (3, True))
        self.assertEqual(picture_of(parts[-1].image).size, (64, 64))
        with self.assertRaises(ollama.ResponseError) as caught:
            client.generate(model="other", prompt=APPLE)
        self.assertIn("no model of that name", caught.exception.error)

    def test_sd_backend_client(self):
        service = A1111Webservice(self.server.url, credentials_provider=lambda: ("anybody", KEY))
        service.login_check()
        result = service.submit_txt2img(DiffusionParams(
            prompt=APPLE, steps=4, cfg_scale=1.0, seed=3, width=64, height=64)).wait(60)
        self.assertEqual(([image.size for image in result.images], result.seeds), ([(64, 64)], [3]))
        self.assertEqual([model.name for model in service.list_checkpoints()], ["emoji-tiny"])
        service.list_vaes(), service.list_loras(), service.list_upscalers()

    def test_open_metrics(self):
        text = self.server.request("GET", "/metrics", headers={
            "Accept": "application/openmetrics-text", "Authorization": "Bearer " + KEY})[2].decode()
        self.assertIn("ernie_image_http_requests", {family.name for family in text_string_to_metric_families(text)})

    def test_files_say_what_the_answers_say(self):
        body = {"prompt": APPLE + "\nSteps: 3, a: b", "negative_prompt": "x\nNegative prompt: y", "seed": 5, "steps": 4,
                "width": 64, "height": 64, "batch_size": 2, "use_pe": False}
        headers = {"Authorization": "Bearer " + KEY}
        answer = self.server.request("POST", "/sdapi/v1/txt2img", body, headers)[2]
        info = json.loads(answer["info"])
        for text, image in zip(info["infotexts"], answer["images"]):
            self.assertEqual(picture_of(image).info["parameters"], text)
        found = self.server.request("POST", "/sdapi/v1/png-info", {"image": answer["images"][0]}, headers)[2]
        self.assertEqual(found["parameters"]["Prompt"], body["prompt"])
        self.assertEqual(found["parameters"]["Negative prompt"], body["negative_prompt"])


class OpenApiDocument(ClientTest):
    def test_makes_a_client_that_draws(self):
        """openapi-python-client's, whose modules of jobs have to be there."""
        document = os.path.join(self.folder.name, "openapi.json")
        with open(document, "w", encoding="utf-8") as file:
            json.dump(self.server.get("/openapi.json")[2], file)
        generator = os.path.join(os.path.dirname(sys.executable), "openapi-python-client")
        subprocess.run([generator, "generate", "--path", document, "--meta", "none", "--output-path",
                        os.path.join(self.folder.name, "generated")], check=True, capture_output=True)
        sys.path.insert(0, self.folder.name)
        from generated import AuthenticatedClient
        from generated.api.jobs import create_job, get_job
        from generated.models import JobRequest
        client = AuthenticatedClient(base_url=self.server.url, token=KEY)
        job = create_job.sync(client=client, body=JobRequest(prompt=APPLE, num_inference_steps=2))
        self.server.wait_until(lambda: get_job.sync(job.id, client=client).status.value == "completed", 60)
        self.assertEqual(len(get_job.sync(job.id, client=client).images), 1)

    def test_holds_for_whatever_is_asked(self):
        """schemathesis with all its checks: a few requests for each path, and what follows from their answers; at night also
        each value at the edge of what the document allows, and beyond it, which are thousands."""
        tester = os.path.join(os.path.dirname(sys.executable), "schemathesis")
        if not os.path.exists(tester):
            self.skipTest("without schemathesis, which test.sh installs")
        limits = ["--max-megapixels", "0.0042", "--max-images", "2", "--max-steps", "8", "--max-queue", "10000"]
        with Server(PROGRAM, "--api-key-file", os.path.join(self.folder.name, "keys"), *limits) as server:
            run = subprocess.run([tester, "--config-file", os.path.join(os.path.dirname(__file__), "schemathesis.toml"),
                                  "run", server.url + "/openapi.json", "--header", "Authorization: Bearer " + KEY,
                                  "--checks", "all", "--phases", PHASES, "--max-examples", "2", "--seed", "1",
                                  "--no-shrink", "--no-color", "--continue-on-failure"],
                                 cwd=self.folder.name, capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stdout)

    def test_is_valid(self):
        document = self.server.get("/openapi.json")[2]
        validate(document)
        self.assertEqual(document["info"]["version"], self.server.get("/v1/capabilities")[2]["version"])

    def test_names_paths_that_exist(self):
        document = self.server.get("/openapi.json")[2]
        for path, item in document["paths"].items():
            concrete = path.replace("{index}", "0").replace("{model}", "emoji-tiny").replace("{", "").replace("}", "")
            for method in set(item) & {"get", "post", "delete"}:
                status, _, body = self.server.request(method.upper(), concrete, {} if method == "post" else None)
                is_there = status != 405 and not (status == 404 and "no such path" in json.dumps(str(body)))
                self.assertTrue(is_there, (method, path, status, body))


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
