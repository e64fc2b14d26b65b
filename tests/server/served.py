"""A started `ernie-image serve` on a free port of this machine, and plain requests to it."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

START_SECONDS = 120
STOP_SECONDS = 60


class Server:
    """Use with `with`; killed at the end whatever happens."""

    def __init__(self, program, *flags, expect_ready=True, environment=None, **process_options):
        own = {k: v for k, v in os.environ.items() if not k.startswith("ERNIE_IMAGE")}
        self.data = tempfile.TemporaryDirectory()  # in place of the user's, for pictures
        own["XDG_DATA_HOME"] = self.data.name
        self.process = subprocess.Popen([program, "serve", "--port", "0", *flags], stderr=subprocess.PIPE, text=True,
                                        env={**own, **(environment or {})}, **process_options)
        self.log = []
        self.port = None
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if not self._listening.wait(START_SECONDS):
            self.kill()
            raise AssertionError("the server does not listen: %s" % self.log)
        self.url = "http://127.0.0.1:%d" % self.port
        if expect_ready:
            self.wait_until(lambda: self.get("/readyz")[0] == 200)

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("message") == "listening":
                self.port = event["port"]
                self._listening.set()
        self._listening.set()

    def wait_for_log(self, text):
        """The first line of the log that holds `text`."""
        self.wait_until(lambda: any(text in line for line in list(self.log)))
        return [line for line in self.log if text in line][0]

    def wait_until(self, condition, seconds=START_SECONDS):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError("in vain; log: %s" % "".join(self.log[-20:]))
            time.sleep(0.02)

    def request(self, method, path, body=None, headers=None):
        """Status, headers and body, parsed if it is JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=dict(headers or {}))
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=START_SECONDS) as response:
                return response.status, response.headers, self._parsed(response)
        except urllib.error.HTTPError as error:
            return error.code, error.headers, self._parsed(error)

    @staticmethod
    def _parsed(response):
        content = response.read()
        if response.headers.get("Content-Type", "").startswith("application/json"):
            return json.loads(content)
        return content

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def post(self, path, body, headers=None):
        return self.request("POST", path, body, headers)

    def finished(self, job_id, seconds=START_SECONDS):
        final = ("completed", "failed", "cancelled")
        self.wait_until(lambda: self.get("/v1/jobs/" + job_id)[2]["status"] in final, seconds)
        return self.get("/v1/jobs/" + job_id)[2]

    def terminate(self):
        """Exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stderr.close()
        self.data.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
