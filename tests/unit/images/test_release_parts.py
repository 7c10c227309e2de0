"""What a release decides without a registry: version, credentials, what an image holds, where it comes from."""

from __future__ import annotations

import base64
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

IMAGES = Path(__file__).resolve().parents[3] / "images"
DPKG = """Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.2.13.dfsg-1
Description: compression library
 with a second line

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 2
"""
RUN = {
    "GITHUB_SERVER_URL": "https://forge.example",
    "GITHUB_REPOSITORY": "somebody/kinema",
    "GITHUB_REF": "refs/tags/v1",
    "GITHUB_SHA": "c0ffee",
    "GITHUB_WORKFLOW_REF": "somebody/kinema/.github/workflows/release.yml@refs/tags/v1",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "2",
}


@pytest.fixture(scope="module")
def parts() -> Iterator[dict[str, ModuleType]]:
    """The programs of images/, which are no package."""
    sys.path.insert(0, str(IMAGES))
    yield {name: importlib.import_module(name) for name in ("release", "sbom", "provenance")}
    sys.path.remove(str(IMAGES))


def test_a_tag_names_the_version(parts: dict[str, ModuleType]) -> None:
    version = parts["release"].version_of(None)
    assert parts["release"].version_of(f"v{version}") == version
    with pytest.raises(parts["release"].build.ImageError, match=f"tag v{version}"):
        parts["release"].version_of("v9.9.9")


def test_a_release_without_a_registry_says_what_to_set(parts: dict[str, ModuleType]) -> None:
    release = parts["release"]
    with pytest.raises(release.build.ImageError, match="set KINEMA_REGISTRY"), release.prepared({}):
        pass


def test_credentials_are_for_the_host_and_for_nobody_else_to_read(parts: dict[str, ModuleType], tmp_path: Path) -> None:
    user = {"KINEMA_REGISTRY_USER": "me", "KINEMA_REGISTRY_PASSWORD": "p:w"}
    found = parts["release"].credentials("registry.example:5000/team", tmp_path, user)
    file = Path(found["REGISTRY_AUTH_FILE"])
    assert Path(found["DOCKER_CONFIG"]) / "config.json" == file == Path(found["HELM_REGISTRY_CONFIG"])
    assert file.stat().st_mode & 0o077 == 0
    (host, entry), *others = json.loads(file.read_text())["auths"].items()
    assert (host, base64.b64decode(entry["auth"]), others) == ("registry.example:5000", b"me:p:w", [])
    assert parts["release"].credentials("registry.example", tmp_path, {}) == {}


def test_a_chart_that_names_no_development_image_is_refused(parts: dict[str, ModuleType], tmp_path: Path) -> None:
    release = parts["release"]
    one = release.Release("1", "registry.example", tmp_path, {})
    with pytest.raises(release.build.ImageError, match="does not name"):
        release.with_images("reference: elsewhere", one, {"control-plane": "sha256:1", "worker": "sha256:2"})


def test_installed_packages_of_debian_are_listed_with_their_epoch(parts: dict[str, ModuleType]) -> None:
    (found,) = parts["sbom"].debian(DPKG)
    assert found["purl"] == "pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1?arch=amd64"
    assert found["version"] == "1:1.2.13.dfsg-1"


@pytest.mark.parametrize(
    ("metadata", "purl", "licenses"),
    [
        ("Name: Typing_Extensions\nVersion: 4\nLicense-Expression: PSF-2.0\n", "pypi/typing-extensions@4", "PSF-2.0"),
        ("Name: torch\nVersion: 2.15.0+cpu\nLicense: BSD\n", "pypi/torch@2.15.0%2Bcpu", None),
    ],
)
def test_packages_of_python_are_listed_by_their_normal_names(
    metadata: str, purl: str, licenses: str | None, parts: dict[str, ModuleType]
) -> None:
    found = parts["sbom"].python(metadata)
    assert found["purl"] == f"pkg:{purl}"
    assert found.get("licenses") == ([{"expression": licenses}] if licenses else None)


def test_provenance_names_commit_workflow_and_run(parts: dict[str, ModuleType]) -> None:
    found = parts["provenance"].predicate(RUN)
    definition, run = found["buildDefinition"], found["runDetails"]
    assert definition["externalParameters"]["workflow"] == {
        "ref": "refs/tags/v1",
        "repository": "https://forge.example/somebody/kinema",
        "path": ".github/workflows/release.yml",
    }
    assert definition["resolvedDependencies"] == [
        {"uri": "git+https://forge.example/somebody/kinema@refs/tags/v1", "digest": {"gitCommit": "c0ffee"}}
    ]
    assert run["builder"]["id"].startswith("https://forge.example/somebody/kinema/.github/workflows/release.yml@")
    assert run["metadata"]["invocationId"].endswith("/actions/runs/7/attempts/2")


def test_what_provenance_lacks_is_named(parts: dict[str, ModuleType]) -> None:
    assert parts["provenance"].missing({**RUN, "GITHUB_SHA": ""}) == ["GITHUB_SHA"]
