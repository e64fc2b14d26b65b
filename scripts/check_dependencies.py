#!/usr/bin/env python3
"""Fails, naming the places, if docs/dependencies.md and what is asked for differ: the Debian packages of the scripts, the names that
CMake looks for, and, on Debian 12, the versions installed.
    scripts/check_dependencies.py [ROOT]
"""

import re
import subprocess
import sys
from pathlib import Path

PAGE = "docs/dependencies.md"
CMAKE_CALL = re.compile(r"^\s*(find_package|find_path|find_library|pkg_check_modules)\(([^)]*)\)", re.MULTILINE)
CMAKE_WORDS = {"REQUIRED", "CONFIG", "COMPONENTS", "GLOBAL", "IMPORTED_TARGET", "HINTS", "QUIET"}
OWN = {"ernie_image"}  # what examples and the tests of the installation look for


def table_rows(page):
    """Each row of the page as {column: text}."""
    header, rows = None, []
    for line in page.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if header is None:
            header = cells
        elif not set(line) <= set("|-"):
            if len(cells) != len(header):
                sys.exit(f"{PAGE}: a row of {len(cells)} cells under {len(header)} columns: {line}")
            rows.append(dict(zip(header, cells)))
    return rows


def listed(rows, column):
    return {name for row in rows for name in row[column].split(", ") if name}


def names_of_call(kind, arguments):
    """What one call of CMake looks for: a package, a header, a library, or modules of pkg-config."""
    words = arguments.split()
    if kind == "find_package":
        return words[:1]
    if kind != "pkg_check_modules":
        return words[1:2]
    return [word for word in words[1:] if word not in CMAKE_WORDS]


def cmake_names(root):
    files = [root / "CMakeLists.txt"]
    for folder in ("apps", "bench", "cmake", "examples", "fuzz", "python", "src", "tests"):
        files += sorted((root / folder).rglob("CMakeLists.txt")) + sorted((root / folder).rglob("*.cmake"))
    return {name for file in files for kind, arguments in CMAKE_CALL.findall(file.read_text())
            for name in names_of_call(kind, arguments)} - OWN


def script_packages(root):
    """The arrays of install_packages.sh, and names given to install_packages elsewhere."""
    text = (root / "scripts/install_packages.sh").read_text()
    arrays = re.findall(r"PACKAGES\+?=\(([^)]*)\)", text)
    scripts = [root / name for name in (".ci/run", "test.sh", "demo.sh")] + sorted((root / "scripts").glob("*.sh"))
    calls = [call for script in scripts if script.exists()
             for call in re.findall(r"^\s*install_packages ([^|&\n]*)", script.read_text(), re.MULTILINE)]
    words = " ".join(arrays + calls).split()
    return {word for word in words if re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", word)}


def upstream(version):
    """'1:2.1.5-2' is 2.1.5, '0.11.4+ds-1' is 0.11.4, '4.8+really4.7.5-1' is 4.7.5."""
    version = version.partition(":")[2] or version
    return version.rpartition("-")[0].rpartition("really")[2].partition("+")[0].partition("~")[0] or version


def installed_version(package):
    done = subprocess.run(["dpkg-query", "--show", "--showformat=${Status} ${Version}", package], capture_output=True, text=True, check=False)
    return done.stdout.rpartition(" ")[2] if " installed " in done.stdout else None


def is_debian_12():
    release = Path("/etc/os-release")
    return release.exists() and 'VERSION_ID="12"' in release.read_text()


def wrong_versions(rows):
    for row in rows:
        for package in filter(None, row["Debian package"].split(", ")):
            version = installed_version(package)
            # Of compilers the package has a version of its own, but for the first numbers.
            if version and row["version"] != "any" and not (upstream(version) + ".").startswith(row["version"] + "."):
                yield f"{PAGE} has {row['what']} {row['version']}; {package} is {version}"


def differences(what, page, asked):
    yield from (f"{PAGE} lacks the {what} {name}" for name in sorted(asked - page))
    yield from (f"{PAGE} has the {what} {name}, which nothing asks for" for name in sorted(page - asked))


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    rows = table_rows((root / PAGE).read_text())
    problems = [f"{PAGE} has no licence of {row['what']}" for row in rows if not row["licence"]]
    problems += differences("package", listed(rows, "Debian package"), script_packages(root))
    problems += differences("CMake name", listed(rows, "found as"), cmake_names(root))
    if is_debian_12():
        problems += wrong_versions(rows)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{len(rows)} dependencies are as {PAGE} says")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
