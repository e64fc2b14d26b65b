"""`ernie-image serve` while calls of the system fail (tests/faults/preload.cpp) and limits of the process are reached.

  faults_test.py PROGRAM PRELOAD
"""

import concurrent.futures
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from served import Server

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "faults"))
from failing_calls import FailingCalls  # noqa: E402  (it lies beside the preload)

PROGRAM = None
PRELOAD = None

PLAIN = b"GET /v1/capabilities HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def failing_calls():
    return FailingCalls(PRELOAD)


def answer_to(port, data, timeout=30):
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        client.sendall(data)
        answer = b""
        while piece := client.recv(1 << 16):
            answer += piece
        return answer


class AcceptingTest(unittest.TestCase):
    def test_goes_on_after_every_error_that_passes(self):
        with failing_calls() as faults, Server(PROGRAM, environment=faults.environment) as server:
            for number in (errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED, errno.EPERM,
                           errno.EPROTO, errno.ENETDOWN, errno.EIO):
                with socket.socket() as client:
                    with faults.failing("accept4", number):
                        client.connect(("127.0.0.1", server.port))
                        line = json.loads(server.wait_for_log(os.strerror(number)))
                        self.assertEqual(line["level"], "warning")
                    client.settimeout(30)
                    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    self.assertIn(b" 200 ", client.recv(100), errno.errorcode[number])
            self.assertEqual(server.terminate(), 0)

    def test_ends_the_program_with_an_error_when_listening_ends(self):
        with failing_calls() as faults, Server(PROGRAM, environment=faults.environment) as server:
            with faults.failing("accept4", errno.EBADF), socket.socket() as client:
                client.connect(("127.0.0.1", server.port))
                self.assertEqual(server.process.wait(60), 1)
            self.assertIn("no connection can be accepted any longer", server.wait_for_log("the server ends"))


BODY_TO_COME = (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n")


class ThreadsTest(unittest.TestCase):
    def test_turns_a_request_away_when_no_thread_can_be_made(self):
        with failing_calls() as faults, Server(PROGRAM, environment=faults.environment) as server, contextlib.ExitStack() as clients:
            with faults.failing("pthread_create", errno.EAGAIN):
                for _ in range(130):  # that are silent
                    clients.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                status = b""
                while b" 100 " in status or not status:  # those threads that are there get something to wait for
                    client = clients.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
                    client.sendall(BODY_TO_COME)
                    status = client.recv(1000)
                self.assertIn(b" 503 ", status)
                self.assertIn(b"Retry-After", status)
                self.assertIn(os.strerror(errno.EAGAIN), server.wait_for_log("no thread can be made"))
                self.assertEqual(server.get("/healthz")[0], 200)
            self.assertEqual(server.get("/readyz")[0], 200)
            clients.close()
            self.assertEqual(server.terminate(), 0)


@contextlib.contextmanager
def redis_server():
    program = shutil.which("redis-server")
    if program is None:
        raise unittest.SkipTest("no redis-server is installed")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "redis.sock")
        with subprocess.Popen([program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder],
                              stdout=subprocess.DEVNULL) as process:
            try:
                while not os.path.exists(path):
                    time.sleep(0.01)
                yield process, "unix://" + path
            finally:
                process.kill()


class StoreTest(unittest.TestCase):
    def test_requests_fail_soon_while_redis_does_not_answer(self):
        # Without workers, so that each asks for them.
        with redis_server() as (redis, url), Server(PROGRAM, "--queue", url, "--role", "gateway", expect_ready=False) as server:
            redis.send_signal(signal.SIGSTOP)
            calls = [("GET", path, None) for path in ("/v1/jobs", "/readyz", "/v1/queue", "/metrics", "/v1/models")]
            calls += 4 * [("POST", "/v1/jobs", {"prompt": "a fox"})]
            started = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(len(calls)) as clients:
                answers = [clients.submit(server.request, *call) for call in calls]
                # They wait for the store; whether the process works is another question.
                self.assertEqual(server.get("/healthz")[0], 200)
                self.assertFalse(any(answer.done() for answer in answers))
                for call, answer in zip(calls, answers):
                    self.assertEqual(answer.result()[0], 503, call)
                    self.assertLess(time.monotonic() - started, 2.5, call)
            redis.send_signal(signal.SIGCONT)
            server.wait_until(lambda: server.get("/v1/queue")[0] == 200)


class StoringTest(unittest.TestCase):
    """A picture that cannot be stored is drawn once, and its job fails with the reason."""

    def assert_fails_once(self, server, reason, pictures):
        started = time.monotonic()
        job = server.finished(server.post("/v1/jobs", {"prompt": "a fox", "seed": 1})[2]["id"])
        self.assertLess(time.monotonic() - started, 20)
        self.assertEqual((job["status"], job["error"]["type"]), ("failed", "io"), job)
        self.assertIn(reason, job["error"]["message"])
        self.assertIn(reason, server.wait_for_log("cannot be stored"))
        self.assertEqual(len([line for line in server.log if "cannot be stored" in line]), 1)
        self.assertEqual(os.listdir(pictures) if os.path.exists(pictures) else [], [])
        self.assertEqual(server.get("/readyz")[0], 200)

    def test_when_the_folder_is_gone(self):
        with tempfile.TemporaryDirectory() as folder:
            pictures = os.path.join(folder, "pictures")
            with Server(PROGRAM, "--output-dir", pictures) as server:
                shutil.rmtree(pictures)
                self.assert_fails_once(server, "does not exist", pictures)

    def test_when_files_may_not_grow(self):
        with tempfile.TemporaryDirectory() as pictures:
            limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
            with Server(PROGRAM, "--output-dir", pictures, preexec_fn=limit) as server:
                self.assert_fails_once(server, os.strerror(errno.EFBIG), pictures)

    def test_no_temporary_file_is_left_by_commands(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        with tempfile.TemporaryDirectory() as folder:
            for command in (("generate", "-p", "a fox", "--no-enhance", "-o", os.path.join(folder, "a.png")),
                            ("quantize", "-o", os.path.join(folder, "q"), "--quant", "int8")):
                run = subprocess.run([PROGRAM, *command], capture_output=True, text=True, timeout=100, preexec_fn=limit)
                self.assertEqual(run.returncode, 1, run)
                self.assertIn(os.strerror(errno.EFBIG), run.stderr)
                left = {name for _, _, names in os.walk(folder) for name in names}
                # The same command goes on with what is there.
                self.assertLessEqual(left, {"quantization.json", "scheduler_config.json"})


@unittest.skipIf(os.environ.get("ERNIE_IMAGE_SANITIZED"), "a sanitizer has an allocator of its own")
class MemoryTest(unittest.TestCase):
    def test_failing_allocations_of_threads_end_nothing(self):
        self.assert_goes_on(512, 1)

    def test_small_allocations_that_fail_end_nothing(self):
        # Destructors of JSON allocate, and cannot fail: common/spare_memory.h.
        self.assert_goes_on(1, 1)
        self.assert_goes_on(1, 20)

    def test_large_json_is_taken_apart_without_memory(self):
        with failing_calls() as faults, Server(PROGRAM, environment=faults.environment) as server:
            with faults.failing("new", 4097), faults.failing("new_one_in", 3):
                for i in range(20):
                    self.lose_or_send(lambda: server.post("/v1/jobs", {"prompt": "a fox", "seed": [[i] * 2000] * 3}))
            self.assertIsNone(server.process.poll(), server.log)
            self.assertEqual(server.terminate(), 0)

    def lose_or_send(self, request):
        try:
            request()
        except OSError:
            pass  # a connection may be lost

    def assert_goes_on(self, least_bytes, one_in):
        with failing_calls() as faults, Server(PROGRAM, environment=faults.environment) as server:
            with faults.failing("new_one_in", one_in), faults.failing("new", least_bytes):
                for i in range(20):
                    for path in (b"/healthz", b"/readyz", b"/v1/jobs", b"/metrics"):
                        head = b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                        self.lose_or_send(lambda: answer_to(server.port, head))
                    self.lose_or_send(lambda: server.post("/v1/jobs", {"prompt": "a fox", "seed": i}))
                self.assertIsNone(server.process.poll(), server.log)
            job = server.finished(server.post("/v1/jobs", {"prompt": "a fox", "seed": 1})[2]["id"])
            self.assertEqual(job["status"], "completed", job)
            self.assertEqual(server.terminate(), 0)

    def test_failing_allocations_of_threads_are_errors_of_commands(self):
        with tempfile.TemporaryDirectory() as folder, failing_calls() as faults:
            with faults.failing("new", 512):
                for command in (("generate", "-p", "a fox", "--no-enhance", "-t", "3", "-o", os.path.join(folder, "a.png")),
                                ("quantize", "-o", os.path.join(folder, "q"), "--quant", "int8")):
                    run = subprocess.run([PROGRAM, *command], capture_output=True, text=True, timeout=100,
                                         env={**os.environ, **faults.environment})
                    self.assertIn(run.returncode, (0, 1), run)
                    if run.returncode == 1:
                        self.assertIn("memory", run.stderr)

    def test_threads_that_cannot_be_made_are_an_error_of_commands(self):
        with tempfile.TemporaryDirectory() as folder, failing_calls() as faults, faults.failing("pthread_create", errno.EAGAIN):
            for command in (("generate", "-p", "a fox", "--no-enhance", "-o", os.path.join(folder, "a.png")),
                            ("quantize", "-o", os.path.join(folder, "q"), "--quant", "int8"), ("serve", "--port", "0", "--no-save")):
                run = subprocess.run([PROGRAM, *command], capture_output=True, text=True, timeout=100,
                                     env={**os.environ, **faults.environment})
                self.assertIn(run.returncode, (1, 2), run)
                self.assertIn("thread", run.stderr)


if __name__ == "__main__":
    PRELOAD = sys.argv.pop(2)
    PROGRAM = sys.argv.pop(1)
    unittest.main()
