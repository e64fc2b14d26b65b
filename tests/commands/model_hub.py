"""Hugging Face's and ModelScope's protocols, as far as their clients need them to download one model, on loopback."""

import hashlib
import http.server
import json
import os
import threading
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves the files of `folder` as the model `model_id`. Use with `with`."""

    def __init__(self, folder, model_id):
        self.files = {}
        self.refused = set()  # names that are answered with 404
        for parent, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(parent, name)
                with open(path, "rb") as file:
                    self.files[os.path.relpath(path, folder)] = file.read()
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                address = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(address.query))
                path = urllib.parse.unquote(address.path)
                hub.requests.append(self.command + " " + self.path)
                if path.startswith(f"/api/v1/models/{model_id}/repo"):
                    self.modelscope(path, query)
                else:
                    self.huggingface(path)

            do_HEAD = do_GET

            def huggingface(self, path):
                prefix = f"/{model_id}/resolve/{COMMIT}/"
                if path.startswith(f"/api/models/{model_id}/tree/"):
                    self.json([{"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                               for name, data in hub.files.items()])
                elif path.startswith(f"/api/models/{model_id}"):
                    self.json({"id": model_id, "modelId": model_id, "sha": COMMIT, "private": False, "tags": [],
                               "downloads": 0, "siblings": [{"rfilename": name} for name in hub.files]})
                elif path.startswith(prefix) and hub.has(path[len(prefix):]):
                    self.file(hub.files[path[len(prefix):]])
                else:
                    self.json({"error": "not here"}, 404)

            def modelscope(self, path, query):
                if path.endswith("/repo/files"):
                    files = [{"Path": name, "Name": os.path.basename(name), "Type": "blob", "Size": len(data),
                              "Sha256": hashlib.sha256(data).hexdigest(), "Revision": COMMIT}
                             for name, data in hub.files.items()]
                    self.json({"Code": 200, "Success": True, "Data": {"Files": files}})
                elif hub.has(query.get("FilePath")):
                    self.file(hub.files[query["FilePath"]])
                else:
                    self.json({"Code": 404, "Success": False, "Message": "not here"}, 404)

            def json(self, value, status=200):
                self.send(json.dumps(value).encode(), "application/json", status)

            def file(self, data):
                begin = 0
                if self.headers.get("Range", "").startswith("bytes="):
                    begin = int(self.headers["Range"][6:].split("-")[0])
                self.send(data[begin:], "application/octet-stream", 206 if begin else 200,
                          {"ETag": '"%s"' % hashlib.sha1(data).hexdigest(), "X-Repo-Commit": COMMIT,
                           "Accept-Ranges": "bytes"})

            def send(self, data, kind, status, headers=()):
                self.send_response(status)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.requests = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_port

    def has(self, name):
        return name in self.files and name not in self.refused

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
