"""`ernie-image serve` as a process: starting, serving, stopping, being killed.

  serve_test.py PROGRAM
"""

import json
import os
import pty
import re
import socket
import subprocess
import sys
import tempfile
import unittest

from served import Server

PROGRAM = None


def run_serve(*flags, port=0):
    with tempfile.TemporaryDirectory() as data:  # in place of the user's, for pictures
        return subprocess.run([PROGRAM, "serve", "--port", str(port), *flags], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "XDG_DATA_HOME": data})


class ServeTest(unittest.TestCase):
    def test_makes_a_picture_with_trace_and_metrics(self):
        with Server(PROGRAM) as server:
            status, headers, job = server.post(
                "/v1/jobs", {"prompt": "a red apple on a blue background", "seed": 1, "trace": True, "previews": 2})
            self.assertEqual(status, 202)
            self.assertEqual(headers["Location"], "/v1/jobs/" + job["id"])
            job = server.finished(job["id"])
            self.assertEqual(job["status"], "completed", job)
            status, headers, png = server.get(job["images"][0]["url"])
            self.assertEqual((status, headers["Content-Type"], png[1:4]), (200, "image/png", b"PNG"))
            status, _, trace = server.get("/v1/jobs/%s/trace" % job["id"])
            self.assertEqual(status, 200)
            self.assertTrue(trace)
            text = server.get("/metrics")[2].decode()
            self.assertIn('ernie_image_jobs_total{kind="image",outcome="completed"} 1', text)
            self.assertIn('ernie_image_stage_seconds_count{stage="transformer"} 1', text)

    def test_saves_dated_pictures(self):
        with Server(PROGRAM) as server:
            folder = os.path.join(server.data.name, "ernie-image", "pictures")
            self.assertEqual(json.loads(server.wait_for_log("pictures are saved"))["folder"], folder)
            self.assertEqual(server.get("/v1/capabilities")[2]["saves_to"], folder)
            job = server.finished(server.post("/v1/jobs", {"prompt": "a fox", "seed": 7, "n": 2, "num_inference_steps": 1})[2]["id"])
            days = os.listdir(folder)
            self.assertRegex(days[0], r"^\d{4}-\d\d-\d\d$")
            names = sorted(os.listdir(os.path.join(folder, days[0])))
            self.assertEqual(names, ["00001-7-a-fox.png", "00002-8-a-fox.png"])
            with open(os.path.join(folder, days[0], names[1]), "rb") as file:
                self.assertEqual(file.read(), server.get(job["images"][1]["url"])[2])
            # What cannot be saved fails once, and says why.
            os.rename(folder, folder + "-away")
            with open(folder, "w"):
                pass
            job = server.finished(server.post("/v1/jobs", {"prompt": "a fox", "num_inference_steps": 1})[2]["id"])
            self.assertEqual((job["status"], job["error"]["type"], job["attempts"]), ("failed", "io", 1), job)
            self.assertNotIn(server.data.name, job["error"]["message"])
        refused = run_serve("--save-dir", os.path.join(PROGRAM, "pictures"))
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--no-save", refused.stderr)
        with Server(PROGRAM, environment={"XDG_DATA_HOME": os.path.abspath(PROGRAM)}) as server:  # nobody has asked for it
            self.assertIn("reason", json.loads(server.wait_for_log("pictures are not saved")))
            self.assertEqual(server.get("/v1/capabilities")[2]["saves_to"], None)

    def test_gives_the_same_picture_for_the_same_seed(self):
        with Server(PROGRAM) as server:
            pictures = []
            for _ in range(2):
                job = server.finished(server.post("/v1/jobs", {"prompt": "an owl", "seed": 3})[2]["id"])
                pictures.append(server.get(job["images"][0]["url"])[2])
            self.assertEqual(*pictures)

    def test_stops_in_order_on_sigterm(self):
        with Server(PROGRAM) as server:
            job = server.post("/v1/jobs", {"prompt": "a dog"})[2]
            self.assertIn(job["status"], ("queued", "running", "completed"))
            self.assertEqual(server.terminate(), 0)
            messages = [json.loads(line)["message"] for line in server.log]
            self.assertEqual(messages[-1], "stopped")

    def test_keeps_accepted_jobs_over_a_kill(self):
        with tempfile.TemporaryDirectory() as folder:
            flags = ("--jobs-db", os.path.join(folder, "jobs.db"), "--output-dir", os.path.join(folder, "pictures"))
            with Server(PROGRAM, *flags) as server:
                ids = [server.post("/v1/jobs", {"prompt": "a fox", "seed": i, "num_inference_steps": 100})[2]["id"]
                       for i in range(3)]
                server.wait_until(lambda: server.get("/v1/jobs/" + ids[0])[2]["status"] == "running")
            with Server(PROGRAM, *flags) as server:
                for job_id in ids:
                    self.assertEqual(server.finished(job_id)["status"], "completed")
                self.assertEqual(len(server.get("/v1/jobs")[2]["data"]), 3)

    def test_logs_each_request_with_its_id(self):
        with Server(PROGRAM) as server:
            server.get("/healthz", {"X-Request-Id": "mine-1"})
            server.wait_until(lambda: any('"mine-1"' in line for line in list(server.log)))
            line = json.loads([line for line in server.log if '"mine-1"' in line][0])
            self.assertEqual((line["message"], line["route"], line["status"]), ("request", "/healthz", 200))

    def test_speaks_to_people_in_a_terminal(self):
        terminal, other_end = pty.openpty()
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        environment = {name: value for name, value in os.environ.items() if name != "XDG_DATA_HOME"} | {"HOME": home.name}
        with subprocess.Popen([PROGRAM, "serve", "--port", "0"], stderr=other_end, stdin=subprocess.DEVNULL, env=environment) as process:
            os.close(other_end)
            text = b""
            while b"model loaded" not in text:
                text += os.read(terminal, 4096)
            process.terminate()
            process.wait(60)
        os.close(terminal)
        port = int(re.search(rb"Open http://127\.0\.0\.1:(\d+) in a browser", text).group(1))
        self.assertIn(b"Pictures are saved in ~/.local/share/ernie-image/pictures.", text)
        self.assertIn(b"listening: host 127.0.0.1, port %d" % port, text)
        self.assertNotIn(b"{", text)

    def test_logs_who_asked_and_no_signature(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "keys")
            with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
                file.write("alice:0123456789abcdef\n")
            with Server(PROGRAM, "--api-key-file", path) as server:
                answer = server.post("/v1/images/generations", {"prompt": "a fox", "response_format": "url"},
                                     {"Authorization": "Bearer 0123456789abcdef"})[2]
                link = answer["data"][0]["url"].replace(server.url, "")
                signature = link.split("/")[-1]
                for asked in (link, link.replace("files", "%66iles"), "/x" + link, link + "0"):
                    server.get(asked, {"X-Forwarded-For": "192.0.2.7", "X-Request-Id": "asked"})
                self.assertEqual(server.get(link)[0], 200)
                line = json.loads(server.wait_for_log('"asked"'))
                self.assertEqual((line["client"], line["forwarded_for"]), ("127.0.0.1", "192.0.2.7"))
                self.assertEqual(server.terminate(), 0)
                self.assertNotIn(signature, "".join(server.log))

    def test_refuses_to_open_to_others_without_keys(self):
        run = run_serve("--host", "0.0.0.0")
        self.assertEqual(run.returncode, 2)
        self.assertIn("--insecure", run.stderr)

    def test_refuses_keys_that_everybody_can_read(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "keys")
            with open(path, "w", encoding="utf-8") as file:
                file.write("alice:0123456789abcdef\n")
            os.chmod(path, 0o644)
            run = run_serve("--api-key-file", path)
            self.assertEqual(run.returncode, 2)
            self.assertIn("chmod 600", run.stderr)
            os.chmod(path, 0o600)
            with Server(PROGRAM, "--api-key-file", path) as server:
                self.assertEqual(server.get("/v1/jobs")[0], 401)
                self.assertEqual(server.get("/v1/jobs", {"Authorization": "Bearer 0123456789abcdef"})[0], 200)

    def test_says_which_port_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            run = run_serve(port=taken.getsockname()[1])
            self.assertEqual(run.returncode, 1)
            self.assertIn("Address already in use", run.stderr)
            self.assertIn("--port 0", run.stderr)

    def test_fails_for_a_model_that_is_not_there(self):
        run = run_serve("--model", "/nonexistent/model")
        self.assertEqual(run.returncode, 1)
        self.assertIn("/nonexistent/model", run.stderr)
        self.assertNotIn("listening", run.stderr)
        self.assertNotIn("pictures are saved", run.stderr)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
