"""A release into a registry on loopback: pushes of small images, an index over two processors, the chart by digest."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from conftest import binary
from integration.registry import Registry, registry

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("skopeo", "buildah")
RUN = {
    "GITHUB_SERVER_URL": "https://forge.example",
    "GITHUB_REPOSITORY": "somebody/kinema",
    "GITHUB_REF": "refs/tags/v0.1.0",
    "GITHUB_SHA": "0" * 40,
    "GITHUB_WORKFLOW_REF": "somebody/kinema/.github/workflows/release.yml@refs/tags/v0.1.0",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_RUN_ID": "1",
    "GITHUB_RUN_ATTEMPT": "1",
}
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason=f"needs {' and '.join(PROGRAMS)}: apt-get install {' '.join(PROGRAMS)}"
)
Signed = list[tuple[str, str, tuple[str, ...]]]


@pytest.fixture(scope="module")
def release() -> Iterator[ModuleType]:
    """images/release.py, which is a program beside its parts."""
    sys.path.insert(0, str(ROOT / "images"))
    yield importlib.import_module("release")
    sys.path.remove(str(ROOT / "images"))


def archive(file: Path, tag: str, processor: str) -> Path:
    """An image with one layer, in which dpkg and pip each have one package."""
    files = {
        "var/lib/dpkg/status": "Package: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 2025b-0\n",
        "usr/lib/kopf-1.dist-info/METADATA": "Metadata-Version: 2.4\nName: Kopf\nVersion: 1\nLicense-Expression: MIT\n",
    }
    layer = packed({name: text.encode() for name, text in files.items()})
    layers = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    config = json.dumps({"architecture": processor, "os": "linux", "config": {}, "rootfs": layers}).encode()
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    file.write_bytes(
        packed({"manifest.json": json.dumps(manifest).encode(), "config.json": config, "layer.tar": layer})
    )
    return file


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def signed(release: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Signed:
    """What cosign is asked for: it is not built for this."""
    asked: Signed = []

    def cosign(_: Any, verb: str, subject: str, *options: str) -> None:
        asked.append((verb, subject, options))

    monkeypatch.setattr(release.Release, "cosign", cosign)
    monkeypatch.setattr(release, "_tool", lambda name: str(binary(name)))
    return asked


@pytest.fixture
def published(
    release: ModuleType, signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Registry, Path]]:
    """A registry into which everything was released, and the folder of the released files."""
    monkeypatch.setattr(release, "DIST", tmp_path / "dist")
    for name, value in {**RUN, "KINEMA_COSIGN_KEY": "cosign.key"}.items():
        monkeypatch.setenv(name, value)
    with registry() as there:
        monkeypatch.setenv("KINEMA_REGISTRY", f"{there.address}/team")
        for machine, processor in release.PROCESSORS.items():
            monkeypatch.setattr(release.platform, "machine", lambda machine=machine: machine)
            monkeypatch.setattr(
                release.build,
                "build",
                lambda recipe, _, processor=processor: archive(tmp_path / "image.tar", recipe.tag, processor),
            )
            with release.prepared(os.environ) as one:
                release.push_images(one)
        with release.prepared(os.environ) as one:
            release.publish(one, list(release.PROCESSORS.values()))
        yield there, tmp_path / "dist"


def test_an_index_holds_the_image_of_each_processor(published: tuple[Registry, Path]) -> None:
    there, _ = published
    for name in ("control-plane", "worker"):
        repository = f"team/kinema/{name}"
        assert there.tags(repository) == {"0.1.0-amd64", "0.1.0-arm64", "0.1.0"}
        index = there.manifest(repository, "0.1.0")
        assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
        for entry in index["manifests"]:
            assert (repository, entry["digest"]) in there.manifests


def test_the_chart_installs_the_images_by_digest(published: tuple[Registry, Path]) -> None:
    there, dist = published
    with tarfile.open(dist / "kinema-0.1.0.tgz") as chart:
        files = {name: chart.extractfile(name) for name in ("kinema/values.yaml", "kinema/README.md")}
        texts = {name: file.read().decode() for name, file in files.items() if file is not None}
    values = yaml.safe_load(texts["kinema/values.yaml"])
    for name, image in {"control-plane": values["image"]["reference"], "worker": values["worker"]["image"]}.items():
        digest = re.fullmatch(rf"{there.address}/team/kinema/{name}:0\.1\.0@(sha256:[0-9a-f]{{64}})", image)
        assert digest, image
        assert there.manifest(f"team/kinema/{name}", digest[1]) == there.manifest(f"team/kinema/{name}", "0.1.0")
        assert image in texts["kinema/README.md"]
    assert there.tags("team/kinema/charts/kinema") == {"0.1.0"}


def test_everything_is_signed_by_digest(published: tuple[Registry, Path], signed: Signed) -> None:
    there, dist = published
    assert [verb for verb, *_ in signed] == ["attest"] * 4 + ["sign", "attest"] * 3 + ["sign-blob"]
    for verb, subject, options in signed:
        if verb == "sign-blob":
            assert subject == str(dist / "kinema-0.1.0.tgz")
            continue
        name, digest = subject.removeprefix(f"{there.address}/").split("@")
        assert (name, digest) in there.manifests
        if verb == "attest":
            assert options[:2] in [("--type", "cyclonedx"), ("--type", "slsaprovenance1")]


def test_nothing_is_published_in_nobodys_name(release: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"KINEMA_REGISTRY": "127.0.0.1:1"}
    with pytest.raises(release.build.ImageError, match="id-token: write"), release.prepared(environment):
        pass
