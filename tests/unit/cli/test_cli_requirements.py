"""The command alone is small: it brings nothing along that only trainings need."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


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
