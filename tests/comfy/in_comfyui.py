"""The nodes in ComfyUI itself: a workflow in its API's format makes the panda, shows previews, and is cancelled.

    in_comfyui.py COMFYUI

COMFYUI: its source, whose requirements (with a torch for CPUs) are in this interpreter's environment, as ernie_image is.
"""
import asyncio
import io
import json
import pathlib
import subprocess
import sys
import tempfile

import aiohttp
from PIL import Image

from ernie_image import ErnieImagePipeline

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKFLOW = json.loads((ROOT / "comfy/panda.json").read_text())
START_SECONDS = 600
RUN_SECONDS = 300


class Comfy:
    """A ComfyUI of its own folder, with these nodes and no others."""

    def __init__(self, source, folder, port):
        self.url = f"http://127.0.0.1:{port}"
        (folder / "custom_nodes").mkdir()
        (folder / "custom_nodes/ernie-image").symlink_to(ROOT / "comfy")
        self.log = open(folder / "log", "w+b")
        self.process = subprocess.Popen(
            [sys.executable, source / "main.py", "--cpu", "--port", str(port), "--base-directory", folder, "--disable-auto-launch",
             "--disable-api-nodes", "--preview-method", "auto", "--database-url", "sqlite:///:memory:"],
            stdout=self.log, stderr=subprocess.STDOUT, cwd=source)

    async def started(self, session):
        for _ in range(START_SECONDS * 2):
            if self.process.poll() is not None:
                break
            try:
                async with session.get(f"{self.url}/object_info/ErnieImageSampler") as response:
                    return await response.json()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.5)
        self.log.seek(0)
        raise SystemExit(f"ComfyUI did not start:\n{self.log.read().decode(errors='replace')}")

    async def run(self, session, workflow, on_progress=None):
        """(id, messages by type, previews) of a workflow until it has ended."""
        told, previews = {}, []
        async with session.ws_connect(f"{self.url}/ws?clientId=test") as socket:
            async with session.post(f"{self.url}/prompt", json={"prompt": workflow, "client_id": "test"}) as response:
                answer = await response.json()
                assert response.status == 200, answer
            async with asyncio.timeout(RUN_SECONDS):
                async for message in socket:
                    if message.type == aiohttp.WSMsgType.BINARY:
                        previews.append(Image.open(io.BytesIO(message.data[8:])).size)
                        continue
                    what = json.loads(message.data)
                    if what["data"].get("prompt_id", answer["prompt_id"]) != answer["prompt_id"]:
                        continue
                    told.setdefault(what["type"], []).append(what["data"])
                    if what["type"] == "progress" and on_progress is not None:
                        await on_progress()
                    if what["type"] in ("execution_success", "execution_error", "execution_interrupted"):
                        return answer["prompt_id"], told, previews
        raise AssertionError("the connection ended")

    async def picture(self, session, prompt_id):
        async with session.get(f"{self.url}/history/{prompt_id}") as response:
            outputs = (await response.json())[prompt_id]["outputs"]
        (image,) = outputs["4"]["images"]
        async with session.get(f"{self.url}/view", params=image) as response:
            return Image.open(io.BytesIO(await response.read()))


async def check(comfy, session):
    info = await comfy.started(session)
    assert info["ErnieImageSampler"]["display_name"] == "ERNIE-Image sampler", info
    prompt_id, told, previews = await comfy.run(session, WORKFLOW)
    assert "execution_success" in told, told
    picture = await comfy.picture(session, prompt_id)
    expected = ErnieImagePipeline.from_pretrained()("a panda on a pink background", generator=7, use_pe=False).images[0]
    assert picture.tobytes() == expected.tobytes(), "the picture is not that of the package"
    steps = [each["value"] for each in told["progress"] if each["node"] == "2"]
    assert steps == list(range(1, 9)), steps
    assert previews, "no previews"
    print(f"the panda: {picture.size}, {len(steps)} steps, {len(previews)} previews of {previews[0]}", flush=True)

    enhanced = {**WORKFLOW, "5": {"class_type": "ErnieImageEnhancer", "inputs": {
        "model": ["1", 0], "prompt": "a panda", "width": 0, "height": 0, "temperature": 0.0, "seed": 1}}}
    enhanced["2"] = {"class_type": "ErnieImageSampler", "inputs": {**WORKFLOW["2"]["inputs"], "prompt": ["5", 0]}}
    prompt_id, told, _ = await comfy.run(session, enhanced)
    assert "execution_success" in told, told
    assert (await comfy.picture(session, prompt_id)).tobytes() != expected.tobytes()
    print("the enhancer writes the prompt out", flush=True)

    async def interrupt():
        await session.post(f"{comfy.url}/interrupt")

    long = json.loads(json.dumps(WORKFLOW))
    long["2"]["inputs"].update(width=512, height=512, steps=1000)
    _, told, _ = await comfy.run(session, long, interrupt)
    assert "execution_interrupted" in told, told
    print(f"cancelled at step {told['progress'][-1]['value']} of 1000", flush=True)
    again = json.loads(json.dumps(WORKFLOW))
    again["2"]["inputs"]["seed"] = 8
    _, told, _ = await comfy.run(session, again)
    assert "execution_success" in told, told
    print("and draws again", flush=True)


async def main(source):
    with tempfile.TemporaryDirectory() as folder:
        comfy = Comfy(pathlib.Path(source).resolve(), pathlib.Path(folder), 8199)
        try:
            async with aiohttp.ClientSession() as session:
                await check(comfy, session)
        finally:
            comfy.process.terminate()
            comfy.process.wait()
    print("the nodes passed in ComfyUI")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
