"""packaging/nginx.conf with the real nginx, in front of `ernie-image serve`. Without nginx it is skipped.

  nginx_test.py PROGRAM NGINX_CONF
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from served import Server

PROGRAM = None
CONF = None
NAME = "pictures.example.org"
KEY = "0123456789abcdef"
SKIPPED = 77


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Nginx:
    """The packaged file with other ports and a certificate made for it; nothing else of it is changed."""

    def __init__(self, folder, upstream_port):
        self.port, self.plain_port = free_port(), free_port()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=" + NAME,
                        "-keyout", folder + "/key.pem", "-out", folder + "/cert.pem"], check=True, capture_output=True)
        with open(CONF, encoding="utf-8") as file:
            conf = file.read()
        for old, new in (("127.0.0.1:7860", "127.0.0.1:%d" % upstream_port),
                         ("listen 443 ssl", "listen 127.0.0.1:%d ssl" % self.port),
                         ("listen 80;", "listen 127.0.0.1:%d;" % self.plain_port),
                         ("/etc/ssl/certs/%s.pem" % NAME, folder + "/cert.pem"),
                         ("/etc/ssl/private/%s.key" % NAME, folder + "/key.pem")):
            assert old in conf, old
            conf = conf.replace(old, new)
        with open(folder + "/server.conf", "w", encoding="utf-8") as file:
            file.write(conf)
        paths = "".join("%s_temp_path %s/%s;" % (kind, folder, kind)
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(folder + "/nginx.conf", "w", encoding="utf-8") as file:
            file.write("daemon off; master_process off; pid %s/pid; error_log %s/error.log; events {} http { access_log off; %s "
                       "include %s/server.conf; }" % (folder, folder, paths, folder))
        self.process = subprocess.Popen(["nginx", "-p", folder, "-c", folder + "/nginx.conf"], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", self.port)) != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(folder + "/error.log", encoding="utf-8") as log:
                    raise AssertionError("nginx does not serve: " + log.read())
            time.sleep(0.02)

    def request(self, path, body=None, headers=None):
        request = urllib.request.Request("https://127.0.0.1:%d%s" % (self.port, path), data=body, headers={
            "Host": NAME, "Content-Type": "application/json", "Authorization": "Bearer " + KEY, **(headers or {})})
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class NginxTest(unittest.TestCase):
    def test_passes_on_what_the_server_serves(self):
        with tempfile.TemporaryDirectory() as folder:
            keys = os.path.join(folder, "keys")
            with open(os.open(keys, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
                file.write("alice:%s\n" % KEY)
            with Server(PROGRAM, "--api-key-file", keys, "--allowed-host", NAME) as server, Nginx(folder, server.port) as nginx:
                self.assertEqual(nginx.request("/readyz")[0], 200)
                status, text = nginx.request("/metrics")  # its Host must be the client's, too
                self.assertEqual((status, b"ernie_image_jobs" in text or b"# TYPE" in text), (200, True), text[:200])
                status, body = nginx.request("/v1/jobs", json.dumps({"prompt": "a fox"}).encode(),
                                             {"Origin": "https://" + NAME})
                self.assertEqual(status, 202, body)
                job = json.loads(body)["id"]
                events = nginx.request("/v1/jobs/%s/events" % job)[1]
                self.assertIn(b'"completed"', events)
                # As large as a body may be; the server, not the proxy, says what is wrong with it.
                status, body = nginx.request("/sdapi/v1/png-info", json.dumps({"image": "A" * (20 << 20)}).encode())
                self.assertEqual((status, json.loads(body)["error"]["param"]), (400, "image"))
                self.assertEqual(nginx.request("/readyz", headers={"Host": "evil.example"})[0], 403)
                line = json.loads(server.wait_for_log('"/v1/jobs/%s/events"' % job))
                self.assertEqual((line["client"], line["forwarded_for"]), ("127.0.0.1", "127.0.0.1"))


if __name__ == "__main__":
    if shutil.which("nginx") is None or shutil.which("openssl") is None:
        print("skipped: nginx or openssl is not installed")
        sys.exit(SKIPPED)
    CONF = sys.argv.pop(2)
    PROGRAM = sys.argv.pop(1)
    unittest.main()
