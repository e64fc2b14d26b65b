"""What a wheel is made of: the files that CMake installs and those beside this folder are the whole package, and need nothing of the
build's folder.  test_installed.py BUILD"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv.pop(1))


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.root = pathlib.Path(folder.name)
        cls.package = cls.root / "ernie_image"
        run("cmake", "--install", BUILD, "--component", "python", "--prefix", cls.root, "--strip")
        cls.objects = [path for path in cls.package.rglob("*") if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
        shutil.copytree(ROOT / "python/ernie_image", cls.package, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))

    def test_draws_the_panda_in_three_lines(self):
        path = self.root / "panda.png"
        run(sys.executable, "-I", "-c", f"""
import sys; sys.path.insert(0, {str(self.root)!r})
from ernie_image import ErnieImagePipeline
pipe = ErnieImagePipeline.from_pretrained("embedded:emoji-tiny")
pipe("a panda on a pink background", num_inference_steps=1, use_pe=False).images[0].save({str(path)!r})""")
        self.assertEqual(path.read_bytes()[:4], b"\x89PNG")
        self.assertRegex(run(self.package / "bin/ernie-image", "--version"), r"\d+\.\d+\.\d+")

    def test_has_program_module_and_types_and_knows_no_folder_of_the_build(self):
        names = {path.relative_to(self.package).as_posix().split(".")[0] for path in self.objects}
        self.assertLessEqual({"bin/ernie-image", "_native"}, names)
        self.assertTrue((self.package / "_native.pyi").is_file())
        self.assertTrue((self.package / "py.typed").is_file())
        for path in self.objects:
            for folders in re.findall(r"R(?:UN)?PATH\)\s.*\[(.*)\]", run("readelf", "-d", path)):
                self.assertTrue(all(folder.startswith("$ORIGIN") for folder in folders.split(":")), f"{path}: {folders}")

    def test_what_pip_is_told_to_build_is_there(self):
        told = (ROOT / "pyproject.toml").read_text()
        targets = re.findall(r'"([\w-]+)"', re.search(r"^build\.targets = \[(.*)\]$", told, re.M).group(1))
        self.assertGreater(len(targets), 1)
        known = set(re.findall(r"^build ([^\s:]+)", (BUILD / "build.ninja").read_text(), re.M))
        self.assertLessEqual(set(targets), known)
        version = re.search(re.search(r"^regex = '(.*)'$", told, re.M).group(1), (ROOT / "CMakeLists.txt").read_text())
        self.assertIn(version.group("value"), run(self.package / "bin/ernie-image", "--version"))


if __name__ == "__main__":
    unittest.main()
