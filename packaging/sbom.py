#!/usr/bin/env python3
"""What the program is made of, as a CycloneDX document: sbom.py PROGRAM VERSION OUTPUT

The Debian packages of the libraries that it is linked to, and of those that are headers only (docs/dependencies.md). Exit code
77 without cyclonedx-python-lib, which writes it. The same program and packages give the same bytes: its time is
SOURCE_DATE_EPOCH, or else the program's.
"""

import datetime
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import uuid

try:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from packageurl import PackageURL
except ImportError:
    sys.exit(77)

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs/dependencies.md"


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def linked_packages(program):
    """{package: [files]} of every library that is loaded with the program."""
    packages = {}
    for path in re.findall(r"(?:=> )?(/\S+) \(0x", output_of("ldd", program)):
        file = pathlib.Path(path)
        # Where / and /usr are one, dpkg knows one of the names.
        found = output_of("dpkg-query", "--search", f"*/{file.parent.name}/{file.name}").split(":")[0]
        packages.setdefault(found, []).append(file)
    return packages


def header_packages():
    rows = [[cell.strip() for cell in line.split("|")] for line in PAGE.read_text().splitlines() if "headers only" in line]
    return {row[2]: [] for row in rows}


def component_of(package, files):
    version, architecture, source = output_of(
        "dpkg-query", "--show", "--showformat=${Version} ${Architecture} ${source:Package}\n", package).splitlines()[0].split()
    url = PackageURL("deb", "debian", package, version, {"arch": architecture, "upstream": source})
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(file.read_bytes()).hexdigest()) for file in files[:1]]
    return Component(type=ComponentType.LIBRARY, name=package, version=version, purl=url, bom_ref=str(url), hashes=hashes)


def bom_of(program, version):
    packages = {**header_packages(), **linked_packages(program)}
    components = [component_of(name, files) for name, files in sorted(packages.items())]
    bom = Bom(components=components)
    bom.metadata.component = root = Component(type=ComponentType.APPLICATION, name="ernie-image", version=version,
                                              bom_ref=f"ernie-image@{version}")
    bom.register_dependency(root, components)
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", os.stat(program).st_mtime))
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, " ".join([root.bom_ref.value, *(str(c.purl) for c in components)]))
    return bom


def main():
    program, version, output = sys.argv[1:]
    text = make_outputter(bom_of(program, version), OutputFormat.JSON, SchemaVersion.V1_5).output_as_string(indent=1)
    pathlib.Path(output).write_text(text + "\n")


if __name__ == "__main__":
    main()
