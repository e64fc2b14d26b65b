"""Lists of prompts on a Ray cluster of several nodes, all on this machine, with the embedded model.

    test_ray.py [--full] [unittest's arguments]

--full: every test, on three nodes, with 300 prompts where one of them is killed; else that alone, on two nodes, with 20. Skipped (77)
without Ray, or if Ray itself does not come up, which it gives minutes.
"""
import asyncio
import base64
import collections
import concurrent.futures
import io
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
import unittest.mock
import urllib.error
import urllib.request

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # on a machine that has other things to do
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
try:
    import pyarrow.parquet
    import ray
    import ray.data
    from ray.cluster_utils import Cluster
except ImportError as missing:
    print(f"skipped: Ray is not installed: {missing}")
    sys.exit(77)

from PIL import Image, ImageChops

import ernie_image
from ernie_image import ErnieImagePipeline
from ernie_image._ray_batch import Drawer, entries_of_file, open_model
from ernie_image._ray_files import Folder
from ernie_image._ray_serve import Job, Painter, pixels_of
from ernie_image.ray import application, draw, main

FULL = "--full" in sys.argv
NODES, PROMPTS, BEFORE_THE_KILL = (3, 300, 60) if FULL else (2, 20, 4)
nightly = unittest.skipUnless(FULL, "in scripts/nightly")
SMALL = {"height": 16, "width": 16, "num_inference_steps": 1, "use_pe": False}


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(folder):
    """Records or failures, by key."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))]
    assert len({row["key"] for row in rows}) == len(rows), "a key has two files"
    return {row["key"]: row for row in rows}


def pictures(output):
    return sorted(path.stem for path in (output / "pictures").rglob("*.png"))


def open_fragile(options):
    """The embedded model in a process that ends when it is asked for "die", and whose card breaks at "break"."""
    pipe = ErnieImagePipeline.from_pretrained()

    class Fragile:
        info, device, dtype = pipe.info, pipe.device, pipe.dtype

        def __call__(self, prompts, **keywords):
            if "die" in prompts:
                os._exit(1)
            if "break" in prompts:
                raise ernie_image.DeviceError("the card is gone")
            return pipe(prompts, **keywords)

    return Fragile()


class Rows(unittest.TestCase):
    """What becomes of rows, whoever draws them."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.output = self.folder / "out"

    def check_rows(self, draw):
        source = self.folder / "rows.jsonl"
        good = [{"key": f"a/{i}", "prompt": "a panda", "seed": i} for i in range(3)] + [{"prompt": "tea \u2028 time", "note": "mine"}]
        bad = ["nonsense", '{"prompt": 3}', '{"prompt": "x", "heigth": 16}', '{"prompt": "x", "height": 20, "key": "odd"}',
               '{"prompt": "x", "seed": NaN}', '{"prompt": "x", "prompt": "y"}', '{"prompt": "zero \\u0000"}', "[" * 100000]
        text = "\n".join(["# comment", ""] + [json.dumps(row, ensure_ascii=False) for row in good] + bad)
        source.write_bytes(text.encode() + b'\n{"prompt": "\xff"}\n')
        counts = draw(source, self.output, defaults=SMALL, keep=["note"])
        self.assertEqual(counts, {"drawn": 4, "there": 0, "failed": 9})
        records, failed = table(self.output / "records"), table(self.output / "failed")
        self.assertEqual(len(failed), 9)
        self.assertIn("divisible by 16", failed["odd"]["reason"])
        for part in ("no JSON", "prompt must be text", "unknown column 'heigth'", "NaN", "twice", "zero character", "not UTF-8"):
            self.assertTrue(any(part in row["reason"] for row in failed.values()), part)
        self.assertIn("mine", [row["row"].get("note") for row in records.values()])
        pipe = ErnieImagePipeline.from_pretrained()
        for key, row in records.items():
            path = self.output / row["picture"]
            drawn = pipe(row["row"]["prompt"], generator=row["seed"], **SMALL).images[0]
            self.assertEqual(Image.open(path).tobytes(), drawn.tobytes(), key)
            self.assertEqual(ernie_image.read_record(path), row["record"])
        self.rerun(self.output / records["a/1"]["picture"])

        # The same again draws nothing; other settings are told from it.
        self.assertEqual(draw(source, self.output, defaults=SMALL, keep=["note"]), {"drawn": 0, "there": 4, "failed": 9})
        other = draw(lines(self.folder / "other.jsonl", [{"key": "a/1", "prompt": "another"}]), self.output, defaults=SMALL)
        self.assertEqual(other, {"drawn": 0, "there": 0, "failed": 1})
        self.assertEqual(len(pictures(self.output)), 4)

    def rerun(self, path):
        program = pathlib.Path(ernie_image.__file__).parent / "bin" / "ernie-image"
        again = self.folder / "again.png"
        subprocess.run([program, "rerun", path, "--model", "embedded:emoji-tiny", "--output", again], check=True, capture_output=True)
        self.assertEqual(Image.open(again).tobytes(), Image.open(path).tobytes())


def draw_here(source, output, *, defaults, keep=()):
    """The stages of a batch in this process."""
    folder = Folder(output)
    folder.make()
    folder.write_once(os.path.join(folder.path, "mark"), b"")
    drawer = Drawer(folder.path, "mark", {"model": None, "device": "cpu"}, defaults, False, open_model)
    entries = entries_of_file(pyarrow.table({"bytes": [pathlib.Path(source).read_bytes()]}), keep=keep)
    counts = collections.Counter(drawn=0, there=0, failed=0)
    counts.update(drawer(entries)["outcome"].to_pylist())
    return dict(counts)


class WithoutACluster(Rows):
    def test_rows_become_pictures_records_and_failures(self):
        self.check_rows(draw_here)


class FakePipe:
    """What a replica draws with: remembers what it was asked, and raises what it is told to."""

    info = {"height": 64, "width": 64, "num_inference_steps": 1, "guidance_scale": 1.0}

    def __init__(self):
        self.calls, self.error = [], None

    def __call__(self, prompt, height, **_):
        self.calls.append((height, prompt))
        if self.error is not None:
            raise self.error
        return types.SimpleNamespace(images=[f"{height} {each}" for each in prompt])


class Replica(unittest.TestCase):
    """What a replica of the service does with its requests, without Serve around it."""

    @classmethod
    def setUpClass(cls):
        cls.loop = asyncio.new_event_loop()  # one for all: the class has one queue, which stays with the first
        cls.addClassCleanup(cls.end)

    @classmethod
    def end(cls):
        waiting = asyncio.all_tasks(cls.loop)
        for task in waiting:
            task.cancel()
        cls.loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
        cls.loop.close()

    def setUp(self):
        self.painter = Painter({"device": "cpu"})
        self.pipe = self.painter._pipe = FakePipe()
        context = types.SimpleNamespace(_deployment_config=types.SimpleNamespace(max_ongoing_requests=32))
        patched = unittest.mock.patch("ray.serve.get_replica_context", lambda: context)  # which serve.batch asks
        patched.start()
        self.addCleanup(patched.stop)

    def draw(self, *bodies):
        async def all_at_once():
            return await asyncio.gather(*(self.painter.draw(Job(dict(body), FakePipe.info)) for body in bodies))

        return self.loop.run_until_complete(all_at_once())

    def test_draws_what_is_of_one_size_in_one_call(self):
        bodies = [{"prompt": f"panda {i}", "height": 16 + 16 * (i % 2)} for i in range(5)]
        self.assertEqual(self.draw(*bodies), [f"{body['height']} {body['prompt']}" for body in bodies])
        self.assertEqual(self.pipe.calls, [(16, ["panda 0", "panda 2", "panda 4"]), (32, ["panda 1", "panda 3"])])

    def test_fills_a_batch_to_its_megapixels(self):
        jobs = [Job({"prompt": "x", "height": height, "width": 1024}, FakePipe.info) for height in (1024, 1024, 16)]
        self.assertEqual([pixels_of(jobs[:count]) for count in (1, 2, 3)], [1, 2, 3])
        large = [{"prompt": str(i), "height": 2048, "width": 1024} for i in range(3)]  # two of them are four megapixels
        self.draw(*large)
        self.assertEqual([len(prompts) for _, prompts in self.pipe.calls], [2, 1])

    def test_a_request_that_fails_takes_no_other_with_it(self):
        def refuse(prompt, **asked):
            if "bad" in prompt:
                raise ernie_image.InvalidArgument("no")
            return self.pipe(prompt, **asked)

        self.painter._pipe = refuse
        good, bad = self.draw({"prompt": "good"}, {"prompt": "bad"})
        self.assertEqual((good, str(bad)), ("64 good", "no"))
        self.painter.check_health()

    def test_is_not_well_after_its_device_has_failed_three_times_in_turn(self):
        self.pipe.error = ernie_image.DeviceError("gone")
        for _ in range(2):
            self.assertIsInstance(self.draw({"prompt": "x"})[0], ernie_image.DeviceError)
        self.painter.check_health()
        self.pipe.error = None
        self.draw({"prompt": "x"})
        self.pipe.error = ernie_image.DeviceError("gone")
        for _ in range(3):
            self.draw({"prompt": "x"})
        with self.assertRaisesRegex(RuntimeError, "failed 3 times"):
            self.painter.check_health()


class RayTest(Rows):
    @classmethod
    def setUpClass(cls):
        try:
            cls.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
            cls.others = [cls.cluster.add_node(wait=False, num_cpus=1) for _ in range(NODES - 1)]
            cls.cluster.wait_for_nodes(timeout=300)
        except Exception as error:  # Ray has no class of its own for it
            print(f"skipped: Ray does not come up on this machine: {error}", flush=True)
            os._exit(77)
        ray.init(cls.cluster.address, log_to_driver=False, logging_level="ERROR")
        logging.getLogger("ray.data").setLevel(logging.ERROR)

    @classmethod
    def tearDownClass(cls):
        ray.shutdown()
        cls.cluster.shutdown()

    @nightly
    def test_1_rows_become_pictures_records_and_failures(self):
        self.check_rows(draw)

    @nightly
    def test_2_parquet_and_the_command(self):
        rows = pyarrow.table({"prompt": [f"panda {i}" for i in range(4)], "caption": ["c"] * 4,
                              "seed": pyarrow.array([2**63 + i for i in range(4)], pyarrow.uint64())})
        (self.folder / "table").mkdir()
        pyarrow.parquet.write_table(rows, self.folder / "table/rows.parquet")
        arguments = [str(self.folder / "table"), str(self.output), "--height", "16", "--width", "16", "--num-inference-steps", "1",
                     "--no-enhance"]
        self.assertEqual(main(arguments), 2)  # caption is unknown
        self.assertEqual(main(arguments + ["--keep", "caption"]), 0)
        records = table(self.output / "records")
        self.assertEqual(sorted(row["seed"] for row in records.values()), [2**63 + i for i in range(4)])
        self.assertEqual(ray.data.read_json(str(self.output / "records")).count(), 4)
        self.assertEqual(main([str(self.folder / "nothing"), str(self.output)]), 2)
        self.assertEqual(main(arguments + ["--device", "cuda"]), 2)
        self.assertEqual(list((self.output / "temporary").iterdir()), [])

    @nightly
    def test_3_a_prompt_that_ends_its_worker_fails_alone(self):
        source = lines(self.folder / "rows.jsonl", [{"key": word, "prompt": word} for word in ("one", "die", "two", "break", "three")])
        counts = draw(source, self.output, defaults=SMALL, batch_size=5, open_pipeline=open_fragile)
        self.assertEqual(counts["failed"], 2)
        self.assertEqual(pictures(self.output), ["one", "three", "two"])
        failed = table(self.output / "failed")
        self.assertEqual({key: row["kind"] for key, row in failed.items()}, {"die": "lost", "break": "lost"})
        self.assertEqual(list((self.output / "attempts").rglob("*.*")), [])

    def test_4_a_node_is_killed_in_the_midst(self):
        source = lines(self.folder / "rows.jsonl", [{"key": f"{i:04}", "prompt": f"a panda, number {i}"} for i in range(PROMPTS)])
        killed = []

        def kill():
            while len(pictures(self.output)) < BEFORE_THE_KILL:
                time.sleep(0.05)
            killed.append(len(pictures(self.output)))
            self.cluster.remove_node(self.others.pop(), allow_graceful=False)

        killer = threading.Thread(target=kill)
        killer.start()
        counts = draw(source, self.output, defaults={"use_pe": False})
        killer.join()
        print(f"{PROMPTS} prompts on {NODES} nodes, one killed after {killed[0]} pictures: {counts}", flush=True)
        self.assertLess(killed[0], PROMPTS)
        expected = [f"{i:04}" for i in range(PROMPTS)]
        self.assertEqual(pictures(self.output), expected)
        self.assertEqual(sorted(table(self.output / "records")), expected)
        self.assertEqual(table(self.output / "failed"), {})
        self.assertEqual(counts["drawn"] + counts["there"], PROMPTS)
        pipe = ErnieImagePipeline.from_pretrained()
        for key in expected[::max(1, PROMPTS // 10)]:
            row = json.loads(next((self.output / "records").rglob(f"{key}.json")).read_text())
            drawn = pipe(row["row"]["prompt"], generator=row["seed"], use_pe=False).images[0]
            self.assertEqual(Image.open(self.output / row["picture"]).tobytes(), drawn.tobytes())
        if FULL:
            self.assertEqual(draw(source, self.output, defaults={"use_pe": False}), {"drawn": 0, "there": PROMPTS, "failed": 0})

    @nightly
    def test_5_the_service(self):
        from ray import serve

        serve.start(proxy_location="HeadOnly", http_options={"port": PORT})
        self.addCleanup(serve.shutdown)
        serve.run(application({"num_cpus": 0.5, "wait_s": 0.2, "max_replicas": 2, "target_requests": 2}), route_prefix="/")
        pipe = ErnieImagePipeline.from_pretrained()
        self.assertEqual(urllib.request.urlopen(f"{URL}/-/healthz").read(), b"success")
        self.assertEqual(json.loads(urllib.request.urlopen(f"{URL}/info").read())["name"], "emoji-tiny")

        # Several at once, of two sizes, each answered with its own picture.
        asked = [{"prompt": f"panda {i}", "seed": i, "height": 16 + 16 * (i % 2), "width": 16, "num_inference_steps": 1, "use_pe": False}
                 for i in range(6)]
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(post, asked))
        for body, (status, headers, data) in zip(asked, answers):
            self.assertEqual((status, headers["Content-Type"], headers["X-Seed"]), (200, "image/png", str(body["seed"])), data[:300])
            drawn = pipe(body["prompt"], generator=body["seed"], **{**SMALL, "height": body["height"]}).images[0]
            difference = ImageChops.difference(Image.open(io.BytesIO(data)), drawn).getextrema()
            self.assertLessEqual(max(most for _, most in difference), 2)  # a batch rounds in another order than a picture alone

        status, _, data = post({"prompt": "panda", "seed": 1, "use_pe": False, "stream": True})
        told = [json.loads(line) for line in data.decode().splitlines()]
        self.assertEqual([line.get("step") for line in told], [*range(1, 9), None])
        self.assertEqual(Image.open(io.BytesIO(base64.b64decode(told[0]["preview"]))).size, (16, 16))
        last = Image.open(io.BytesIO(base64.b64decode(told[-1]["image"])))
        self.assertEqual(last.tobytes(), pipe("panda", generator=1, use_pe=False).images[0].tobytes())

        for body, part in (({"prompt": 3}, "prompt must be text"), ({"prompt": "x", "heigth": 1}, "heigth"), ([], "no JSON object"),
                           ({"prompt": "x", "height": 20, "use_pe": False}, "divisible by 16")):
            status, _, data = post(body)
            self.assertEqual(status, 400, data)
            self.assertIn(part, json.loads(data)["error"])

    @nightly
    def test_6_replicas_come_with_the_queue_and_are_replaced(self):
        from ray import serve

        serve.start(proxy_location="HeadOnly", http_options={"port": PORT})
        self.addCleanup(serve.shutdown)
        serve.run(application({"num_cpus": 0.5, "max_replicas": 2, "target_requests": 1, "upscale_delay_s": 1, "downscale_delay_s": 1}),
                  route_prefix="/")
        self.assertEqual(len(replicas()), 1)
        enough = threading.Event()

        def ask():
            while not enough.is_set():
                self.assertIn(post({"prompt": "panda", "height": 256, "width": 256, "use_pe": False})[0], (200, 503))

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            asking = [pool.submit(ask) for _ in range(6)]
            more = self.until(lambda: len(replicas()) == 2)
            enough.set()
        for each in asking:
            each.result()
        self.assertTrue(more, "no second replica came")
        self.assertTrue(self.until(lambda: len(replicas()) == 1), "the second replica stayed")

        lost = replicas()
        ray.kill(ray.get_actor(lost[0], namespace="serve"))
        self.assertTrue(self.until(lambda: replicas() not in ([], lost)), "no other replica came")
        self.assertTrue(self.until(lambda: post({"prompt": "panda", **SMALL})[0] == 200), "the new replica does not draw")

    @staticmethod
    def until(reached, seconds=180):
        """Whether it is, within that time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if reached():
                return True
            time.sleep(0.2)
        return False


def replicas():
    """Names of the service's actors that are running."""
    return sorted(actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if "#Painter#" in actor["name"])


PORT = 8197
URL = f"http://127.0.0.1:{PORT}"


def post(body):
    """(status, headers, body)"""
    request = urllib.request.Request(URL + "/", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


if __name__ == "__main__":
    unittest.main(argv=[argument for argument in sys.argv if argument != "--full"], verbosity=2)
