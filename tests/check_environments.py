"""Every test whose name says that it runs on a stand-in has the environment that puts it there.

    check_environments.py CTEST BUILD_FOLDER

Without it such a test would run on the CPU, and pass.
"""

import json
import subprocess
import sys

DEVICES = {"Standin": "ascend", "CudaHost": "cuda"}


def environment(test):
    properties = {entry["name"]: entry["value"] for entry in test.get("properties", [])}
    return properties.get("ENVIRONMENT", [])


def main(ctest, build_folder):
    listed = subprocess.run([ctest, "--test-dir", build_folder, "--show-only=json-v1"],
                            check=True, capture_output=True, text=True).stdout
    checked, wrong = 0, []
    for test in json.loads(listed)["tests"]:
        for prefix, device in DEVICES.items():
            if test["name"].startswith(prefix):
                checked += 1
                if f"ERNIE_IMAGE_TEST_DEVICE={device}" not in environment(test):
                    wrong.append(test["name"])
    for name in wrong:
        print(f"not on its device: {name}")
    print(f"{checked} tests on stand-ins, {len(wrong)} not")
    return 1 if wrong or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
