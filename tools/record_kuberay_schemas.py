#!/usr/bin/env python3
"""Records the schemas of KubeRay's resources for python/tests/test_kuberay.py: tests/data/kuberay/schemas.json.xz.

    tools/record_kuberay_schemas.py KUBERAY VERSION

KUBERAY: ray-operator/config/crd/bases of KubeRay's source at that version. Needs PyYAML. Left out are the descriptions, two thirds of it.
"""
import json
import lzma
import pathlib
import sys

import yaml

OUTPUT = pathlib.Path(__file__).resolve().parents[1] / "tests/data/kuberay/schemas.json.xz"


def without_descriptions(schema):
    if isinstance(schema, list):
        return [without_descriptions(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: without_descriptions(value) for name, value in schema.items() if not (name == "description" and isinstance(value, str))}


def main(folder, version):
    schemas = {}
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        definition = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
        for each in definition["versions"]:
            name = f"{definition['group']}/{each['name']} {definition['names']['kind']}"
            schemas[name] = without_descriptions(each["schema"]["openAPIV3Schema"])
    text = json.dumps({"kuberay": version, "schemas": schemas}, sort_keys=True, separators=(",", ":"))
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{OUTPUT.name}: {len(schemas)} schemas of KubeRay {version}, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
