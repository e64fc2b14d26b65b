"""Programs that the measurements of the server start on free ports of this machine, and that end with them."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

START_SECONDS = 120
STOP_SECONDS = 60


# An outer limit of time ends us by SIGTERM; what we started must end too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def free_port():
    """Free now. A program that is killed and started again needs the same one, which port 0 would not give."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A program that can be killed and started again as it was. Its log goes to the end of one file."""

    def __init__(self, name, folder, *command, environment=None):
        self.name = name
        self.command = command
        self.environment = environment or {}
        self.log_path = os.path.join(folder, name + ".log")
        self._lock = threading.Lock()
        self.start()

    def start(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ERNIE_IMAGE")} | self.environment
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)

    def restart(self):
        """kill -9, and at once again."""
        with self._lock:
            self.process.kill()
            self.process.wait()
            self.start()

    def stop(self):
        """Its exit code after SIGTERM; killed if it does not end by that."""
        with self._lock:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            try:
                return self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                return self.process.wait()

    def resident_bytes(self):
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def last_words(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-20:])


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_until(condition, process, seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or process.process.poll() is not None:
            raise RuntimeError("%s is not ready: %s" % (process.name, process.last_words()))
        time.sleep(0.05)


class Serve(Process):
    """`ernie-image serve`, ready when this returns unless a worker is yet to come."""

    def __init__(self, program, folder, *flags, expect_ready=True, environment=None):
        self.port = free_port()
        self.url = "http://127.0.0.1:%d" % self.port
        super().__init__("serve", folder, program, "serve", "--port", str(self.port), "--log-level", "warning",
                         "--pe-cache", "off", "--no-save", *flags, environment=environment)
        self.wait("/readyz" if expect_ready else "/healthz")

    def wait(self, path):
        wait_until(lambda: answers(self.url + path), self)


class Redis(Process):
    """A Redis of our own that has on disk whatever it has confirmed."""

    def __init__(self, folder):
        self.port = free_port()
        self.url = "redis://127.0.0.1:%d" % self.port
        super().__init__("redis", folder, "redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", folder,
                         "--save", "", "--appendonly", "yes", "--appendfsync", "always")
        wait_until(self.is_there, self)

    def is_there(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class Fleet:
    """Redis, a gateway and workers of one thread each, gateway and workers in `environment`. Use with `with`."""

    def __init__(self, program, folder, workers, environment=None):
        self.pictures = os.path.join(folder, "pictures")
        self._all = []
        try:
            self.redis = self._started(Redis, folder)
            shared = ("--queue", self.redis.url, "--output-dir", self.pictures)
            self.gateway = self._started(Serve, program, folder, "--role", "gateway", "--max-queue", "1000", *shared,
                                         expect_ready=False, environment=environment)
            self.workers = [self._started(Process, "worker-%d" % i, folder, program, "worker", "--threads", "1",
                                          "--pe-cache", "off", *shared, environment=environment) for i in range(workers)]
            self.gateway.wait("/readyz")
        except BaseException:
            self.stop()
            raise

    def _started(self, kind, *arguments, **options):
        self._all.append(kind(*arguments, **options))
        return self._all[-1]

    def stop(self):
        """Exit codes by name, Redis last."""
        return {process.name: process.stop() for process in reversed(self._all)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
