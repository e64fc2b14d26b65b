"""packaging/kuberay.yaml against the schemas of KubeRay, and what it says to Ray and to this package. Skipped (77) without Ray."""
import copy
import json
import lzma
import pathlib
import shlex
import sys
import unittest

try:
    import jsonschema
    import yaml
    from ray.serve.schema import ServeDeploySchema
except ImportError as missing:
    print(f"skipped: Ray is not installed: {missing}")
    sys.exit(77)

from ernie_image import ray as ernie_ray

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORDED = json.loads(lzma.decompress((ROOT / "tests/data/kuberay/schemas.json.xz").read_bytes()))


def strict(schema):
    """With unknown fields refused, as ``kubectl apply --validate=strict`` does; the server itself drops them."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def without_metadata(resource):
    """The schema has it as any object."""
    return {name: value for name, value in resource.items() if name != "metadata"}


def problems(resource):
    name = f"{resource['apiVersion']} {resource['kind']}"
    validator = jsonschema.Draft202012Validator(strict(RECORDED["schemas"][name]))
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(without_metadata(resource))]


class Manifest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        documents = yaml.safe_load_all((ROOT / "packaging/kuberay.yaml").read_text())
        cls.resources = {each["kind"]: each for each in documents}

    def test_is_what_kuberay_takes(self):
        for kind in ("RayService", "RayJob"):
            self.assertEqual(problems(self.resources[kind]), [], kind)

    def test_mistakes_would_be_seen(self):
        wrong = copy.deepcopy(self.resources["RayService"])
        wrong["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["replica"] = 1
        self.assertIn("'replica' was unexpected", "".join(problems(wrong)))
        wrong = copy.deepcopy(self.resources["RayJob"])
        wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] = "4"
        self.assertIn("'4' is not of type 'integer'", "".join(problems(wrong)))
        del wrong["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
        self.assertIn("'template' is a required property", "".join(problems(wrong)))

    def test_the_service_is_ours(self):
        config = yaml.safe_load(self.resources["RayService"]["spec"]["serveConfigV2"])
        (application,) = ServeDeploySchema(**config).applications
        module, name = application.import_path.split(":")
        self.assertEqual((module, getattr(ernie_ray, name)), ("ernie_image.ray", ernie_ray.application))
        bound = ernie_ray.application(application.args)
        self.assertEqual(bound._bound_deployment.ray_actor_options["num_gpus"], 1)
        with self.assertRaisesRegex(ValueError, "modle"):
            ernie_ray.application({"modle": "x"})

    def test_the_job_is_ours(self):
        words = shlex.split(self.resources["RayJob"]["spec"]["entrypoint"])
        self.assertEqual(words[:3], ["python", "-m", "ernie_image.ray"])
        asked = ernie_ray._parser().parse_args(words[3:])
        self.assertEqual((asked.device, asked.batch_size), ("cuda", 4))


if __name__ == "__main__":
    unittest.main(verbosity=2)
