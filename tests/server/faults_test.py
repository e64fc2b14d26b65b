"""`ernie-image serve` while calls of the system fail (tests/faults/preload.cpp) and limits of the process are reached.

  faults_test.py PROGRAM PRELOAD
"""

import contextlib
import errno
import json
import os
import socket
import sys
import tempfile
import unittest

from served import Server

PROGRAM = None
PRELOAD = None

PLAIN = b"GET /v1/capabilities HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Faults:
    """A folder in which files make calls fail."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        self.environment = {"LD_PRELOAD": PRELOAD, "ERNIE_IMAGE_TEST_FAULTS": self._folder.name,
                            "ASAN_OPTIONS": "verify_asan_link_order=0"}

    @contextlib.contextmanager
    def failing(self, call, number):
        path = os.path.join(self._folder.name, call)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(str(number))
        os.rename(path + ".new", path)
        try:
            yield
        finally:
            os.remove(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()


def answer_to(port, data, timeout=30):
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        client.sendall(data)
        answer = b""
        while piece := client.recv(1 << 16):
            answer += piece
        return answer


class AcceptingTest(unittest.TestCase):
    def test_goes_on_after_every_error_that_passes(self):
        with Faults() as faults, Server(PROGRAM, environment=faults.environment) as server:
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
        with Faults() as faults, Server(PROGRAM, environment=faults.environment) as server:
            with faults.failing("accept4", errno.EBADF), socket.socket() as client:
                client.connect(("127.0.0.1", server.port))
                self.assertEqual(server.process.wait(60), 1)
            self.assertIn("no connection can be accepted any longer", server.wait_for_log("the server ends"))


BODY_TO_COME = (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n")


class ThreadsTest(unittest.TestCase):
    def test_turns_a_request_away_when_no_thread_can_be_made(self):
        with Faults() as faults, Server(PROGRAM, environment=faults.environment) as server, contextlib.ExitStack() as clients:
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


if __name__ == "__main__":
    PRELOAD = sys.argv.pop(2)
    PROGRAM = sys.argv.pop(1)
    unittest.main()
