"""The container's files without an engine: what linters say of them, and whether they name what is there.

  container_test.py PROGRAM PACKAGING      run by the Python of the environment that has tests/server/requirements.txt
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    from ruamel.yaml import YAML
except ImportError as error:
    print("SKIPPED: %s; see tests/server/requirements.txt and test.sh" % error)
    sys.exit(77)

PROGRAM = None
PACKAGING = None


def tool(name):
    path = pathlib.Path(sys.executable).parent / name
    if not path.exists():
        raise unittest.SkipTest(f"without {name}; see tests/server/requirements.txt")
    return str(path)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def flags_of(command):
    """The long flags of a command of the program, as its help names them."""
    return set(re.findall(r"--[a-z][a-z0-9-]*", run(PROGRAM, command, "--help").stdout))


class ContainerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.compose = YAML(typ="safe").load(PACKAGING / "compose.yaml")
        cls.dockerfile = (PACKAGING / "Dockerfile").read_text()

    def assert_is_clean(self, result):
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_hadolint_finds_nothing_in_the_dockerfile(self):
        self.assert_is_clean(run(tool("hadolint"), str(PACKAGING / "Dockerfile")))

    def test_compose_file_is_what_the_specification_allows(self):
        self.assert_is_clean(run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(PACKAGING / "compose.yaml")))

    def test_commands_have_only_flags_that_the_program_knows(self):
        default = re.search(r'^CMD (\[.*\])$', self.dockerfile, re.MULTILINE)[1]
        commands = [YAML(typ="safe").load(default)]
        commands += [service["command"] for service in self.compose["services"].values() if service["image"] == "ernie-image"]
        self.assertEqual([command[0] for command in commands], ["serve", "serve", "worker"])
        for command in commands:
            self.assertLessEqual({word for word in command if word.startswith("--")}, flags_of(command[0]), command)

    def test_everything_it_names_is_declared(self):
        services = self.compose["services"]
        for name, service in services.items():
            self.assertLessEqual(set(service.get("depends_on", [])), set(services), name)
            self.assertLessEqual(set(service.get("secrets", [])), set(self.compose["secrets"]), name)
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    self.assertTrue((PACKAGING / source).exists(), volume)
                elif not source.startswith("$"):
                    self.assertIn(source, self.compose["volumes"], name)
        build = services["gateway"]["build"]
        self.assertTrue((PACKAGING / build["context"] / build["dockerfile"]).exists())
        for script in re.findall(r"source (\S+)", self.dockerfile):
            self.assertTrue((PACKAGING.parent / script).exists(), script)

    def test_nginx_takes_its_file(self):
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
        if nginx is None:
            self.skipTest("no nginx is installed")
        text = (PACKAGING / "compose-nginx.conf").read_text()
        address = re.search(r"proxy_pass http://(\w+):", text)[1]
        self.assertIn(address, self.compose["services"])
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "server.conf").write_text(text.replace(address, "127.0.0.1"))  # a name that nobody knows here
            conf = pathlib.Path(folder) / "nginx.conf"
            conf.write_text(f"pid {folder}/pid; events {{}} http {{ include {folder}/server.conf; }}")
            self.assert_is_clean(run(nginx, "-t", "-q", "-p", folder, "-e", f"{folder}/error.log", "-c", str(conf)))


if __name__ == "__main__":
    PACKAGING = pathlib.Path(sys.argv.pop()).resolve()
    PROGRAM = sys.argv.pop()
    unittest.main()
