"""`ernie-image serve` on a free port with files of its own, and requests to it."""
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib

DEADLINE_S = int(os.environ.get("ERNIE_IMAGE_DEADLINE_S", "120"))
PROGRAM = os.environ["ERNIE_IMAGE_PROGRAM"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


MODEL = pathlib.Path(__file__).parents[2] / "models/emoji-tiny"


def write_lora(path):
    """A LoRA of the embedded model, of rank 1."""
    width = json.loads((MODEL / "transformer/config.json").read_text())["hidden_size"]
    name = "transformer.layers.0.self_attention.to_q.lora_"
    size = 4 * width
    header = json.dumps({
        name + "A.weight": {"dtype": "F32", "shape": [1, width], "data_offsets": [0, size]},
        name + "B.weight": {"dtype": "F32", "shape": [width, 1], "data_offsets": [size, 2 * size]}}).encode()
    path.parent.mkdir()
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<f", 0.1) * (2 * width))


def png_of(width, height):
    """A PNG file: red above, blue below."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + (b"\xc0\x20\x20" if 2 * y < height else b"\x20\x20\xc0") * width for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class Server:
    def __init__(self, key=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ernie-image-web-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = key
        self.process = None
        write_lora(self.folder / "loras/style.safetensors")
        self.start()

    def command(self):
        # One picture at a time, so that jobs of the same size wait for each other.
        command = [PROGRAM, "serve", "--port", str(self.port), "--jobs-db", str(self.folder / "jobs.db"),
                   "--output-dir", str(self.folder / "pictures"), "--max-batch", "1",
                   "--lora-dir", str(self.folder / "loras")]
        if self.key:
            keys = self.folder / "keys"
            keys.write_text(f"somebody:{self.key}\n")
            keys.chmod(0o600)
            command += ["--api-key-file", str(keys)]
        return command

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                return urllib.request.urlopen(self.url + "/readyz", timeout=5).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    sys.exit((self.folder / "log").read_text(errors="replace") or "the server does not answer")
                time.sleep(0.05)

    def kill(self):
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        self.kill()
        shutil.rmtree(self.folder)

    def request(self, method, path, body=None):
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers, method=method), timeout=60) as answer:
            return answer.read()

    def jobs(self):
        return json.loads(self.request("GET", "/v1/jobs?limit=100"))["data"]

    def submit(self, **fields):
        return json.loads(self.request("POST", "/v1/jobs", {"kind": "image", "num_inference_steps": 1, **fields}))

    def wait_for_all(self):
        deadline = time.monotonic() + DEADLINE_S
        while any(job["status"] in ("queued", "running") for job in self.jobs()):
            if time.monotonic() > deadline:
                raise TimeoutError("the jobs do not end")
            time.sleep(0.1)
