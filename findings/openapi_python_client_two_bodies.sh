#!/usr/bin/env bash
# openapi-python-client: of a route that takes JSON or a form, both are handed to httpx, and the form is what is sent
#
# Seen with: openapi-python-client 0.29.1, httpx 0.28.1, Python 3.11.
# Does: generates a client for one route whose body is application/json or multipart/form-data with the same schema, and shows what it
# hands to httpx and what httpx makes of it.
# Expected at first: the first content type, JSON; or one of the two, to be chosen.
# Seen:
#   json and files stand in the arguments at once; the request has one body, multipart/form-data, in which false is the text "False"
#   and the number 2 the text "2"
# Matters here: a server that offers both is asked in forms, with Python's words for booleans, and has to read these as JSON's.
# Exits with 1 if that is no longer what happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openapi-python-client==0.29.1 httpx==0.28.1
cd "$folder"
cat > openapi.json <<'JSON'
{"openapi": "3.1.0", "info": {"title": "two bodies", "version": "1"},
 "paths": {"/draw": {"post": {"operationId": "draw", "tags": ["x"],
   "parameters": [{"name": "note", "in": "query", "required": false, "schema": {"type": "string"}}],
   "requestBody": {"required": true, "content": {
     "application/json": {"schema": {"$ref": "#/components/schemas/Draw"}},
     "multipart/form-data": {"schema": {"$ref": "#/components/schemas/Draw"}}}},
   "responses": {"200": {"description": "done"}}}}},
 "components": {"schemas": {"Draw": {"type": "object", "required": ["steps"],
   "properties": {"steps": {"type": "integer"}, "trace": {"type": "boolean", "default": false}}}}}}
JSON
venv/bin/openapi-python-client generate --path openapi.json --meta none --output-path client >/dev/null 2>&1
venv/bin/python - <<'PYTHON'
import httpx
from client.api.x.draw import _get_kwargs
from client.models import Draw

arguments = _get_kwargs(body=Draw(steps=2))
print(sorted(arguments))
assert "json" in arguments and "files" in arguments, "one body only"
headers = {key: value for key, value in arguments["headers"].items() if key.lower() != "content-type"}
request = httpx.Request(arguments["method"], "http://localhost/draw", json=arguments["json"], files=arguments["files"], headers=headers)
body = request.read().decode()
print(request.headers["content-type"].split(";")[0])
print(body)
assert request.headers["content-type"].startswith("multipart/form-data")
assert "\r\n\r\nFalse\r\n" in body and "\r\n\r\n2\r\n" in body
PYTHON
