"""A server with OpenAI's chat completions interface for the tests, on a free loopback port that it prints.

The behaviour is the path: /ok/v1/chat/completions and so on. Ends with its standard input.
"""

import gzip
import http.server
import json
import sys
import threading
import time


# What the message holds, by the kind of server.
CONTENTS = {
    "think": lambda text: {"content": "<think>\nA fox?\n</think>\n\n" + text + "<think>Done.</think>"},
    "unopened": lambda text: {"content": "A fox?</think>" + text},
    "unclosed": lambda text: {"content": "<think>A fox, which I see as " + text},
    "reasoning": lambda text: {"content": None, "reasoning_content": text},
    "parts": lambda text: {"content": [{"type": "text", "text": text[:4]}, {"type": "reasoning", "text": "x"},
                                       {"type": "text", "text": text[4:]}]},
    "badparts": lambda text: {"content": [1]},
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = self.path.split("/")[1]
        if kind == "hang":
            time.sleep(20)
        if self.headers.get("Authorization") != "Bearer secret-key":
            return self.answer(401, {"error": {"message": "bad key " + str(self.headers.get("Authorization"))}})
        user = json.loads(body["messages"][1]["content"])
        text = "A {} of {} by {}, {}".format(body.get("model"), user["prompt"], user["width"], body["messages"][0]["role"])
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if kind == "ok":
            self.answer(200, {"choices": [choice]})
        elif kind == "empty":
            choice["message"]["content"] = "  \n"
            self.answer(200, {"choices": [choice]})
        elif kind in CONTENTS:
            choice["message"].update(CONTENTS[kind](text))
            self.answer(200, {"choices": [choice]})
        elif kind == "error200":
            self.answer(200, {"error": {"message": "model overloaded, key secret-key"}})
        elif kind == "gzip":
            self.send(200, gzip.compress(json.dumps({"choices": [choice]}).encode()), ("Content-Encoding", "gzip"))
        elif kind == "nochoices":
            self.answer(200, {"choices": []})
        elif kind == "failing":
            self.answer(500, {"error": {"message": "out of memory on the server"}})
        elif kind == "moved":
            self.answer(302, {}, ("Location", "http://127.0.0.1:1/elsewhere"))
        else:
            self.send(200, b"<html>not JSON</html>")

    def answer(self, status, content, *headers):
        self.send(status, json.dumps(content).encode(), *headers)

    def send(self, status, data, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
