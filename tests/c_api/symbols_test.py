"""The functions that c.h declares are those that ernie_image_c.map names and the library shows, each with a version, and
the soname is the ABI's.  symbols_test.py ROOT LIBRARY"""
import pathlib
import re
import subprocess
import sys


def main():
    root, library = pathlib.Path(sys.argv[1]), sys.argv[2]
    header = re.sub(r"/\*.*?\*/", "", (root / "include/ernie_image/c.h").read_text(), flags=re.S)
    declared = {name for declaration in header.split("ERNIE_IMAGE_C_API ")[1:]
                for name in re.findall(r"\b(ernie_image_\w+)\(", declaration.split(";")[0])}
    mapped = set(re.findall(r"^    (\w+);$", (root / "src/c_api/ernie_image_c.map").read_text(), re.M))
    lines = subprocess.run(["nm", "--dynamic", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    shown = dict(re.findall(r" [TtVvWwRrDdBb] (\S+?)@@(\S+)", lines))
    plain = [line for line in lines.splitlines() if "@" not in line and " A " not in line]
    dynamic = subprocess.run(["objdump", "-p", library], capture_output=True, text=True, check=True).stdout
    problems = [f"declared, not in the map: {sorted(declared - mapped)}"] if declared - mapped else []
    if mapped - declared:
        problems.append(f"in the map, not declared: {sorted(mapped - declared)}")
    if set(shown) != declared:
        problems.append(f"shown and declared differ: {sorted(set(shown) ^ declared)}")
    if any(not version.startswith("ERNIE_IMAGE_C_1.") for version in shown.values()) or plain:
        problems.append(f"without a version: {plain[:5]}, {set(shown.values())}")
    if not re.search(r"SONAME\s+libernie_image_c\.so\.1\n", dynamic):
        problems.append("the soname is not libernie_image_c.so.1")
    if len(declared) < 30:
        problems.append(f"only {len(declared)} functions were found in c.h")
    sys.exit("\n".join(problems) if problems else 0)


if __name__ == "__main__":
    main()
