#!/usr/bin/env python3
"""Puts each deliberate fault of mutations.toml into a copy of the project and shows that the tests of CI fail on it.

    tests/mutations/run.py [NAME...]        all by default
    tests/mutations/run.py --list

The copy and its two builds (presets release and ci, one object a source but for the tests) are kept in build-mutations/, so
that a second run is quick. Ends with a
table; exits with 1 if a fault was not seen, or could not be put in: then the tests or the description need work.
"""
import argparse
import dataclasses
import pathlib
import re
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
TEST_TIMEOUT_S = 120  # a fault may make a test wait for ever
JOBS = "2"


class Stale(Exception):
    """The description does not fit the sources any more."""


@dataclasses.dataclass
class Mutation:
    name: str
    layer: str
    fault: str
    file: str
    old: str
    new: str
    program: str
    tests: str
    targets: list = dataclasses.field(default_factory=list)
    sanitize: bool = False

    def build(self):
        return "sanitized" if self.sanitize else "plain"


def read_mutations():
    with open(HERE / "mutations.toml", "rb") as file:
        return [Mutation(**entry) for entry in tomllib.load(file)["mutation"]]


def find_source(mutation, root):
    """The file that holds the old text, once."""
    named = root / mutation.file
    if named.is_file() and mutation.old in named.read_text():
        found = [named]
    else:
        found = [path for folder in ("src", "apps") for path in sorted((root / folder).rglob("*"))
                 if path.suffix in (".cpp", ".h", ".cu", ".js") and mutation.old in path.read_text()]
    if not found:
        raise Stale(f"the old text is nowhere in src/ or apps/ (it was in {mutation.file})")
    if len(found) > 1 or found[0].read_text().count(mutation.old) != 1:
        raise Stale("the old text stands more than once: " + ", ".join(str(path.relative_to(root)) for path in found))
    return found[0]


class Scratch:
    """A copy of the project's files with a build for each preset."""

    def __init__(self, folder):
        self.source = folder
        # Beside the sources as everybody has them, so that what they compiled is found in the compiler's cache.
        self.builds = {"plain": folder / "build", "sanitized": folder / "build-ci"}

    def copy(self):
        """Only what differs is written, so that a build goes on where it was."""
        names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=PROJECT,
                               check=True, capture_output=True).stdout.decode().split("\0")
        wanted = {name for name in names if name and (PROJECT / name).is_file()}
        for path in list(self.source.rglob("*")):
            name = str(path.relative_to(self.source))
            if path.is_file() and name not in wanted and not name.startswith("build"):
                path.unlink()
        for name in wanted:
            target, content = self.source / name, (PROJECT / name).read_bytes()
            if target.is_file() and target.read_bytes() == content:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod((PROJECT / name).stat().st_mode)

    def configure(self, build):
        preset = {"plain": "release", "sanitized": "ci"}[build]
        subprocess.run(["cmake", "--preset", preset, "--log-level=WARNING", "-D", "ERNIE_IMAGE_UNITY_TESTS_ONLY=ON",
                        "-D", "ERNIE_IMAGE_BENCH=OFF"], cwd=self.source, check=True, stdout=subprocess.DEVNULL)

    def compile(self, build, targets):
        """None, or what the compiler says."""
        result = subprocess.run(["cmake", "--build", self.builds[build], "--parallel", JOBS, "--target", *targets],
                                capture_output=True, text=True)
        said = result.stdout + result.stderr
        return None if result.returncode == 0 else said[max(0, said.find("FAILED:")):]

    def failing_tests(self, build, tests):
        """Names of those that fail, none if all pass; Stale if there is no such test."""
        result = subprocess.run(["ctest", "--test-dir", self.builds[build], "-R", tests, "-E", "_NOT_BUILT", "-j", JOBS,
                                 "--timeout", str(TEST_TIMEOUT_S), "--no-tests=error"], capture_output=True, text=True)
        if "No tests were found" in result.stdout + result.stderr:
            raise Stale(f"no test is called {tests}")
        if result.returncode == 0:
            return []
        return re.findall(r"^\s*\d+ - (\S+) \((?!Skipped)", result.stdout, re.MULTILINE) or ["?"]


def check_unchanged(scratch, mutations):
    """A test that fails already shows nothing."""
    for build in ("plain", "sanitized"):
        chosen = [mutation for mutation in mutations if mutation.build() == build]
        if not chosen:
            continue
        scratch.configure(build)
        problem = scratch.compile(build, sorted({target for m in chosen for target in [m.program, *m.targets]}))
        if problem:
            sys.exit(f"the unchanged sources do not build:\n{problem}")
        for tests in sorted({mutation.tests for mutation in chosen}):
            try:
                failing = scratch.failing_tests(build, tests)
            except Stale:
                continue  # said when its turn comes
            if failing:
                sys.exit(f"{tests} ({build}): fails without any fault: {', '.join(failing)}")


def judge(scratch, mutation):
    """(verdict, remark) of one fault."""
    try:
        path = find_source(mutation, scratch.source)
    except Stale as problem:
        return "STALE", str(problem)
    original = path.read_text()
    path.write_text(original.replace(mutation.old, mutation.new))
    try:
        problem = scratch.compile(mutation.build(), [mutation.program, *mutation.targets])
        if problem:
            return "NO BUILD", problem[-600:]
        failing = scratch.failing_tests(mutation.build(), mutation.tests)
        if not failing:
            return "SURVIVED", f"all of {mutation.tests} pass"
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        return "seen", failing[0] + more
    except Stale as problem:
        return "STALE", str(problem)
    finally:
        path.write_text(original)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="names and faults, without running anything")
    parser.add_argument("--folder", type=pathlib.Path, default=PROJECT / "build-mutations")
    arguments = parser.parse_args()
    mutations = read_mutations()
    unknown = set(arguments.names) - {mutation.name for mutation in mutations}
    if unknown:
        sys.exit("no such fault: " + ", ".join(sorted(unknown)))
    if arguments.names:
        mutations = [mutation for mutation in mutations if mutation.name in arguments.names]
    if arguments.list:
        for mutation in mutations:
            print(f"{mutation.layer:16} {mutation.name:30} {mutation.fault}")
        return 0

    start = time.monotonic()
    scratch = Scratch(arguments.folder.resolve())
    scratch.copy()
    check_unchanged(scratch, mutations)
    print(f"without a fault all chosen tests pass ({time.monotonic() - start:.0f} s)", flush=True)
    verdicts = []
    for mutation in mutations:
        begin = time.monotonic()
        verdict, remark = judge(scratch, mutation)
        verdicts.append(verdict)
        print(f"{verdict:9} {mutation.layer:15} {mutation.name:30} {time.monotonic() - begin:4.0f} s  {remark}", flush=True)
    seen = verdicts.count("seen")
    print(f"{seen} of {len(mutations)} faults are seen, {time.monotonic() - start:.0f} s in all")
    return 0 if seen == len(mutations) else 1


if __name__ == "__main__":
    sys.exit(main())
