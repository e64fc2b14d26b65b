"""The Debian packages as a stranger gets them: made by cpack, looked at and unpacked.  package_test.py BUILD_DIR

Installing them for real takes root and changes the machine; `--install` does that as well, and removes them again."""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM_FILES = {"/usr/bin/ernie-image", "/usr/lib/systemd/system/ernie-image.service",
                 "/usr/lib/systemd/system/ernie-image-worker@.service", "/usr/lib/sysusers.d/ernie-image.conf",
                 "/etc/default/ernie-image", "/usr/share/doc/ernie-image/nginx.conf",
                 "/usr/share/doc/ernie-image/copyright", "/usr/share/doc/ernie-image/deploy.md",
                 "/usr/share/man/man1/ernie-image.1", "/usr/share/bash-completion/completions/ernie-image",
                 "/usr/share/zsh/vendor-completions/_ernie-image",
                 "/usr/share/fish/vendor_completions.d/ernie-image.fish"}
LIBRARY_FILES = {"/usr/include/ernie_image/pipeline.h", "/usr/lib/libernie_image.so",
                 "/usr/include/ernie_image/c.h", "/usr/lib/libernie_image_c.so.1", "/usr/lib/pkgconfig/ernie_image_c.pc",
                 "/usr/lib/cmake/ernie_image/ernie_imageConfig.cmake", "/usr/lib/pkgconfig/ernie_image.pc"}


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


def check(condition, message):
    if not condition:
        sys.exit(message)


def files_of(package):
    lines = run("dpkg-deb", "--contents", package).splitlines()
    owners = {line.split()[1] for line in lines}
    check(owners == {"root/root"}, f"files belong to {owners}")
    return {line.split()[5].removeprefix(".") for line in lines if not line.split()[5].endswith("/")}


def names_in(field):
    """Package names of a field such as "libc6 (>= 2.36), libfmt9"."""
    return {entry.split()[0] for entry in field.split(",") if entry.strip()}


def check_dependencies(package, program):
    """What the program is linked to is what the package asks for."""
    asked = names_in(run("dpkg-deb", "--field", package, "Depends"))
    direct = run("objdump", "-p", program)
    libraries = [pathlib.Path(path) for path in re.findall(r"=> (/\S+)", run("ldd", program))]
    # The folder with its architecture as well, or cross compilers' libraries would match.
    needed = {run("dpkg-query", "--search", f"*/{path.parent.name}/{path.name}").split(":")[0] for path in libraries
              if path.name in direct}
    # Some are asked for by a name that says more, which the package provides.
    missing = [name for name in needed - asked
               if not asked & names_in(run("dpkg-query", "--show", "--showformat=${Provides}", name))]
    check(needed and not missing, f"needs {sorted(missing)} too, asks for {sorted(asked)}")


def check_bill_of_materials(path, package):
    """It names the versions of all packages that the package asks for by name, and of what is headers only."""
    bom = json.loads(path.read_text())
    check((bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.5"), f"{path.name} is no CycloneDX 1.5")
    check(bom["metadata"]["component"]["name"] == "ernie-image", f"{path.name} is about something else")
    versions = {component["name"]: component["version"] for component in bom["components"]}
    asked = names_in(run("dpkg-deb", "--field", package, "Depends"))
    # Some are asked for by a name that says more, which the package provides.
    provided = names_in(run("dpkg-query", "--show", "--showformat=${Provides},", *versions))
    missing = (asked | {"nlohmann-json3-dev", "libeigen3-dev"}) - set(versions) - provided
    check(asked and not missing, f"{path.name} lacks {sorted(missing)}")
    for name in ("libssl3", "libpng16-16"):
        check(versions[name] == run("dpkg-query", "--show", "--showformat=${Version}", name), f"another version of {name}")
    [root] = [entry for entry in bom["dependencies"] if entry["ref"] == bom["metadata"]["component"]["bom-ref"]]
    check(len(root["dependsOn"]) == len(versions), "not everything is what the program depends on")


def check_program(program, folder):
    picture = folder / "picture.png"
    run(program, "generate", "--prompt", "a red apple", "--num-steps", "1", "--output", str(picture))
    check(picture.stat().st_size > 100, "no picture")


def check_services(root, program):
    """The program knows the flags that the units and the defaults give it; systemd understands the units."""
    units = root / "usr/lib/systemd/system"
    defaults = (root / "etc/default/ernie-image").read_text()
    for command, name in (("serve", "ernie-image.service"), ("worker", "ernie-image-worker@.service")):
        start = re.search(r"^ExecStart=(.*)$", (units / name).read_text(), re.M).group(1)
        start += re.search(rf"^#?ERNIE_IMAGE_{command.upper()}=(.*)$", defaults, re.M).group(1)
        helped = run(program, command, "--help")
        unknown = [flag for flag in re.findall(r"--[a-z-]+", start) if f"{flag} " not in helped]
        check(not unknown, f"{command} does not know {unknown}")
    if shutil.which("systemd-analyze"):
        for target in pathlib.Path("/usr/lib/systemd/system").glob("*.target"):  # which ours want or come after
            if not (units / target.name).exists():
                shutil.copy(target, units)
        names = ("ernie-image.service", "ernie-image-worker@1.service")
        # Without --recursive-errors an unknown key is a warning that the exit code does not tell of.
        run("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", f"--root={root}", *names)
        # In tenths: they are at 1.7.
        run("systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=20", f"--root={root}", *names)


def install_and_remove(packages):
    run("dpkg", "--install", *map(str, packages))
    try:
        with tempfile.TemporaryDirectory() as folder:
            check_program("/usr/bin/ernie-image", pathlib.Path(folder))
    finally:
        run("dpkg", "--purge", "ernie-image", "libernie-image-dev")
    left = [path for path in PROGRAM_FILES | LIBRARY_FILES if pathlib.Path(path).exists()]
    check(not left, f"left behind: {left}")


def main():
    build = pathlib.Path(sys.argv[1])
    if not shutil.which("dpkg-shlibdeps"):
        print("skipped: no dpkg-dev")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        run("cpack", "-G", "DEB", "--config", str(build / "CPackConfig.cmake"), "-B", str(folder))
        [program_package] = folder.glob("ernie-image_*.deb")
        [library_package] = folder.glob("libernie-image-dev_*.deb")
        check(files_of(program_package) >= PROGRAM_FILES, "the program's package lacks files")
        check(files_of(library_package) >= LIBRARY_FILES, "the library's package lacks files")
        root = folder / "root"
        run("dpkg-deb", "--extract", str(program_package), str(root))
        program = str(root / "usr/bin/ernie-image")
        check_dependencies(program_package, program)
        check_program(program, folder)
        if subprocess.run([build / "client-venv/bin/python", "-c", "import cyclonedx"], check=False).returncode == 0:
            check_bill_of_materials(root / "usr/share/doc/ernie-image/sbom.cdx.json", program_package)
        else:
            print("cyclonedx-python-lib is not installed: no bill of materials")
        check_services(root, program)
        if "--install" in sys.argv:
            install_and_remove([program_package, library_package])


if __name__ == "__main__":
    main()
