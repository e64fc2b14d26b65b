"""The nodes of comfy/ as ComfyUI loads and calls them, with stand-ins for ComfyUI's modules and for torch's tensors; in ComfyUI itself
they are run by in_comfyui.py."""
import importlib.util
import json
import pathlib
import sys
import threading
import types
import unittest

import numpy as np

import ernie_image
from ernie_image import ErnieImagePipeline

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "comfy"
LORAS = ROOT / "tests/data/formats/lora"
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN"}


class Interrupted(Exception):
    """comfy.model_management.InterruptProcessingException"""


class StandIn:
    """What of ComfyUI the nodes call. Its progress hook raises when a run was cancelled, as ComfyUI's does."""

    def __init__(self):
        self.interrupted = False
        self.progress = []
        self.cancel_at = None
        self.modules = {name: types.ModuleType(name) for name in ("comfy", "comfy.utils", "comfy.model_management", "folder_paths", "torch")}
        self.modules["comfy"].utils = self.modules["comfy.utils"]
        self.modules["comfy"].model_management = self.modules["comfy.model_management"]
        self.modules["comfy.utils"].ProgressBar = lambda total: types.SimpleNamespace(update_absolute=self.update)
        self.modules["comfy.model_management"].processing_interrupted = lambda: self.interrupted
        self.modules["comfy.model_management"].throw_exception_if_processing_interrupted = self.throw
        self.modules["folder_paths"].get_filename_list = lambda kind: ["kohya/ot_lora.safetensors"]
        self.modules["folder_paths"].get_full_path_or_raise = lambda kind, name: str(LORAS / name)
        self.modules["torch"].from_numpy = lambda array: array
        for kind in ("Tensor", "Generator"):
            setattr(self.modules["torch"], kind, type(kind, (), {}))

    def throw(self):
        if self.interrupted:
            self.interrupted = False
            raise Interrupted

    def update(self, value, total, preview):
        self.throw()
        kind, image, _ = preview
        self.progress.append((value, total, kind, image.size, threading.get_ident()))


def load():
    """As ComfyUI's load_custom_node does."""
    spec = importlib.util.spec_from_file_location(str(FOLDER).replace(".", "_x_"), FOLDER / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(nodes, workflow, cache):
    """The outputs of a workflow in the API's format, whose nodes are in the order of their numbers."""
    outputs = {}
    for number, node in sorted(workflow.items()):
        if node["class_type"] not in nodes:
            continue
        inputs = {name: outputs[value[0]][value[1]] if isinstance(value, list) else value for name, value in node["inputs"].items()}
        kind = nodes[node["class_type"]]
        known = json.dumps(node)
        if known not in cache:
            cache[known] = getattr(kind(), kind.FUNCTION)(**inputs)
        outputs[number] = cache[known]
    return outputs


class Nodes(unittest.TestCase):
    def setUp(self):
        self.comfy = StandIn()
        before = {name: sys.modules.get(name) for name in self.comfy.modules}
        sys.modules.update(self.comfy.modules)

        def restore():
            for name, module in before.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module

        self.addCleanup(restore)
        self.module = load()
        self.nodes = self.module.NODE_CLASS_MAPPINGS
        self.workflow = json.loads((FOLDER / "panda.json").read_text())

    def test_have_what_comfyui_asks_of_a_node(self):
        self.assertEqual(set(self.nodes), set(self.module.NODE_DISPLAY_NAME_MAPPINGS))
        for name, kind in self.nodes.items():
            self.assertTrue(callable(getattr(kind, kind.FUNCTION)), name)
            self.assertTrue(kind.CATEGORY and kind.DESCRIPTION, name)
            self.assertIsInstance(kind.RETURN_TYPES, tuple)
            self.assertEqual(len(getattr(kind, "RETURN_NAMES", kind.RETURN_TYPES)), len(kind.RETURN_TYPES), name)
            inputs = kind.INPUT_TYPES()["required"]
            parameters = getattr(kind, kind.FUNCTION).__code__
            self.assertEqual(list(inputs), list(parameters.co_varnames[1:parameters.co_argcount]), name)
            for what, (type_name, *options) in inputs.items():
                if isinstance(type_name, list):
                    self.assertTrue(type_name, what)
                elif type_name not in WIDGETS:
                    self.assertIn(type_name, {"ERNIE_IMAGE_MODEL", "LATENT"}, what)
                elif type_name in ("INT", "FLOAT"):
                    self.assertTrue(options[0]["min"] <= options[0]["default"] <= options[0]["max"], what)

    def test_draw_the_panda_with_previews(self):
        outputs = run(self.nodes, self.workflow, {})
        image = outputs["3"][0]
        self.assertEqual((image.shape, image.dtype), ((1, 64, 64, 3), np.float32))
        expected = ErnieImagePipeline.from_pretrained()("a panda on a pink background", generator=7, use_pe=False, output_type="np").images
        np.testing.assert_array_equal(image, expected)
        self.assertEqual([each[:3] for each in self.comfy.progress], [(step, 8, "JPEG") for step in range(1, 9)])
        self.assertEqual({each[4] for each in self.comfy.progress}, {threading.get_ident()})

    def test_cancel_in_the_midst_of_a_step_and_draw_again(self):
        cache = {}
        run(self.nodes, self.workflow, cache)
        long = json.loads(json.dumps(self.workflow))
        long["2"]["inputs"].update(width=1024, height=1024, steps=500)
        timer = threading.Timer(0.2, lambda: setattr(self.comfy, "interrupted", True))
        timer.start()
        with self.assertRaises(Interrupted):
            run(self.nodes, long, cache)
        self.workflow["2"]["inputs"]["seed"] = 8
        self.assertEqual(run(self.nodes, self.workflow, cache)["3"][0].shape, (1, 64, 64, 3))

    def test_adapters_follow_the_wire(self):
        (model,) = self.nodes["ErnieImageLoader"]().load(str(ROOT / "tests/data/reference/models/tiny_b"), "cpu", "float32", "none")
        sample = lambda wire: self.nodes["ErnieImageSampler"]().sample(wire, "a cat", "", 32, 32, 1, 1.0, 1, 1)[0]["samples"]
        plain = sample(model)
        (with_one,) = self.nodes["ErnieImageLora"]().add(model, "kohya/ot_lora.safetensors", 1.0)
        (weaker,) = self.nodes["ErnieImageLora"]().add(with_one, "kohya/ot_lora.safetensors", 0.5)
        changed = sample(with_one)
        self.assertFalse(np.array_equal(changed, plain))
        self.assertFalse(np.array_equal(sample(weaker), changed))
        np.testing.assert_array_equal(sample(model), plain)
        np.testing.assert_array_equal(sample(with_one), changed)

    def test_the_enhancer_writes(self):
        (model,) = self.nodes["ErnieImageLoader"]().load("", "cpu", "float32", "none")
        (text,) = self.nodes["ErnieImageEnhancer"]().enhance(model, "a cat", 0, 0, 0.0, 42)
        self.assertNotEqual(text, "a cat")
        self.assertEqual(text, model.pipe.enhance("a cat", temperature=0))

    def test_bad_input_is_named(self):
        (model,) = self.nodes["ErnieImageLoader"]().load("", "cpu", "float32", "none")
        with self.assertRaisesRegex(ValueError, "this model's are"):
            self.nodes["ErnieImageDecode"]().decode(model, {"samples": np.zeros((1, 4, 8, 8), np.float32)})
        with self.assertRaises(ernie_image.NotFound):
            self.nodes["ErnieImageLoader"]().load("/nowhere", "cpu", "float32", "none")
        with self.assertRaisesRegex(ValueError, "divi"):
            self.nodes["ErnieImageSampler"]().sample(model, "a cat", "", 24, 32, 1, 1.0, 1, 1)


if __name__ == "__main__":
    unittest.main()
