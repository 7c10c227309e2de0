"""Images without a registry: archives written here, and archives from elsewhere loaded into every node.

An archive is what `docker save` writes (or an OCI layout in a tar): it loads into containerd and kind alike.
Layers carry no times, so the same content is the same digest and is not loaded twice.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ClusterError
from .node import Node
from .progress import part

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
NOBODY = "65532:65532"


@dataclass(frozen=True)
class Image:
    """An image of one layer: programs copied in, empty folders, small files."""

    reference: str
    entrypoint: Sequence[str]
    programs: dict[str, Path] = field(default_factory=dict)
    folders: Iterable[str] = ("tmp",)
    files: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    user: str = NOBODY

    def archive_name(self) -> str:
        """A file name that changes with what is in the image; programs' paths carry their versions."""
        name = self.reference.rpartition("/")[2].replace(":", "-")
        return f"{name}-{hashlib.sha256(repr(self).encode()).hexdigest()[:12]}.tar"

    def write(self, archive: Path) -> Path:
        """Write the image to `archive` in docker's format."""
        layer = self._layer()
        diff = hashlib.sha256(layer).hexdigest()
        process = {
            "Entrypoint": list(self.entrypoint),
            "Env": [f"{key}={value}" for key, value in self.environment.items()],
            "User": self.user,
            "WorkingDir": "/",
        }
        config = {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": process,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
        }
        encoded = json.dumps(config, sort_keys=True).encode()
        name = f"{hashlib.sha256(encoded).hexdigest()}.json"
        manifest = [{"Config": name, "RepoTags": [self.reference], "Layers": ["layer.tar"]}]
        archive.parent.mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(".partial")
        with tarfile.open(partial, "w") as tar:
            members = {name: encoded, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}
            for path, content in members.items():
                _add(tar, path, content, 0o644)
        return partial.rename(archive)

    def _layer(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for folder in sorted(_with_parents(self.folders)):
                info = tarfile.TarInfo(folder)
                info.type = tarfile.DIRTYPE
                info.mode = 0o1777 if folder == "tmp" else 0o755
                tar.addfile(info)
            for path, text in self.files.items():
                _add(tar, path, text.encode(), 0o644)
            for path, program in self.programs.items():
                _add(tar, path, program.read_bytes(), 0o755)
        return buffer.getvalue()


def _with_parents(folders: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for folder in folders:
        words = folder.strip("/").split("/")
        found.update("/".join(words[: depth + 1]) for depth in range(len(words)))
    return found


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(path.lstrip("/"))
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))


def image_identities(archive: Path) -> dict[str, str]:
    """Reference -> digest of the image's configuration, for every image in `archive`.

    Raises:
        ClusterError: neither docker's format nor an OCI layout.
    """
    try:
        with tarfile.open(archive) as tar:
            names = {name.removeprefix("./"): name for name in tar.getnames()}
            if "manifest.json" in names:
                return _docker_identities(tar, _read(tar, names["manifest.json"]))
            if "index.json" in names:
                return _oci_identities(tar, names)
    except (tarfile.TarError, OSError, KeyError, ValueError) as error:
        raise ClusterError(f"{archive} cannot be read as an image ({error}); write it anew.") from error
    raise ClusterError(f"{archive} is no image archive; write one with `buildah push docker-archive:`.")


def _docker_identities(tar: tarfile.TarFile, manifests: Any) -> dict[str, str]:
    found = {}
    for manifest in manifests:
        member = tar.extractfile(manifest["Config"])
        digest = hashlib.sha256(member.read() if member else b"").hexdigest()
        found.update(dict.fromkeys(manifest["RepoTags"] or [], f"sha256:{digest}"))
    return found


def _oci_identities(tar: tarfile.TarFile, names: dict[str, str]) -> dict[str, str]:
    found = {}
    for entry in _read(tar, names["index.json"])["manifests"]:
        notes = entry.get("annotations", {})
        reference = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name", "")
        blob = names["blobs/" + entry["digest"].replace(":", "/")]
        found[reference] = str(_read(tar, blob)["config"]["digest"])
    return found


def _read(tar: tarfile.TarFile, name: str) -> Any:
    member = tar.extractfile(name)
    return json.loads(member.read()) if member else None


def load(nodes: Sequence[Node], archives: Sequence[Path]) -> list[str]:
    """Import `archives` into the nodes that lack them; return the names of those nodes.

    Raises:
        ClusterError: a node is down, or refused one.
    """
    identities = {archive: image_identities(archive) for archive in archives}
    with ThreadPoolExecutor() as pool:
        listings = list(pool.map(lambda node: node.ctr("images", "list"), nodes))
        changed: set[str] = set()
        for archive, wanted in identities.items():
            pairs = zip(nodes, listings, strict=True)
            lacking = [node for node, listing in pairs if not holds(listing, wanted)]
            if lacking:
                with part(f"load {', '.join(wanted)} into {len(lacking)} nodes"):
                    list(pool.map(lambda n, a=archive: _import(n, a), lacking))
            changed.update(node.name for node in lacking)
    return sorted(changed)


def _import(node: Node, archive: Path) -> None:
    """Import an archive, again if need be: containerd may collect a layer of the image that this one replaces
    between finding it unpacked and building on it."""
    try:
        node.ctr("images", "import", "-", stdin=archive)
    except ClusterError as error:
        if "not found" not in str(error):
            raise
        node.ctr("images", "import", "-", stdin=archive)


def holds(listing: str, identities: dict[str, str]) -> bool:
    """Whether a listing of `ctr images list` shows every reference at the wanted configuration.

    Containerd lists each image by its reference and by the digest of its configuration, both with the digest
    of the manifest; the two rows must agree.
    """
    manifests = {row[0]: row[2] for line in listing.splitlines()[1:] if len(row := line.split()) > 2}
    return all(
        reference in manifests and manifests[reference] == manifests.get(configuration)
        for reference, configuration in identities.items()
    )
