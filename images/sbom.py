"""Lists what an image holds, as a CycloneDX document, by reading the image itself and not what it was made from.

    python images/sbom.py ARCHIVE > sbom.json

Debian packages come from dpkg's own list, Python packages from their metadata. Libraries that wheels carry inside are
listed by the wheel only.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

DPKG: Final = "var/lib/dpkg/status"
PYTHON: Final = re.compile(r"\.dist-info/METADATA$")
Component = dict[str, Any]


def document(name: str, version: str, archive: Path) -> dict[str, Any]:
    """The CycloneDX document of an image's archive (docker-archive format)."""
    found = {component["purl"]: component for component in _components(archive)}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": [found[purl] for purl in sorted(found)],
    }


def _components(archive: Path) -> Iterator[Component]:
    with tarfile.open(archive) as image:
        (manifest,) = json.load(_file(image, "manifest.json"))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=_file(image, layer), mode="r|*") as files:
                yield from _in_layer(files)


def _in_layer(files: tarfile.TarFile) -> Iterator[Component]:
    for member in files:
        wanted = member.isfile() and (member.name.removeprefix("./") == DPKG or PYTHON.search(member.name))
        if wanted and (content := files.extractfile(member)) is not None:
            text = content.read().decode()
            yield from debian(text) if member.name.endswith("/status") else [python(text)]


def debian(status: str) -> Iterator[Component]:
    """The packages that dpkg lists as installed."""
    for paragraph in re.split(r"\n{2,}", status.strip()):
        fields = HeaderParser().parsestr(paragraph)
        if (fields["Status"] or "").endswith(" installed"):
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            yield _component("deb/debian", name, version, f"?arch={architecture}")


def python(metadata: str) -> Component:
    """One Python package; its license where it is told as an SPDX expression."""
    fields = HeaderParser().parsestr(metadata)
    name = re.sub(r"[-_.]+", "-", fields["Name"]).lower()
    component = _component("pypi", name, fields["Version"])
    if fields["License-Expression"]:
        component["licenses"] = [{"expression": fields["License-Expression"]}]
    return component


def _component(kind: str, name: str, version: str, qualifiers: str = "") -> Component:
    purl = f"pkg:{kind}/{quote(name, safe='')}@{quote(version, safe=':')}{qualifiers}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _file(image: tarfile.TarFile, name: str) -> IO[bytes]:
    content = image.extractfile(name)
    if content is None:
        raise ValueError(f"{name} in {image.name!r} is no file; build the image anew")
    return content


if __name__ == "__main__":
    json.dump(document(Path(sys.argv[1]).stem, "dev", Path(sys.argv[1])), sys.stdout, indent=1)
