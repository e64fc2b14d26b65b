"""Sends every request of malformed.py to `ernie-image serve`: each gets a right status in the one shape of errors, and the
server serves on.

  malformed_test.py PROGRAM
"""

import json
import socket
import sys
import unittest

from malformed import all_requests
from served import Server

PROGRAM = None
AT_LEAST = 200


def answer_to(port, data):
    """Everything that the server sends until it closes, or until a whole answer is there."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # answered before everything was sent
        answer = b""
        try:
            while True:
                piece = client.recv(1 << 16)
                if not piece:
                    return answer
                answer += piece
        except ConnectionResetError:
            return answer


def problem_with(answer, statuses):
    head, _, body = answer.partition(b"\r\n\r\n")
    first = head.split(b"\r\n")[0].split(b" ")
    if len(first) < 2 or first[0] != b"HTTP/1.1":
        return "no response: %r" % answer[:100]
    if int(first[1]) not in statuses:
        return "%s instead of %s: %s" % (first[1].decode(), sorted(statuses), body[:200])
    if int(first[1]) == 200:
        return None
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return "no error in its body: %r" % body[:100]
    if set(error) != {"message", "type", "param", "code"} or not error["message"]:
        return "an error of another shape: %r" % error
    return None


class MalformedRequests(unittest.TestCase):
    def test_get_the_right_status(self):
        requests = list(all_requests())
        self.assertGreaterEqual(len(requests), AT_LEAST)
        with Server(PROGRAM, "--client-patience", "5") as server:
            problems = []
            for name, data, statuses in requests:
                problem = problem_with(answer_to(server.port, data), statuses)
                if problem:
                    problems.append("%s: %s" % (name, problem))
                if server.process.poll() is not None:
                    self.fail("the server died of: " + name)
            self.assertEqual(problems, [], "\n".join(problems))
            self.assertEqual(server.get("/readyz")[0], 200)
            self.assertEqual(server.get("/v1/jobs")[2]["data"], [])
            print("%d malformed requests" % len(requests))


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
