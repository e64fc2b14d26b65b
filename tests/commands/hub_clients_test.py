"""`ernie-image pull` with the real clients of Hugging Face and ModelScope, against a hub on loopback.

  hub_clients_test.py PROGRAM MODEL_FOLDER

Run with the Python of an environment that has the clients; without them it is skipped.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from model_hub import Hub

PROGRAM = MODEL = None
CLIENTS = os.path.dirname(sys.executable)
ID = "baidu/Tiny.v1.5"  # dots were written otherwise by earlier clients


class HubClientsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.environment = {"HOME": folder.name, "PATH": CLIENTS + ":/usr/bin:/bin"}

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, *arguments], env=self.environment, cwd=self.environment["HOME"],
                              capture_output=True, text=True, timeout=120)

    def check_client(self, client, cache):
        with Hub(MODEL, ID) as hub:
            hub.refused = {"vae/config.json"}
            failed = self.run_program("pull", ID, "--client", client, "--mirror", hub.url)
            self.assertEqual(failed.returncode, 1, failed.stderr)
            self.assertIn("ended with status", failed.stderr)
            hub.refused = set()
            before = len(hub.requests)
            done = self.run_program("pull", ID, "--client", client, "--mirror", hub.url)
            self.assertEqual(done.returncode, 0, done.stderr)
            # What the first run has fetched is not fetched again; a client may end while files are on their way.
            weights = [name for name in hub.files if name.endswith(".safetensors")]
            again = [line for line in hub.requests[before:] if line.startswith("GET") and ".safetensors" in line
                     and ".json" not in line]
            self.assertLess(len(again), len(weights) // 2, again)
        folder = done.stdout.strip().splitlines()[-1]
        self.assertTrue(folder.startswith(os.path.join(self.environment["HOME"], ".cache", cache)), folder)
        made = self.run_program("generate", "-m", ID, "a dog", "--no-enhance", "--steps", "1", "-W", "32", "-H", "32",
                                "-o", "a.png")
        self.assertEqual(made.returncode, 0, made.stderr)
        shutil.rmtree(os.path.join(self.environment["HOME"], ".cache"))
        lost = self.run_program("generate", "-m", ID, "a dog", "-o", "b.png")
        self.assertEqual(lost.returncode, 1)
        self.assertIn("hf download " + ID + "\n  modelscope download --model " + ID, lost.stderr)

    def test_hugging_face(self):
        self.check_client("hf", "huggingface/hub")

    def test_modelscope(self):
        self.check_client("modelscope", "modelscope/models/baidu--Tiny.v1.5/snapshots/master")

    def test_a_hub_that_cannot_be_reached(self):
        run = self.run_program("pull", ID, "--mirror", "http://127.0.0.1:1")
        self.assertEqual(run.returncode, 1)
        self.assertIn("name another with --mirror", run.stderr)


if __name__ == "__main__":
    if not all(os.access(os.path.join(CLIENTS, name), os.X_OK) for name in ("hf", "modelscope")):
        print("skipped: no clients of the hubs beside " + sys.executable)
        sys.exit(77)
    MODEL = sys.argv.pop()
    PROGRAM = sys.argv.pop()
    unittest.main()
