"""The part of the server's API that the page uses, with pictures drawn by PIL: for developing the page."""
import base64
import io
import json
import pathlib
import random
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image, ImageDraw, ImageFilter

PAGES = pathlib.Path(__file__).parents[2] / "apps/server/web"
STATE = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
KEY = sys.argv[3] if len(sys.argv) > 3 else None
STEP = 0.15
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
CSP = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
       "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
CAPABILITIES = {
    "models": [{"id": "ernie-image-turbo", "default_width": 1024, "default_height": 1024, "default_steps": 8,
                "default_guidance": 1.0, "size_multiple": 16, "has_enhancer": True,
                "sizes": [[1024, 1024], [848, 1264], [1264, 848], [768, 1376], [896, 1200], [1376, 768], [1200, 896]]}],
    "limits": {"max_images": 8, "max_steps": 200, "max_prompt_chars": 4000, "max_pixels": 2097152},
    "formats": ["png", "jpeg", "webp"], "auth_required": KEY is not None, "version": "0.1.0"}
lock = threading.Condition()
jobs = []  # oldest first


def draw(seed, width, height, done=1.0):
    rng = random.Random(int(seed))
    small = Image.new("RGB", (width // 4, height // 4))
    pen = ImageDraw.Draw(small)
    top, low = [tuple(rng.randrange(20, 250) for _ in range(3)) for _ in range(2)]
    w, h = small.size
    for y in range(h):
        pen.line((0, y, w, y), tuple(int(a + (b - a) * y / h) for a, b in zip(top, low)))
    r = min(w, h) * rng.uniform(.08, .2)
    x, y = rng.uniform(.2, .8) * w, rng.uniform(.15, .4) * h
    pen.ellipse((x - r, y - r, x + r, y + r), (255, 240, 210))
    for layer in range(4):
        base = h * (.5 + .13 * layer)
        colour = tuple(int(c * (.8 - .18 * layer)) for c in low)
        points = [(i * w / 9, base + rng.uniform(-.1, .1) * h) for i in range(10)]
        pen.polygon([(0, h), *points, (w, h)], colour)
    if done < 1:
        small = small.filter(ImageFilter.GaussianBlur((1 - done) * w / 8))
        noise = Image.effect_noise(small.size, 90).convert("RGB")
        return Image.blend(small, noise, .8 * (1 - done))
    return small.resize((width, height), Image.BICUBIC)


def encode(image, form, quality=90):
    data = io.BytesIO()
    image.save(data, form, quality=quality)
    return data.getvalue()


def public(job):
    position = None
    if job["status"] == "queued":
        position = [j["id"] for j in jobs if j["status"] == "queued"].index(job["id"])
    return {key: value for key, value in {**job, "queue_position": position}.items() if not key.startswith("_")}


def store():
    if STATE:
        STATE.write_text(json.dumps(jobs))
    lock.notify_all()


def work():
    while True:
        with lock:
            waiting = [j for j in jobs if j["status"] == "queued"]
            if not waiting:
                lock.wait(1)
                continue
            job = waiting[0]
            job.update(status="running", started=time.time(), attempts=job["attempts"] + 1)
            store()
        run(job)


def run(job):
    request = job["request"]
    steps = request["num_inference_steps"]
    if job["kind"] == "enhance" or request["use_pe"]:
        time.sleep(.8)
        job["enhanced_prompt"] = request["prompt"] + ", soft morning light, fine detail, muted colours, wide composition"
    for step in range(steps if job["kind"] == "image" else 0):
        with lock:
            job["progress"] = {"stage": "transformer", "step": step, "steps": steps, "fraction": step / steps,
                               "seconds_left": (steps - step) * STEP}
            job["_preview"] = step
            job["_version"] += 1
            lock.notify_all()
        time.sleep(STEP)
        if job["_cancel"]:
            break
    with lock:
        job["finished"] = time.time()
        job["progress"] = None
        if job["_cancel"]:
            job["status"] = "cancelled"
        elif "fail" in request["prompt"]:
            job.update(status="failed", error={"message": "transformer: 12 GB are needed, 8 GB are free", "type": "out_of_memory"})
        else:
            job["status"] = "completed"
            form = request.get("output_format", "png")
            job["images"] = [{"url": f"/v1/jobs/{job['id']}/images/{i}", "seed": s, "width": request["width"],
                              "height": request["height"], "content_type": f"image/{form}", "size_bytes": 1234567}
                             for i, s in enumerate(request["seeds"] if job["kind"] == "image" else [])]
        store()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", kind="application/json", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", len(body))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, message, param=None):
        self.reply(status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}})

    def page(self, path):
        file = PAGES / ("index.html" if path == "/" else path[1:])
        if file.parent != PAGES or not file.is_file():
            return self.error(404, "no such page")
        self.reply(200, file.read_bytes(), TYPES[file.suffix], Content_Security_Policy=CSP)

    def handle_any(self):
        url = urllib.parse.urlparse(self.path)
        parts = url.path.strip("/").split("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if parts[0] != "v1":
            return self.page(url.path)
        if KEY and self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.error(401, "a key is needed")
        if parts[1] == "capabilities":
            return self.reply(200, CAPABILITIES)
        if parts[1] == "queue":
            return self.queue()
        if len(parts) == 2:
            return self.submit(json.loads(body)) if self.command == "POST" else self.list(urllib.parse.parse_qs(url.query))
        job = next((j for j in jobs if j["id"] == parts[2]), None)
        if not job:
            return self.error(404, "no such job")
        if len(parts) == 3:
            if self.command == "GET":
                return self.reply(200, public(job))
            with lock:
                jobs.remove(job)
                store()
            return self.reply(204)
        if parts[3] == "cancel":
            return self.cancel(job)
        if parts[3] == "events":
            return self.events(job)
        image = job["images"][int(parts[4])]
        form = image["content_type"].split("/")[1]
        self.reply(200, encode(draw(image["seed"], image["width"], image["height"]), form), image["content_type"])

    do_GET = do_POST = do_DELETE = handle_any

    def queue(self):
        with lock:
            active = [public(j) for j in jobs if j["status"] in ("queued", "running")]
            running = [j for j in active if j["status"] == "running"]
            self.reply(200, {"queued": len(active) - len(running), "running": len(running), "jobs": [
                {**{k: j[k] for k in ("id", "queue_position", "status")}, "mine": True} for j in active],
                "workers": [{"name": "local", "model": "ernie-image-turbo", "device": "cpu avx2", "seconds_per_step": 0.15,
                             "busy": bool(running)}]})

    def list(self, query):
        with lock:
            newest = jobs[::-1]
            if "before" in query:
                newest = newest[[j["id"] for j in newest].index(query["before"][0]) + 1:]
            limit = int(query.get("limit", ["50"])[0])
            self.reply(200, {"object": "list", "data": [public(j) for j in newest[:limit]], "has_more": len(newest) > limit})

    def submit(self, body):
        if "refuse" in body["prompt"]:
            return self.error(400, "the prompt is refused", "prompt")
        key = self.headers["Idempotency-Key"]
        with lock:
            job = next((j for j in jobs if key and j["_key"] == key), None)
            if not job:
                seed = body.get("seed", random.getrandbits(64))
                seeds = seed if isinstance(seed, list) else [seed + i for i in range(body.get("n", 1))]
                names = ("model", "prompt", "negative_prompt", "width", "height", "num_inference_steps", "guidance_scale",
                         "use_pe", "output_format", "output_compression", "priority")
                request = {"num_inference_steps": 8, "width": 1024, "height": 1024, "use_pe": False, "guidance_scale": 1.0, "model": "ernie-image-turbo", **{name: body.get(name) for name in names if name in body}, "seeds": seeds}
                job = {"id": f"{random.getrandbits(128):032x}", "object": "job", "kind": body["kind"], "status": "queued",
                       "created": time.time(), "started": None, "finished": None, "progress": None, "request": request,
                       "enhanced_prompt": None, "images": [], "error": None, "attempts": 0,
                       "_key": key, "_cancel": False, "_preview": -1, "_version": 0}
                jobs.append(job)
                store()
            self.reply(202, public(job))

    def cancel(self, job):
        with lock:
            if job["status"] == "queued":
                job.update(status="cancelled", finished=time.time())
            elif job["status"] != "running":
                return self.error(409, "the job is over")
            job["_cancel"] = True
            store()
            self.reply(200, public(job))

    def events(self, job):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        shown = -1
        while True:
            with lock:
                self.event("job", public(job))
                over = job["status"] not in ("queued", "running")
                preview = job["_preview"]
            if preview > shown:
                shown = preview
                request = job["request"]
                image = draw(request["seeds"][0], request["width"], request["height"], (preview + 1) / (request["num_inference_steps"] + 1))
                self.event("preview", {"job_id": job["id"], "index": preview, "step": preview, "content_type": "image/jpeg",
                                       "b64_json": base64.b64encode(encode(image, "jpeg", 70)).decode()})
            if over:
                return
            with lock:
                lock.wait(.2)

    def event(self, name, data):
        self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()


if STATE and STATE.exists():
    jobs = json.loads(STATE.read_text())
    for old in jobs:
        if old["status"] == "running":
            old["status"] = "queued"
threading.Thread(target=work, daemon=True).start()
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = True
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
