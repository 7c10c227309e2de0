"""The control plane's image as it lies in its archive: small, without torch, for any user, with no trace of mirrors."""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from stage import install

pytestmark = pytest.mark.cluster

COMPRESSED_LIMIT = 150 * 10**6
CHUNK = 1 << 20
PACKAGES = "usr/local/lib/python3.11/dist-packages/"


@pytest.fixture(scope="module")
def archive() -> Path:
    """The image's archive; built if something has changed."""
    return install.control_plane_image()[0]


@pytest.fixture(scope="module")
def config(archive: Path) -> dict[str, Any]:
    """The image's configuration."""
    with tarfile.open(archive) as tar:
        (image,) = json.load(_member(tar, "manifest.json"))
        found: dict[str, Any] = json.load(_member(tar, image["Config"]))
        return found["config"]


@pytest.fixture(scope="module")
def files(archive: Path) -> dict[str, tarfile.TarInfo]:
    """Everything in the image by path."""
    return {name: info for name, info, _ in _contents(archive)}


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    found = tar.extractfile(name)
    assert found is not None
    return found


def _contents(archive: Path) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    with tarfile.open(archive) as tar:
        (image,) = json.load(_member(tar, "manifest.json"))
        for layer in image["Layers"]:
            with tarfile.open(fileobj=_member(tar, layer)) as inner:
                for info in inner:
                    yield info.name.removeprefix("./").strip("/"), info, inner


def test_it_is_small(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        assert sum(_compressed(_member(tar, member.name)) for member in tar if member.isfile()) < COMPRESSED_LIMIT


def _compressed(source: IO[bytes]) -> int:
    packer = zlib.compressobj()
    return sum(len(packer.compress(chunk)) for chunk in iter(lambda: source.read(CHUNK), b"")) + len(packer.flush())


def test_it_holds_the_control_plane_and_nothing_of_the_jobs(files: dict[str, tarfile.TarInfo]) -> None:
    for package in ("kinema_api", "kinema_operator", "kinema_cli", "kopf", "torchx"):
        assert f"{PACKAGES}{package}/__init__.py" in files
    for package in ("kinema_jobs", "kinema_evaluation", "kinema_world", "kinema_model", "torch", "numpy", "pip"):
        assert not any(name.startswith(f"{PACKAGES}{package}/") for name in files)


def test_it_runs_as_a_number_and_any_other_would_do(config: dict[str, Any], files: dict[str, tarfile.TarInfo]) -> None:
    assert config["User"] == "65532:65532"
    private = [
        name
        for name, info in files.items()
        if name.startswith((PACKAGES, "opt/")) and not info.issym() and info.mode & 0o444 != 0o444
    ]
    assert private == []


def test_byte_code_is_in_it_since_the_root_is_read_only(files: dict[str, tarfile.TarInfo]) -> None:
    assert any(name.startswith(f"{PACKAGES}kinema_operator/__pycache__/") for name in files)
    assert any(name.startswith("usr/lib/python3.11/asyncio/__pycache__/") for name in files)


def test_it_says_what_it_was_made_of(archive: Path) -> None:
    texts = [
        json.load(_member(inner, info.name)) for name, info, inner in _contents(archive) if name == "opt/kinema/IMAGE"
    ]
    assert [text["name"] for text in texts] == ["control-plane"]
    assert texts[0]["content"] == json.loads(archive.with_suffix(".json").read_text())["content"]


def test_no_trace_of_package_mirrors(files: dict[str, tarfile.TarInfo]) -> None:
    telling = ("etc/apt/sources.list", "var/lib/apt/lists/")
    traces = [
        name
        for name, info in files.items()
        if info.isfile() and info.size and (name.startswith(telling) or name.endswith("/direct_url.json"))
    ]
    assert traces == []
