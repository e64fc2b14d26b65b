"""Every command of docs/server.md is run as it stands there, against a server on another port and with a job's real id.

  docs_test.py PROGRAM      best run by the Python of the environment that has requirements.txt
"""

import json
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from served import Server

PROGRAM = None
ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "images" / "panda.png"  # files are known by their content
PAGE = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:7860"
SECONDS = 240
# What is left out: a model that is not on this machine.
REAL_MODEL = "--model baidu/ERNIE-Image-Turbo "


def commands():
    """Lines of the indented blocks, continued ones joined."""
    text = "\n".join(line[4:] for line in PAGE.splitlines() if line.startswith("    "))
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def commands_of(name):
    return [line for line in commands() if line.split()[0] == name]


def help_of(*command):
    return subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, timeout=SECONDS).stdout


class Docs(unittest.TestCase):
    def test_nothing_is_left_out(self):
        ours = [line for name in ("curl", "ernie-image", "python3") for line in commands_of(name)]
        self.assertEqual(sorted(ours), sorted(commands()))
        self.assertGreaterEqual(len(ours), 13)

    def test_curl(self):
        with tempfile.TemporaryDirectory() as folder, Server(PROGRAM) as server:
            for name in ("park.jpg", "bench.png"):
                shutil.copy(PICTURE, pathlib.Path(folder) / name)
            job_id = "ID"
            for line in commands_of("curl"):
                command = line.replace(ADDRESS, server.url).replace("/ID", "/" + job_id)
                result = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True,
                                        timeout=SECONDS, check=False)
                self.assertEqual(result.returncode, 0, (line, result.stderr))
                self.check_answer(line, result.stdout)
                if "Idempotency-Key" in line:
                    job_id = json.loads(result.stdout)["id"]
            self.assertEqual((pathlib.Path(folder) / "apple.png").read_bytes()[:4], b"\x89PNG")
            self.assertEqual(server.get("/v1/jobs/" + job_id)[0], 404)  # deleted by the last one

    def check_answer(self, line, answer):
        if line.endswith("/events"):
            self.assertIn('"status":"completed"', answer.rstrip().splitlines()[-1])  # it may be all
        elif line.endswith("/cancel"):  # it has been watched to its end
            self.assertEqual(json.loads(answer)["error"]["code"], "job_is_final")
        elif answer:
            self.assertNotIn("error", {key for key, value in json.loads(answer).items() if value}, line)

    def test_python(self):
        try:
            import huggingface_hub
            import ollama
            import openai
        except ImportError as error:
            self.skipTest(str(error))
        codes = re.findall(r"```python\n(.*?)```", PAGE, re.S)
        self.assertEqual(len(codes), 3)
        with Server(PROGRAM) as server:
            names = {"huggingface_hub": huggingface_hub, "ollama": ollama, "openai": openai}
            for code in codes:
                names.pop("image", None)
                code = code.replace(ADDRESS, server.url).replace("summer.jpg", str(PICTURE))
                exec(code, names)  # pylint: disable=exec-used
                if "image" in names:
                    self.assertTrue(names["image"].data[0].b64_json.startswith("iVBORw0KGgo"))
            self.assertEqual(names["picture"].size, (64, 64))
            self.assertTrue(names["answer"].image.startswith("iVBORw0KGgo"))

    def test_serve(self):
        lines = [line for line in commands_of("ernie-image") if line.split()[1] == "serve"]
        self.assertEqual(len(lines), 2)
        for line in lines:
            words = shlex.split(line.replace(REAL_MODEL, ""), comments=True)
            with tempfile.TemporaryDirectory() as folder:
                flags = [folder + "/" + word if not word.startswith("-") else word for word in words[2:]]
                with Server(PROGRAM, *flags) as server:  # its --port 0 takes a free one
                    self.assertEqual(server.terminate(), 0)

    def test_flags(self):
        """Of commands that need a fleet or a quarter of an hour, and of the tables: the program knows them."""
        for line in commands_of("ernie-image") + commands_of("python3"):
            words = [word for word in shlex.split(line, comments=True)]
            program = [PROGRAM, words[1]] if words[0] == "ernie-image" else [sys.executable, str(ROOT / words[1])]
            known = help_of(*program)
            for flag in re.findall(r"--[a-z-]+", line):
                self.assertRegex(known, re.escape(flag) + r"\b", line)
        known = help_of(PROGRAM, "serve")
        options = PAGE[PAGE.index("## Options"):PAGE.index("## OpenAI")]
        for row in re.findall(r"^\| (`--.*?) \|", options, re.M):
            for flag in re.findall(r"--[a-z-]+", row):
                self.assertRegex(known, re.escape(flag) + r"\b")


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if not shutil.which("curl"):
        print("SKIPPED: no curl")
        sys.exit(77)
    unittest.main(verbosity=1)
