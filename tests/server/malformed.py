"""Malformed requests by category: (name, bytes, the statuses that are right)."""

import base64
import json
import struct
import zlib

HOST = b"Host: localhost\r\n"
GENERATIONS = "/v1/images/generations"
TXT2IMG = "/sdapi/v1/txt2img"
JOBS = "/v1/jobs"


def raw(line, headers=HOST, body=b""):
    return line + b"\r\n" + headers + b"\r\n" + body


def post(path, body, content_type=b"application/json", extra=b""):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    head = HOST + b"Content-Type: " + content_type + b"\r\nContent-Length: %d\r\n" % len(body) + extra
    return raw(b"POST " + path.encode() + b" HTTP/1.1", head, body)


def request_lines():
    for line in (b"", b" ", b"GET", b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1.1 x", b"/ GET HTTP/1.1", b"GET /\tHTTP/1.1",
                 b"GET / HTTP/0.9", b"GET / HTTP/1.2", b"GET / HTTP/2.0", b"GET / http/1.1", b"GET / HTTP/1.1\x00",
                 b"GET / XTTP/1.1", b"GET / HTTP/11", b"G\x00T / HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                 b"(GET) / HTTP/1.1", b"GET\x80 / HTTP/1.1", b"PRI * HTTP/2.0", b"GET / HTTP/", b"\xff\xff\xff\xff"):
        yield line, raw(line), {400}
    for method in (b"BREW", b"get", b"TRACE", b"CONNECT", b"PROPFIND", b"A" * 300, b"PUT", b"PATCH", b"OPTIONS"):
        yield method, raw(method + b" / HTTP/1.1"), {405}


def targets():
    for target in (b"*", b"x", b"http://localhost/", b"//%", b"/%", b"/%1", b"/%zz", b"/%00", b"/%0d%0aX: y", b"/%7f", b"/a#b",
                   b"/?a?b", b"/\x80", b"/\x01", b"/\x7f", "/ü".encode(), b"?", b"/v1/jobs?limit=%"):
        yield target, raw(b"GET " + target + b" HTTP/1.1"), {400}
    for target in (b"//", b"/..", b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"/..%2f..%2fetc%2fpasswd", b"/v1/",
                   b"/v1/jobs/", b"/v1/jobs//events", b"/v1/jobs/../jobs", b"/index.html/", b"/web/index.html", b"/V1/JOBS",
                   b"/v1/jobs/" + b"a" * 500, b"/v1/jobs/%c0%ae/images/0", b"/v1/jobs/0/images/-1", b"/v1/jobs/0/images/1e9",
                   b"/v1/jobs/" + b"0" * 32 + b"/images/99999999999999999999", b"/v1/files/a/0/9999999999/" + b"0" * 64,
                   b"/v1/jobs/" + b"0" * 32 + b"/trace", b"/v1/models/none", b"/" + b"a/" * 900, b"/.git/config", b"/openapi.json/x"):
        yield target, raw(b"GET " + target + b" HTTP/1.1"), {404}
    for size in (2049, 9000, 15000):
        yield "long %d" % size, raw(b"GET /" + b"a" * size + b" HTTP/1.1"), {414}


def headers():
    for header in (b"", b"Host\r\n", b": x\r\n", HOST + b"A\r\n", HOST + b" A: b\r\n", HOST + b"A : b\r\n", HOST + b"A: b\r\n\tc\r\n",
                   HOST + b"A\x00: b\r\n", HOST + b"A: b\x00\r\n", HOST + b"A: b\x07\r\n", HOST + b"A: b\rC: d\r\n", HOST + b"A: b\nC: d\r\n",
                   HOST + HOST, HOST + b"Host: other\r\n", HOST + b"\xff: b\r\n", HOST + b"A b: c\r\n",
                   HOST + b"Authorization: a\r\nAuthorization: b\r\n", HOST + b"Origin: a\r\nOrigin: b\r\n",
                   HOST + b"Content-Length: 0\r\ncontent-length: 0\r\n"):
        yield header, raw(b"GET / HTTP/1.1", header), {400}
    for header, status in ((b"A: b\r\n" * 200, 431), (b"A: " + b"b" * 20000 + b"\r\n", 431), (b"A" * 20000 + b": b\r\n", 431),
                           (b"Expect: 200-ok\r\n", 417), (b"Transfer-Encoding: chunked\r\n", 411),
                           (b"Transfer-Encoding: identity\r\n", 411), (b"Transfer-Encoding: \x0bchunked\r\n", 400),
                           (b"Transfer-Encoding: gzip, chunked\r\n", 411), (b"Content-Encoding: br\r\n", 415)):
        yield header[:40], raw(b"POST /v1/jobs HTTP/1.1", HOST + header), {status}
    for host in (b"evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example:80", b"[::2]", b"@localhost", b"%6cocalhost",
                 b"localhost@evil.example", b"localhost:80@evil.example", b"user:7860@localhost"):
        yield host, raw(b"GET / HTTP/1.1", b"Host: " + host + b"\r\n"), {403}
    for origin in (b"null", b"http://evil.example", b"http://localhost.evil.example", b"file://", b"http://localhost:1"):
        yield origin, post(JOBS, {"prompt": "a"}, extra=b"Origin: " + origin + b"\r\n"), {403}
    for key in (b"a b", b"a" * 300, b"\xc3\xa9"):
        yield key[:20], post(JOBS, {"prompt": "a"}, extra=b"Idempotency-Key: " + key + b"\r\n"), {400}


def lengths():
    for length in (b"-1", b"+1", b"1.0", b"0x10", b"1e3", b"", b"abc", b"1,1", b"1 1", b"9" * 30, b"18446744073709551616"):
        head = HOST + b"Content-Type: application/json\r\nContent-Length: " + length + b"\r\n"
        yield length, raw(b"POST /v1/jobs HTTP/1.1", head, b"{}"), {400}
    for path, length in (("/v1/jobs", 25 << 20), ("/v1/jobs", 10 ** 17), ("/v1/jobs/x/cancel", 2 << 20), ("/sdapi/v1/png-info", 1 << 30), (GENERATIONS, 1048577)):
        head = HOST + b"Content-Type: application/json\r\nContent-Length: %d\r\n" % length
        yield "%s %d" % (path, length), raw(b"POST " + path.encode() + b" HTTP/1.1", head, b"{}"), {413}
    head = HOST + b"Content-Type: application/json\r\nContent-Length: 100\r\n"
    yield "cut short", raw(b"POST /v1/jobs HTTP/1.1", head, b"{"), {400, 408}
    yield "GET with a body", raw(b"GET / HTTP/1.1", HOST + b"Content-Length: 5\r\n", b"hello"), {400}
    yield "GET with a body where there is none", raw(b"GET /v1 HTTP/1.1", HOST + b"Content-Length: 5\r\n", b"hello"), {405}
    yield "body that is a request", raw(b"POST /healthz HTTP/1.1", head[:-5] + b"40\r\n", raw(b"GET /healthz HTTP/1.1")), {405}


def content_types():
    for kind in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b"multipart/form-data; boundary=x",
                 b"application/jsonp", b"json", b"application/", b"*/*", b"text/json; charset=utf-8", b"application/json/x"):
        is_form = kind.startswith(b"multipart/form-data")
        yield kind, post(GENERATIONS if is_form else JOBS, {"prompt": "a"}, kind), {415}
    yield "none", raw(b"POST /v1/jobs HTTP/1.1", HOST + b"Content-Length: 2\r\n", b"{}"), {415}


def bodies():
    deep = b'{"a":' * 100 + b"1" + b"}" * 100
    for body in (b"", b" ", b"{", b"}", b"[]", b"1", b"null", b'"x"', b"{]", b"{\"prompt\":}", b"{\"prompt\" \"a\"}", b"{'prompt':'a'}",
                 b"{\"prompt\":\"a\",}", b"{\"prompt\":\"\xff\xfe\"}", b"{\"prompt\":\"\xed\xa0\x80\"}", b"{\"prompt\":\"\\ud800\"}",
                 b"{\"prompt\":\"\\x41\"}", b"{\"prompt\":\"a\n\"}", b"{\"prompt\":\"a\"}{}", b"{\"prompt\":\"a\"}\x00", b"\x00{}",
                 b"[" * 100000, b"{\"a\":" * 20000, deep, b"{\"prompt\":NaN}", b"{\"prompt\":01}", b"\xef\xbb\xbf", b"// x",
                 b"prompt=a", b"{\"prompt\":tru", b"{\"n\":1e999,\"prompt\":\"a\"}",
                 b"{\"prompt\":\"a\",\"prompt\":\"b\"}", b"{\"prompt\":\"a\",\"x\":{\"y\":1,\"y\":2}}"):
        yield body[:30], post(JOBS, body), {400}
        yield body[:30], post(TXT2IMG, body), {400}


def wrong_values():
    wrong = {
        "prompt": (1, True, [], {}, ["a"], "", "a" * 8001, "a\0b"),
        "negative_prompt": (1, [], {}, "a" * 8001),
        "size": (64, "", "x", "64", "64x", "0x0", "-64x64", "64x64x64", "1e2x64", "65x64", "99999x64", "16384x16384", [64, 64]),
        "width": ("64", 0, -64, 63, 64.5, 1e300, [], 2 ** 63, True), "height": ("64", 0, 16385, 10 ** 400),
        "n": ("1", 0, -1, 11, 1.5, [], True, 2 ** 64),
        "seed": ("1", -2, 1.5, [], [[]], ["1"], {}, True, 2 ** 64, [1] * 50, 1e300),
        "num_inference_steps": ("8", 0, -1, 201, 1.5, 10 ** 30), "guidance_scale": ("1", -0.1, 100.1, [], True),
        "use_pe": (1, "true", []), "output_format": (1, "gif", "PNG", ""), "output_compression": ("x", 0.5, []),
    }
    for field, values in wrong.items():
        for value in values:
            body = {"prompt": "a", field: value}
            if field == "prompt":
                body = {field: value}
            for path in (JOBS, GENERATIONS):
                yield "%s %s %.20r" % (path, field, value), post(path, body), {400}
    for field, values in {"priority": ("x", 1), "kind": ("video", "Enhance", 1), "previews": (-1, 1000, "x"), "trace": (1, "x"),
                          "stream": (True,), "promt": ("a",), "__proto__": ({},)}.items():
        for value in values:
            yield "%s %r" % (field, value), post(JOBS, {"prompt": "a", field: value}), {400}
    for field, values in {"quality": ("x", 1), "response_format": ("file", 1), "background": ("transparent", "red"), "moderation": ("x",),
                          "style": (1,), "user": (1, []), "stream": ("true", 1), "partial_images": (4, -1, 1, "x"),
                          "priority": ("low",)}.items():
        for value in values:
            yield "%s %r" % (field, value), post(GENERATIONS, {"prompt": "a", field: value}), {400}
    for path in (JOBS, GENERATIONS):
        yield "no such model", post(path, {"prompt": "a", "model": "../../etc"}), {404}
        yield "model of another type", post(path, {"prompt": "a", "model": 1}), {400}
    for body in ({"steps": -1}, {"batch_size": 0}, {"n_iter": 100}, {"enable_hr": True, "hr_scale": 99}, {"enable_hr": 2}, {"script_name": "x"},
                 {"init_images": ["x"]}, {"cfg_scale": "seven"}, {"seed": -5}, {"width": 0}, {"prompt": 1}, {"send_images": 2},
                 {"override_settings": {"sd_model_checkpoint": 1}}):
        yield "a1111 %r" % body, post(TXT2IMG, body), {400}


def queries():
    for query in ("limit=0", "limit=", "limit=x", "limit=1x", "limit=-1", "limit=201", "limit=9999999999999", "status=x", "status="):
        yield query, raw(b"GET /v1/jobs?" + query.encode() + b" HTTP/1.1"), {400}
    for query in ("before=x", "before=" + "0" * 32, "before=..%2f..", "before='%20OR%201=1--"):
        yield query, raw(b"GET /v1/jobs?" + query.encode() + b" HTTP/1.1"), {404}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pictures():
    signature = b"\x89PNG\r\n\x1a\n"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * (32 << 20), 9))
    pixel = chunk(b"IDAT", zlib.compress(b"\0\0\0\0")) + chunk(b"IEND", b"")
    cases = {
        "nothing": b"", "text": b"hello", "signature alone": signature, "header cut": signature + header[:10],
        "wrong checksum": signature + header[:-1] + b"x", "no pixels": signature + header,
        "zero size": signature + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)),
        "huge chunk": signature + b"\xff\xff\xff\xff" + b"IHDR" + b"\0" * 50,
        "bad colours": signature + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 3, 9, 0, 0, 0)),
        "GIF": b"GIF89a" + b"\0" * 50,
        "not UTF-8": signature + header + chunk(b"iTXt", b"a\0\0\0\0\0\xff\xfe") + pixel,
    }
    for name, data in cases.items():
        text = base64.b64encode(data).decode()
        yield name, post("/sdapi/v1/png-info", {"image": text}), {400}
    for name, data in (("bomb of text", signature + header + bomb + pixel), ("many bombs", signature + header + bomb * 40 + pixel)):
        # Texts that are too large are left out.
        yield name, post("/sdapi/v1/png-info", {"image": base64.b64encode(data).decode()}), {200}
    for value in (1, None, [], "", "!", "data:", "data:image/png;base64,", "QQ", "Q===", "====", "A" * 4001):
        yield "base64 %.10r" % value, post("/sdapi/v1/png-info", {"image": value}), {400}


def uploads():
    """Forms and JSON with pictures that are none, or too much of one."""
    def png(width, height, data=b""):
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b""))

    pixel = png(1, 1, b"\0\0")
    def form(*parts, boundary=b"XX", end=b"--XX--\r\n"):
        body = b"".join(b"--XX\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % part for part in parts) + end
        return post("/v1/images/edits", body, b"multipart/form-data; boundary=" + boundary)

    prompt, image = (b'name="prompt"', b"a"), (b'name="image"; filename="a.png"', pixel)
    cases = {
        "cut": form(prompt, image, end=b""), "other boundary": form(prompt, image, boundary=b"YY"),
        "no boundary": form(prompt, image, boundary=b""), "open quote": form((b'name="prompt', b"a"), image),
        "nameless": form((b'filename="a"', b"a"), image), "no picture": form(prompt), "no prompt": form(image),
        "two pictures": form(prompt, image, image), "two prompts": form(prompt, prompt, image),
        "unknown field": form(prompt, image, (b"name=x", b"1")), "unknown file": form(prompt, image, (b"name=x; filename=y", b"1")),
        "many parts": form(*[(b"name=a%d" % i, b"") for i in range(99)]), "empty picture": form(prompt, (image[0], b"")),
        "no PNG": form(prompt, (image[0], b"\x89PNG")), "bomb": form(prompt, (image[0], png(60000, 60000))),
        "bytes missing": form(prompt, (image[0], png(4000, 4000, b"\0" * 99))), "not UTF-8": form((prompt[0], b"\xff"), image),
        "mask of other proportions": form(prompt, image, (b'name="mask"; filename="m.png"', png(3, 1, b"\0\0\0\0"))),
        "strength": form(prompt, image, (b"name=strength", b"2")), "sides": form(prompt, image, (b"name=outpaint", b"1,2,3")),
    }
    for name, data in cases.items():
        yield name, data, {400}
    for path in (GENERATIONS, TXT2IMG, "/v1/jobs/x/cancel"):
        yield path, post(path, b"--XX--", b"multipart/form-data; boundary=XX"), {404, 415}
    text = base64.b64encode(pixel).decode()
    for fields in ({"image": "http://localhost/a.png"}, {"image": [text, text]}, {"image": {"url": text}}, {"image": text, "mask": 1},
                   {"image": text, "images": [text]}, {"mask": text}, {"strength": 1}, {"image": text, "outpaint": [0, 0, 0, 1e9]}):
        yield "%.40r" % fields, post(JOBS, {"prompt": "a", **fields}), {400}
    for fields in ({}, {"init_images": []}, {"init_images": [text, text]}, {"init_images": ["x"]}, {"init_images": text},
                   {"init_images": [text], "resize_mode": 9}, {"init_images": [text], "denoising_strength": -1}):
        yield "img2img %.40r" % fields, post("/sdapi/v1/img2img", {"prompt": "a", **fields}), {400}


def all_requests():
    for category in (request_lines, targets, headers, lengths, content_types, bodies, wrong_values, queries, pictures, uploads):
        for name, data, statuses in category():
            text = name if isinstance(name, str) else repr(name)
            yield "%s: %.60s" % (category.__name__, text), data, statuses
